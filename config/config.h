/* config: what the operator wrote -> one immutable struct config.
 *
 * Owns:   struct config and every string in it.  One table of keys (name, type, default, range, live or restart, help) feeds the
 *         parser, --print-config and the reference page docs/CONFIGURATION.md.
 * Uses:   base (addresses), libconfig.
 * Thread: the control plane's; immutable once loaded.
 * Memory: the heap; config_free() gives all of it back.
 * Errors: a list of `FILE:LINE: message`: the first syntax error, or every semantic one. */
#ifndef CONFIG_H
#define CONFIG_H

#include "base/base.h"

#define CONFIG_PORTS_MAX      8
#define CONFIG_ADDRESSES_MAX  16
#define CONFIG_LISTENERS_MAX  16
#define CONFIG_ROUTES_MAX     1024
#define CONFIG_CLUSTERS_MAX   1024

struct config_prefix {
    struct base_addr addr;
    unsigned bits; /* of its own family */
};

struct config_port {
    char *name;
    char *device;
    struct config_prefix address[CONFIG_ADDRESSES_MAX];
    unsigned address_count;
    struct base_addr gateway[2]; /* at most one of each family */
    unsigned gateway_count;
    unsigned vlan;
    unsigned mtu;
};

struct config_tcp {
    enum config_congestion { CONFIG_CUBIC, CONFIG_RENO } congestion;
    enum config_ecn { CONFIG_ECN_OFF, CONFIG_ECN_PASSIVE, CONFIG_ECN_ON } ecn; /* as enum tcp_ecn */
    bool pacing;
    uint64_t rto_ns_min;
    uint64_t user_timeout_ns;
    uint64_t keepalive_ns;
};

struct config_etcd {
    char **endpoints;
    unsigned endpoint_count;
    char *ns; /* prefix of all keys; "" for none */
    char *username, *password_file;
    char *ca, *cert, *key;
    uint64_t autosync_ns, resync_ns;
};

struct config_keepalive {
    uint64_t time_ns, timeout_ns, min_time_ns;
    bool permit_without_stream;
};

/* Frames that cost a client nothing, a second; see docs/design/http2.md. */
struct config_bounds {
    uint32_t resets, pings, settings, empty_data, priority, window_updates, other_frames;
    uint32_t continuation_frames, header_fields;
    uint32_t buffered; /* octets; 0: no limit */
};

struct config_route {
    char *authority; /* "*" = any; "*.example.com" = suffix; else exact, port of the request ignored */
    char *path;      /* "/" everything, "/pkg.Service/" prefix, "/pkg.Service/Method" exact */
    char *cluster;
    unsigned cluster_index; /* into config.clusters */
    uint64_t timeout_ns;    /* cap on the deadline; 0 = none */
    int line;
};

struct config_listener {
    char *name;
    struct base_endpoint bind;
    uint32_t max_concurrent_streams;
    uint32_t max_header_list_size;
    uint64_t max_connection_age_ns, max_connection_age_grace_ns, max_connection_idle_ns;
    uint64_t handshake_timeout_ns, header_timeout_ns;
    struct config_bounds bounds;
    struct config_keepalive keepalive;
    bool health_service;
    enum config_forwarded { CONFIG_FORWARDED_APPEND, CONFIG_FORWARDED_OFF } forwarded;
    struct config_route *routes;
    unsigned route_count;
    int line;
};

enum config_target_kind { CONFIG_TARGET_ETCD, CONFIG_TARGET_DNS, CONFIG_TARGET_STATIC, CONFIG_TARGET_FILE };
enum config_format {
    CONFIG_FORMAT_AUTO, CONFIG_FORMAT_GRPC_NAMING, CONFIG_FORMAT_PLAIN, CONFIG_FORMAT_KEY, CONFIG_FORMAT_KRATOS,
    CONFIG_FORMAT_MICRO, CONFIG_FORMAT_KITEX, CONFIG_FORMAT_GRPCLB, CONFIG_FORMAT_DUBBO, CONFIG_FORMAT_APISIX
};
enum config_policy {
    CONFIG_ROUND_ROBIN, CONFIG_WEIGHTED_ROUND_ROBIN, CONFIG_PICK_FIRST, CONFIG_LEAST_REQUEST, CONFIG_RING_HASH, CONFIG_MAGLEV, CONFIG_RANDOM
};
extern const char *const config_policy_names[];

struct config_cluster {
    char *name;
    char *target; /* as written */
    enum config_target_kind target_kind;
    char *target_path;                    /* etcd: the prefix, with its final "/"; without etcd.namespace */
    struct base_endpoint *target_static;  /* static */
    unsigned target_static_count;
    enum config_format format;
    enum config_policy policy;
    char *lb_weights; /* lb_config.weights: "" or "registry" */
    char *service_config; /* as written */
    char *service_text;   /* the JSON: itself, or what the file holds; NULL: none */
    enum config_no_ready { CONFIG_NO_READY_FAIL, CONFIG_NO_READY_QUEUE } no_ready;
    uint32_t no_ready_max;
    uint64_t no_ready_timeout_ns;
    uint32_t connections_per_endpoint, max_connections_per_endpoint, subset_size;
    uint64_t connect_timeout_ns;
    uint64_t backoff_base_ns, backoff_max_ns;
    double backoff_factor;
    uint64_t max_connection_age_ns;
    struct config_keepalive keepalive;
    int line;
};

struct config {
    char *file;
    char **eal;
    unsigned eal_count;
    unsigned workers;
    char *cores; /* "" = float; else a list such as "2-5,7", one worker each */
    enum config_idle { CONFIG_IDLE_ADAPTIVE, CONFIG_IDLE_POLL } idle;
    uint64_t drain_timeout_ns;
    struct {
        uint64_t memory;
        uint32_t connections;
        uint32_t streams;
        uint32_t high_water; /* percent */
        uint32_t stream_window;
    } limits;
    struct config_port ports[CONFIG_PORTS_MAX];
    unsigned port_count;
    struct config_tcp tcp;
    struct config_etcd etcd;
    struct config_listener listeners[CONFIG_LISTENERS_MAX];
    unsigned listener_count;
    struct config_cluster *clusters;
    unsigned cluster_count;
    struct base_endpoint admin;
    enum config_log_level { CONFIG_LOG_ERROR, CONFIG_LOG_WARN, CONFIG_LOG_INFO, CONFIG_LOG_DEBUG } log_level;
    char *log_access; /* "", "stderr", or a file */
    enum config_access { CONFIG_ACCESS_JSON, CONFIG_ACCESS_TEXT } log_access_format;
    uint32_t log_access_sample; /* one RPC in so many */
    bool metrics_per_endpoint;
    uint32_t metrics_max_series;
};

struct config_errors {
    char **text; /* each a complete line "FILE:LINE: message", without a newline */
    unsigned count;
    char **warnings; /* "no effect yet" and the like, in the same form */
    unsigned warning_count;
};

/* NULL: errors->count > 0.  Warnings may come with either outcome. */
struct config *config_load(const char *file, struct config_errors *errors);
struct config *config_parse(const char *name, const char *text, struct config_errors *errors);
void config_free(struct config *c);
void config_errors_free(struct config_errors *errors);

/* The effective configuration in libconfig syntax, defaults included: it parses to the same struct.  The caller frees it. */
char *config_print(const struct config *c);
/* NULL: `next` can be applied live; else the name of the first key that needs a restart (static text). */
const char *config_needs_restart(const struct config *now, const struct config *next);
/* The reference page in Markdown, from the table of keys. The caller frees it. */
char *config_reference(void);

#endif
