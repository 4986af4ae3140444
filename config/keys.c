/* The table of keys. */
#include "keys.h"

#include <stddef.h>

#define KEYS(array) .keys = array, .count = sizeof(array) / sizeof(*(array))
#define US          1000ull
#define MS          (1000 * US)
#define S           (1000 * MS)
#define H           (3600 * S)
#define DAY         (24 * H)
#define KIB         1024ull
#define MIB         (1024 * KIB)
#define GIB         (1024 * MIB)

/* One entry a row or two, wider than elsewhere, so that keys can be compared. */
/* clang-format off */
static const struct config_key dpdk_keys[] = {
    {"eal", CONFIG_KEY_STRINGS, .offset = offsetof(struct config, eal), .count_offset = offsetof(struct config, eal_count), .initial = "", .high = 64,
     .restart = "dpdk", .example = "[ \"--no-huge\", \"-m\", \"512\", \"--no-pci\" ]",
     .help = "EAL options. Absent or empty: chosen (`--no-huge` without hugepages, `--no-pci` without a PCI port). `-l`, `-c`, `--lcores`, `-a` and `--vdev` are "
             "refused: `workers`, `cores` and `ports` say those. `--file-prefix` defaults to one of the process's own."},
};
static const struct config_table dpdk_table = {KEYS(dpdk_keys)};

static const struct config_key limits_keys[] = {
    {"memory", CONFIG_KEY_SIZE, .offset = offsetof(struct config, limits.memory), .initial = "2GiB", .low = 64 * MIB, .high = 16384 * GIB, .restart = "limits",
     .example = "\"2GiB\"", .help = "What everything below may take together; start-up prints the sum, and a sum above this is an error that names its terms."},
    {"connections", CONFIG_KEY_INT, .offset = offsetof(struct config, limits.connections), .initial = "50000", .low = 16, .high = 16777216, .restart = "limits",
     .example = "50000", .help = "Connections of clients and to backends, over all workers."},
    {"streams", CONFIG_KEY_INT, .offset = offsetof(struct config, limits.streams), .initial = "100000", .low = 16, .high = 67108864, .restart = "limits",
     .example = "100000", .help = "RPCs at once, over all workers: each worker has its share and 64 more, and two HTTP/2 streams for each, one to the client and one to the backend."},
    {"high_water", CONFIG_KEY_INT, .offset = offsetof(struct config, limits.high_water), .initial = "85", .low = 20, .high = 99, .restart = "limits", .example = "85",
     .help = "Above this share of its packet buffers, in percent, a worker refuses new streams (REFUSED_STREAM), lowers MAX_CONCURRENT_STREAMS for those who ask, and "
             "ends connections that keep much and read nothing; 10 below it that ends."},
    {"stream_window", CONFIG_KEY_SIZE32, .offset = offsetof(struct config, limits.stream_window), .initial = "4MiB", .low = 64 * KIB, .high = 64 * MIB, .restart = "limits",
     .example = "\"4MiB\"", .help = "How large the window of a stream may grow, of clients and of backends. It begins with 64 KiB, and doubles where a sender is found to wait "
             "for it while the other side reads what comes; all that grew take at most a quarter of a worker's packet buffers. `\"64KiB\"`: none grows."},
};
static const struct config_table limits_table = {KEYS(limits_keys)};

static const struct config_key port_keys[] = {
    {"name", CONFIG_KEY_STRING, .offset = offsetof(struct config_port, name), .example = "\"front\"", .help = "In logs and metrics."},
    {"device", CONFIG_KEY_STRING, .offset = offsetof(struct config_port, device), .restart = "ports[].device", .example = "\"net_tap0,iface=pen0\"",
     .help = "A DPDK virtual device with its arguments, or a PCI address such as `\"0000:3b:00.0\"`."},
    {"address", CONFIG_KEY_PREFIXES, .offset = offsetof(struct config_port, address), .count_offset = offsetof(struct config_port, address_count), .low = 1,
     .high = CONFIG_ADDRESSES_MAX, .example = "[ \"198.18.0.2/24\", \"2001:db8::2/64\" ]", .help = "The port's own addresses, each with the length of its prefix."},
    {"gateway", CONFIG_KEY_ADDRESSES, .offset = offsetof(struct config_port, gateway), .count_offset = offsetof(struct config_port, gateway_count), .initial = "",
     .high = 2, .example = "[ \"198.18.0.1\" ]", .help = "The next hop for what is not on-link: one for each family at most, itself on-link."},
    {"vlan", CONFIG_KEY_INT, .offset = offsetof(struct config_port, vlan), .initial = "0", .high = 4094, .example = "42",
     .help = "The 802.1Q tag; 0: untagged."},
    {"mtu", CONFIG_KEY_INT, .offset = offsetof(struct config_port, mtu), .initial = "1500", .low = 576, .high = 9216, .restart = "ports[].mtu", .example = "1500",
     .help = "The largest IP packet. IPv6 addresses need 1280 or more."},
};
static const struct config_table port_table = {KEYS(port_keys), .size = sizeof(struct config_port)};

static const char *const congestion_words[] = {"cubic", "reno", NULL};
static const char *const ecn_words[] = {"off", "passive", "on", NULL};
static const struct config_key tcp_keys[] = {
    {"congestion", CONFIG_KEY_WORD, .offset = offsetof(struct config, tcp.congestion), .initial = "cubic", .words = congestion_words,
     .example = "\"cubic\"", .help = "Congestion control of connections made from now on: CUBIC with HyStart++, or Reno."},
    {"ecn", CONFIG_KEY_WORD, .offset = offsetof(struct config, tcp.ecn), .initial = "passive", .words = ecn_words, .example = "\"passive\"",
     .help = "Explicit congestion notification of connections made from now on: never, where the peer asks for it, or asked for as well. Linux's `tcp_ecn` 0, 2 and 1."},
    {"pacing", CONFIG_KEY_BOOL, .offset = offsetof(struct config, tcp.pacing), .initial = "false", .example = "true",
     .help = "What is sent in bulk (more than 64 KiB that wait) over 4 ms of round trip or more is spread over the round trip instead of going out in bursts; an RPC of ordinary size never waits."},
    {"rto_min", CONFIG_KEY_DURATION, .offset = offsetof(struct config, tcp.rto_ns_min), .initial = "20ms", .low = MS, .high = S, .example = "\"20ms\"",
     .help = "The shortest retransmission time-out."},
    {"user_timeout", CONFIG_KEY_DURATION, .offset = offsetof(struct config, tcp.user_timeout_ns), .initial = "20s", .low = S, .high = H, .example = "\"20s\"",
     .help = "A connection whose data stays unacknowledged this long is given up."},
    {"keepalive", CONFIG_KEY_DURATION, .offset = offsetof(struct config, tcp.keepalive_ns), .initial = "2h", .high = DAY, .example = "\"10m\"",
     .help = "A peer that was not heard for so long is asked whether it is there, and given up after eight questions without an answer, a quarter of this and at most 75s apart; `\"0s\"`: never."},
};
static const struct config_table tcp_table = {KEYS(tcp_keys)};

#define ETCD(field) offsetof(struct config, etcd.field)
static const struct config_key etcd_keys[] = {
    {"endpoints", CONFIG_KEY_STRINGS, .offset = ETCD(endpoints), .count_offset = ETCD(endpoint_count), .initial = "", .low = 1, .high = 32,
     .example = "[ \"http://127.0.0.1:2379\" ]", .help = "URLs of members of the etcd cluster. Needed as soon as a cluster's target is `etcd://`."},
    {"namespace", CONFIG_KEY_STRING, .offset = ETCD(ns), .initial = "", .example = "\"/prod\"", .help = "A prefix of all keys."},
    {"username", CONFIG_KEY_STRING, .offset = ETCD(username), .initial = "", .example = "\"penstock\"", .help = "For etcd's own authentication; empty: none."},
    {"password_file", CONFIG_KEY_STRING, .offset = ETCD(password_file), .initial = "", .example = "\"/etc/penstock/etcd.password\"",
     .help = "The file whose first line is the password of `username`."},
    {"ca", CONFIG_KEY_STRING, .offset = ETCD(ca), .initial = "", .example = "\"/etc/penstock/etcd-ca.pem\"",
     .help = "The certificates that sign those of https endpoints; empty: the system's."},
    {"cert", CONFIG_KEY_STRING, .offset = ETCD(cert), .initial = "", .example = "\"/etc/penstock/etcd.pem\"", .help = "Our own certificate, where etcd asks for one; with `key`."},
    {"key", CONFIG_KEY_STRING, .offset = ETCD(key), .initial = "", .example = "\"/etc/penstock/etcd.key\"", .help = "The private key of `cert`."},
    {"autosync", CONFIG_KEY_DURATION, .state = CONFIG_NO_EFFECT, .offset = ETCD(autosync_ns), .initial = "5m", .high = DAY, .example = "\"5m\"",
     .help = "How often the list of members is asked for anew; 0s: never."},
    {"resync", CONFIG_KEY_DURATION, .offset = ETCD(resync_ns), .initial = "60s", .high = DAY, .example = "\"60s\"",
     .help = "How often a watch that says nothing is compared with etcd's own state; 0s: never."},
};
static const struct config_table etcd_table = {KEYS(etcd_keys)};

#define ALIVE(field) offsetof(struct config_keepalive, field)
static const struct config_key listener_keepalive_keys[] = {
    {"time", CONFIG_KEY_DURATION, .offset = ALIVE(time_ns), .initial = "2h", .high = 7 * DAY, .example = "\"2h\"", .help = "A client silent this long is asked by a PING; 0s: never."},
    {"timeout", CONFIG_KEY_DURATION, .offset = ALIVE(timeout_ns), .initial = "20s", .low = MS, .high = DAY, .example = "\"20s\"", .help = "No answer to the PING for this long: the connection is closed."},
    {"min_time", CONFIG_KEY_DURATION, .offset = ALIVE(min_time_ns), .initial = "5m", .high = DAY, .example = "\"5m\"", .help = "A client that sends PINGs more often, three times over without HEADERS or DATA of ours in between, is told GOAWAY (too_many_pings); 0s: it may."},
    {"permit_without_stream", CONFIG_KEY_BOOL, .offset = ALIVE(permit_without_stream), .initial = "false", .example = "true", .help = "Clients may send PINGs every `min_time` while no RPC runs; else every 2h."},
};
static const struct config_table listener_keepalive_table = {KEYS(listener_keepalive_keys)};

#define BOUND(field) offsetof(struct config_bounds, field)
#define RATE(name, field, usual, words) {name, CONFIG_KEY_INT, .offset = BOUND(field), .initial = usual, .low = 1, .high = 10000000, .example = usual, .help = words}
static const struct config_key bounds_keys[] = {
    RATE("resets", resets, "2000", "Streams reset within 50 ms and before their answer, by the client or for its errors (rapid reset, MadeYouReset); each answer earns one more."),
    RATE("pings", pings, "1000", "PING frames."),
    RATE("settings", settings, "200", "SETTINGS frames."),
    RATE("empty_data", empty_data, "1000", "DATA frames without octets and without END_STREAM."),
    RATE("priority", priority, "2000", "PRIORITY frames."),
    RATE("window_updates", window_updates, "20000", "WINDOW_UPDATE frames."),
    RATE("other_frames", other_frames, "5000", "Frames of unknown types, and of streams that are over; not DATA that was under way when its stream was reset here, as far as the stream's window allowed it."),
    {"continuation_frames", CONFIG_KEY_INT, .offset = BOUND(continuation_frames), .initial = "32", .high = 1000, .example = "32", .help = "CONTINUATION frames of one header block, beside one for each 16KiB of `max_header_list_size` above the first."},
    {"header_fields", CONFIG_KEY_INT, .offset = BOUND(header_fields), .initial = "128", .low = 8, .high = 128, .example = "128",
     .help = "Fields of a header list; a request with more is answered RESOURCE_EXHAUSTED, as one above `max_header_list_size` is."},
    {"buffered", CONFIG_KEY_SIZE32, .offset = BOUND(buffered), .initial = "0B", .high = GIB, .example = "\"4MiB\"",
     .help = "While so much of backends' messages waits here for one connection (for its windows, or for room to send), its new RPCs are refused with REFUSED_STREAM, which is safe to "
             "repeat, and no window that feeds it grows; the RPCs that it has go on. `\"0B\"`: windows alone bound it, 64KiB and what `limits.stream_window` lets grow for each RPC."},
};
static const struct config_table bounds_table = {KEYS(bounds_keys)};

static const struct config_key cluster_keepalive_keys[] = {
    {"time", CONFIG_KEY_DURATION, .offset = ALIVE(time_ns), .initial = "5m", .high = 7 * DAY, .example = "\"5m\"", .help = "A backend silent this long is asked by a PING; 0s: never. Doubled for an endpoint that answers GOAWAY too_many_pings."},
    {"timeout", CONFIG_KEY_DURATION, .offset = ALIVE(timeout_ns), .initial = "20s", .low = MS, .high = DAY, .example = "\"20s\"", .help = "No answer to the PING for this long: the connection is closed."},
    {"permit_without_stream", CONFIG_KEY_BOOL, .offset = ALIVE(permit_without_stream), .initial = "false", .example = "true", .help = "PINGs are sent while no RPC runs, too."},
};
static const struct config_table cluster_keepalive_table = {KEYS(cluster_keepalive_keys)};

#define ROUTE(field) offsetof(struct config_route, field)
static const struct config_key route_keys[] = {
    {"authority", CONFIG_KEY_STRING, .offset = ROUTE(authority), .initial = "*", .example = "\"*.example.com\"",
     .help = "`\"*\"`: any; `\"*.example.com\"`: what ends so; else that name exactly. The port of the request's authority is not looked at."},
    {"path", CONFIG_KEY_STRING, .offset = ROUTE(path), .example = "\"/echo.Echo/\"",
     .help = "`\"/pkg.Service/\"`: every method of a service; `\"/pkg.Service/Method\"`: that one; `\"/\"`: everything."},
    {"cluster", CONFIG_KEY_STRING, .offset = ROUTE(cluster), .initial = "", .example = "\"echo\"", .help = "The name of the cluster that answers. Must be given."},
    {"timeout", CONFIG_KEY_DURATION, .offset = ROUTE(timeout_ns), .initial = "0s", .high = 7 * DAY, .example = "\"30s\"", .help = "A cap on the RPC's deadline; 0s: none."},
    {"split", CONFIG_KEY_ANY, .state = CONFIG_NOT_YET, .offset = CONFIG_NOWHERE, .initial = "", .help = "Shares of several clusters in one route."},
};
static const struct config_table route_table = {KEYS(route_keys), .size = sizeof(struct config_route), .heap = true};

static const char *const forwarded_words[] = {"append", "off", NULL};
static const char *const proxy_words[] = {"off", "v2", NULL};
#define LISTENER(field) offsetof(struct config_listener, field)
static const struct config_key listener_keys[] = {
    {"name", CONFIG_KEY_STRING, .offset = LISTENER(name), .example = "\"grpc\"", .help = "In logs and metrics."},
    {"bind", CONFIG_KEY_ENDPOINT, .offset = LISTENER(bind), .example = "\"198.18.0.2:50051\"", .help = "Address and TCP port; the address is one of a port's."},
    {"max_concurrent_streams", CONFIG_KEY_INT, .offset = LISTENER(max_concurrent_streams), .initial = "128", .low = 1, .high = 65536, .example = "128",
     .help = "RPCs that a client may run at once on one connection; it queues the others itself."},
    {"max_header_list_size", CONFIG_KEY_SIZE32, .offset = LISTENER(max_header_list_size), .initial = "16KiB", .low = KIB, .high = MIB, .example = "\"16KiB\"",
     .help = "The largest header list (RFC 9113 §6.5.2) that is taken. Each worker's memory is laid out for some hundred of the largest that any listener takes."},
    {"max_connection_age", CONFIG_KEY_DURATION, .offset = LISTENER(max_connection_age_ns), .initial = "0s", .high = 365 * DAY, .example = "\"30m\"",
     .help = "A client's connection older than this (+-10 %, so that those opened together don't return together) is told GOAWAY, in two steps; 0s: never."},
    {"max_connection_age_grace", CONFIG_KEY_DURATION, .offset = LISTENER(max_connection_age_grace_ns), .initial = "30s", .high = DAY, .example = "\"30s\"",
     .help = "How long its RPCs may still run after that, or after `max_connection_idle`; 0s: as long as they take."},
    {"max_connection_idle", CONFIG_KEY_DURATION, .offset = LISTENER(max_connection_idle_ns), .initial = "0s", .high = 365 * DAY, .example = "\"15m\"",
     .help = "A client's connection without RPCs for this long is told GOAWAY; 0s: never."},
    {"handshake_timeout", CONFIG_KEY_DURATION, .offset = LISTENER(handshake_timeout_ns), .initial = "10s", .high = H, .example = "\"10s\"",
     .help = "Until a client's HTTP/2 preface and SETTINGS have come; then the connection is closed (SETTINGS_TIMEOUT); 0s: never."},
    {"header_timeout", CONFIG_KEY_DURATION, .offset = LISTENER(header_timeout_ns), .initial = "10s", .high = H, .example = "\"10s\"",
     .help = "Until a header block that a client has begun is whole; then the connection is closed (ENHANCE_YOUR_CALM); 0s: never. Messages have no such limit."},
    {"limits", CONFIG_KEY_GROUP, .offset = LISTENER(bounds), .initial = "", .members = &bounds_table,
     .help = "What a client's connection may do that costs it nothing: so many at once, and as many again each second, beside what goes with its messages. More: GOAWAY "
             "ENHANCE_YOUR_CALM with words that name it, and a count in `penstock_drops_total`."},
    {"keepalive", CONFIG_KEY_GROUP, .offset = LISTENER(keepalive), .initial = "", .members = &listener_keepalive_table, .help = "PINGs between client and gateway."},
    {"health_service", CONFIG_KEY_BOOL, .offset = LISTENER(health_service), .initial = "true", .example = "true",
     .help = "Answers grpc.health.v1 (Check and Watch) for each cluster by name (\"\": the gateway), unless a route names that path; `\"/\"` names none."},
    {"forwarded", CONFIG_KEY_WORD, .offset = LISTENER(forwarded), .initial = "append", .words = forwarded_words, .example = "\"append\"",
     .help = "x-forwarded-for: the client's address is appended, or the header is left as it came."},
    {"proxy_protocol", CONFIG_KEY_WORD, .offset = CONFIG_NOWHERE, .initial = "off", .words = proxy_words, .later = 2, .example = "\"off\"", .help = "A PROXY header before the HTTP/2 preface."},
    {"routes", CONFIG_KEY_LIST, .offset = LISTENER(routes), .count_offset = LISTENER(route_count), .low = 1, .high = CONFIG_ROUTES_MAX, .members = &route_table,
     .example = "( { path = \"/\"; cluster = \"echo\"; } )", .help = "The first that matches wins; an RPC that none matches is answered UNIMPLEMENTED."},
};
static const struct config_table listener_table = {KEYS(listener_keys), .size = sizeof(struct config_listener)};

static const char *const weights_words[] = {"", "registry", NULL};
#define CLUSTER(field) offsetof(struct config_cluster, field)
static const struct config_key lb_keys[] = {
    {"weights", CONFIG_KEY_STRING, .offset = CLUSTER(lb_weights), .initial = "", .words = weights_words, .example = "\"registry\"",
     .help = "weighted_round_robin: `\"registry\"` takes the registry's weight alone; empty: a fresh load report first, where there is one."},
    {"request_hash_header", CONFIG_KEY_ANY, .state = CONFIG_NOT_YET, .offset = CONFIG_NOWHERE, .initial = "", .help = "ring_hash, maglev: the header whose value is hashed."},
    {"min_ring_size", CONFIG_KEY_ANY, .state = CONFIG_NOT_YET, .offset = CONFIG_NOWHERE, .initial = "", .help = "ring_hash: entries of the ring."},
};
static const struct config_table lb_table = {KEYS(lb_keys)};

static const char *const no_ready_words[] = {"fail", "queue", NULL};
static const struct config_key no_ready_keys[] = {
    {"action", CONFIG_KEY_WORD, .offset = CLUSTER(no_ready), .initial = "fail", .words = no_ready_words, .example = "\"fail\"",
     .help = "An RPC for which no endpoint is READY fails with UNAVAILABLE, or waits (queue), in order, until one is."},
    {"max", CONFIG_KEY_INT, .offset = CLUSTER(no_ready_max), .initial = "1024", .low = 1, .high = 1048576, .example = "1024", .help = "How many may wait, on each worker; those that wait for a free stream of a READY endpoint are counted with them, whatever `action` says."},
    {"timeout", CONFIG_KEY_DURATION, .offset = CLUSTER(no_ready_timeout_ns), .initial = "5s", .low = MS, .high = H, .example = "\"5s\"", .help = "How long one may wait, for an endpoint or for a free stream of one; its own deadline may end it sooner."},
};
static const struct config_table no_ready_table = {KEYS(no_ready_keys)};

static const struct config_key backoff_keys[] = {
    {"base", CONFIG_KEY_DURATION, .offset = CLUSTER(backoff_base_ns), .initial = "1s", .low = MS, .high = H, .example = "\"1s\"", .help = "The first pause."},
    {"factor", CONFIG_KEY_FLOAT, .offset = CLUSTER(backoff_factor), .initial = "1.6", .low = 1, .high = 10, .example = "1.6", .help = "Each pause is this many times the one before."},
    {"max", CONFIG_KEY_DURATION, .offset = CLUSTER(backoff_max_ns), .initial = "10s", .low = MS, .high = DAY, .example = "\"10s\"", .help = "No pause is longer."},
};
static const struct config_table backoff_table = {KEYS(backoff_keys)};

const char *const config_policy_names[] = {"round_robin", "weighted_round_robin", "pick_first", "least_request", "ring_hash", "maglev", "random", NULL};
static const char *const format_words[] = {"auto", "grpc-naming", "plain", "key", "kratos", "micro", "kitex", "grpclb", "dubbo", "apisix", NULL};
#define LATER(key, words) {key, CONFIG_KEY_ANY, .state = CONFIG_NOT_YET, .offset = CONFIG_NOWHERE, .initial = "", .help = words}
static const struct config_key cluster_keys[] = {
    {"name", CONFIG_KEY_STRING, .offset = CLUSTER(name), .example = "\"echo\"", .help = "In routes, logs, metrics, and as a name of grpc.health.v1."},
    {"target", CONFIG_KEY_STRING, .offset = CLUSTER(target), .example = "\"etcd:///services/echo/\"",
     .help = "Where endpoints come from: `etcd:///PREFIX` (a final `/` is added; keys that begin with `/` are written `etcd:////NAME/`), `static:///IP:PORT,IP:PORT`. "
             "Not yet: `dns:///HOST:PORT`, `file:///PATH`."},
    {"format", CONFIG_KEY_WORD, .offset = CLUSTER(format), .initial = "auto", .words = format_words, .later = 0x3f0, .example = "\"grpc-naming\"",
     .help = "How registry values are laid out; auto tells by their look."},
    {"lb_policy", CONFIG_KEY_WORD, .offset = CLUSTER(policy), .initial = "round_robin", .words = config_policy_names, .later = 0x7c, .example = "\"weighted_round_robin\"",
     .help = "How an endpoint is picked for each RPC. round_robin ignores weights (0 still drains)."},
    {"lb_config", CONFIG_KEY_GROUP, .initial = "", .members = &lb_table, .help = "The policy's own keys."},
    {"service_config", CONFIG_KEY_STRING, .offset = CLUSTER(service_config), .initial = "", .example = "\"@/etc/penstock/echo.json\"",
     .help = "gRPC service config in JSON, or `@FILE`. In force: `methodConfig` with `name`, `timeout` and `retryPolicy`, and `retryThrottling`; the rest is not looked at."},
    {"no_ready", CONFIG_KEY_GROUP, .initial = "", .members = &no_ready_table, .help = "What happens while no endpoint is READY, or none that is has a free stream."},
    {"connections_per_endpoint", CONFIG_KEY_INT, .offset = CLUSTER(connections_per_endpoint), .initial = "1", .low = 1, .high = 16, .example = "1", .help = "Of each worker, kept open."},
    {"max_connections_per_endpoint", CONFIG_KEY_INT, .offset = CLUSTER(max_connections_per_endpoint), .initial = "4", .low = 1, .high = 16, .example = "4",
     .help = "Of each worker: further ones are opened while the endpoint's MAX_CONCURRENT_STREAMS is used up; an endpoint with all of them full is passed over, and where all endpoints are RPCs wait as `no_ready.max` and `no_ready.timeout` say."},
    {"subset_size", CONFIG_KEY_INT, .offset = CLUSTER(subset_size), .initial = "0", .high = 16384, .example = "20",
     .help = "How many endpoints each worker connects to, chosen so that all are held evenly; 0: all. Log and `penstock_connection_budget` state the sum."},
    {"connect_timeout", CONFIG_KEY_DURATION, .offset = CLUSTER(connect_timeout_ns), .initial = "1s", .low = MS, .high = H, .example = "\"1s\"",
     .help = "Until the backend's SETTINGS have come."},
    {"connect_backoff", CONFIG_KEY_GROUP, .initial = "", .members = &backoff_table, .help = "The pause between attempts to connect."},
    {"max_connection_age", CONFIG_KEY_DURATION, .offset = CLUSTER(max_connection_age_ns), .initial = "0s", .high = 365 * DAY, .example = "\"1h\"",
     .help = "A backend connection older than this is replaced; 0s: never."},
    {"keepalive", CONFIG_KEY_GROUP, .offset = CLUSTER(keepalive), .initial = "", .members = &cluster_keepalive_table, .help = "PINGs from gateway to backend."},
    LATER("health", "Active health checks by grpc.health.v1."),
    LATER("circuit", "Limits of streams and of waiting RPCs."),
    LATER("outlier", "Ejection of endpoints that fail."),
    LATER("slow_start", "A growing share for an endpoint that is new."),
    {"panic_percent", CONFIG_KEY_INT, .state = CONFIG_NOT_YET, .offset = CONFIG_NOWHERE, .initial = "0", .high = 100, .example = "0",
     .help = "Below this share of healthy endpoints all of them are used."},
    LATER("guard", "A bound on how many endpoints may vanish at once."),
};
static const struct config_table cluster_table = {KEYS(cluster_keys), .size = sizeof(struct config_cluster), .heap = true};

static const struct config_key admin_keys[] = {
    {"bind", CONFIG_KEY_ENDPOINT, .offset = offsetof(struct config, admin), .initial = "127.0.0.1:9901", .example = "\"127.0.0.1:9901\"",
     .help = "Of the admin HTTP server: on the kernel's network, not on a DPDK port. It has no password: keep it on loopback or a management network."},
};
static const struct config_table admin_table = {KEYS(admin_keys)};

static const char *const level_words[] = {"error", "warn", "info", "debug", NULL};
static const char *const access_words[] = {"json", "text", NULL};
static const struct config_key log_keys[] = {
    {"level", CONFIG_KEY_WORD, .offset = offsetof(struct config, log_level), .initial = "info", .words = level_words, .example = "\"info\"", .help = "The least that is logged, to stderr."},
    {"access", CONFIG_KEY_STRING, .offset = offsetof(struct config, log_access), .initial = "", .example = "\"/var/log/penstock/access.log\"",
     .help = "Where a record of each finished RPC goes: a file (opened again on SIGUSR1 and SIGHUP, for rotation), `stderr`, or empty: nowhere."},
    {"access_format", CONFIG_KEY_WORD, .offset = offsetof(struct config, log_access_format), .initial = "json", .words = access_words, .example = "\"json\"",
     .help = "Of a record: a JSON object a line, or words apart by spaces."},
    {"access_sample", CONFIG_KEY_INT, .offset = offsetof(struct config, log_access_sample), .initial = "1", .low = 1, .high = 1000000, .example = "1",
     .help = "One RPC in so many leaves a record, on each worker."},
};
static const struct config_table log_table = {KEYS(log_keys)};

static const struct config_key metrics_keys[] = {
    {"per_endpoint", CONFIG_KEY_BOOL, .offset = offsetof(struct config, metrics_per_endpoint), .initial = "true", .example = "true",
     .help = "Series of each endpoint; false: `endpoint=\"other\"` for all."},
    {"max_series", CONFIG_KEY_INT, .offset = offsetof(struct config, metrics_max_series), .initial = "50000", .low = 100, .high = 10000000, .example = "50000",
     .help = "Above this many series endpoints fold into `endpoint=\"other\"`."},
};
static const struct config_table metrics_table = {KEYS(metrics_keys)};

static const char *const idle_words[] = {"adaptive", "poll", NULL};
static const struct config_key root_keys[] = {
    {"dpdk", CONFIG_KEY_GROUP, .initial = "", .members = &dpdk_table, .help = "What DPDK is told."},
    {"workers", CONFIG_KEY_INT, .offset = offsetof(struct config, workers), .initial = "1", .low = 1, .high = 64, .restart = "workers", .example = "1",
     .help = "Worker threads, left to the scheduler. Or say `cores`. Each owns its share of the connections."},
    {"cores", CONFIG_KEY_STRING, .offset = offsetof(struct config, cores), .initial = "", .restart = "cores", .example = "\"2-5\"",
     .help = "Cores to which workers are bound, one worker each, such as `\"2-5,7\"`. Instead of `workers`."},
    {"idle", CONFIG_KEY_WORD, .offset = offsetof(struct config, idle), .initial = "adaptive", .words = idle_words, .example = "\"adaptive\"",
     .help = "adaptive: a worker with nothing to do sleeps for moments; poll: it never yields its core."},
    {"drain_timeout", CONFIG_KEY_DURATION, .offset = offsetof(struct config, drain_timeout_ns), .initial = "30s", .high = DAY, .example = "\"30s\"",
     .help = "After SIGTERM running RPCs have this long to finish; 0s: none."},
    {"limits", CONFIG_KEY_GROUP, .initial = "", .members = &limits_table, .help = "Bounds of memory, known at start."},
    {"ports", CONFIG_KEY_LIST, .offset = offsetof(struct config, ports), .count_offset = offsetof(struct config, port_count), .low = 1, .high = CONFIG_PORTS_MAX,
     .members = &port_table, .restart = "ports[].device", .example = "( { name = \"front\"; device = \"net_tap0,iface=pen0\"; address = [ \"198.18.0.2/24\" ]; } )", .help = "DPDK ports."},
    {"tcp", CONFIG_KEY_GROUP, .initial = "", .members = &tcp_table, .help = "TCP on every port."},
    {"etcd", CONFIG_KEY_GROUP, .initial = "", .members = &etcd_table, .help = "Used by every `etcd://` target."},
    {"listeners", CONFIG_KEY_LIST, .offset = offsetof(struct config, listeners), .count_offset = offsetof(struct config, listener_count), .low = 1,
     .high = CONFIG_LISTENERS_MAX, .members = &listener_table,
     .example = "( { name = \"grpc\"; bind = \"198.18.0.2:50051\"; routes = ( { path = \"/\"; cluster = \"echo\"; } ); } )", .help = "Where clients connect: HTTP/2 with prior knowledge."},
    {"clusters", CONFIG_KEY_LIST, .offset = offsetof(struct config, clusters), .count_offset = offsetof(struct config, cluster_count), .low = 1, .high = CONFIG_CLUSTERS_MAX,
     .members = &cluster_table, .example = "( { name = \"echo\"; target = \"etcd:///services/echo/\"; } )", .help = "Sets of backends."},
    {"admin", CONFIG_KEY_GROUP, .initial = "", .members = &admin_table, .help = "The admin HTTP server: metrics, health, penstockctl."},
    {"log", CONFIG_KEY_GROUP, .initial = "", .members = &log_table, .help = "What is logged."},
    {"metrics", CONFIG_KEY_GROUP, .initial = "", .members = &metrics_table, .help = "How much `/metrics` shows."},
};
const struct config_table config_root = {KEYS(root_keys), .size = sizeof(struct config)};
/* clang-format on */
