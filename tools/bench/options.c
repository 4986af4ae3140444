/* What was asked for on the command line. */
#include "bench.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define PLACES_MAX 262144 /* RPCs open at once: buffers and streams are made for all of them */

static void usage(FILE *to)
{
    fputs("usage: penstock-bench --link ring [--lockstep] [options]\n"
          "       penstock-bench --link memif[=SOCKET] | --link DEVICE [options]\n"
          "       penstock-bench --row ID… [--repeat N] [-n N] [--json]\n"
          "\n"
          "Calls a gateway from so many clients, answers as its backends, checks every RPC at both ends, and measures what it costs.\n"
          "\n"
          "What is measured\n"
          "  --link ring          a gateway in this process, behind rings: with --lockstep generator and gateway take turns on one thread, and\n"
          "                       only the gateway's turns are timed; without, the gateway has a thread of its own\n"
          "  --link memif[=SOCKET]  a penstock of its own at the other end of a memif (this end is its server)\n"
          "  --link DEVICE        a penstock that a DPDK device reaches: \"net_tap0,iface=…\", \"0000:3b:00.0\"\n"
          "  --row ID             a row of the table of gates, or several with commas; \"all\" for all of them, \"list\" for their names\n"
          "  --workers N          of the gateway in lockstep, 1 to 8 (1)\n"
          "\n"
          "Load\n"
          "  -c N                 client connections (8)\n"
          "  -m N                 RPCs open on a connection, at most (1)\n"
          "  -n N                 RPCs to measure (200000)\n"
          "  -r, --rate R         RPCs a second that begin by the clock, whatever the answers do; latency counts from the intended time\n"
          "                       (absent: a closed loop, the next RPC begins when one has ended)\n"
          "  --endpoints N        backends (3)\n"
          "  --size BYTES         of a message, either way, 8 to 1048576 (100)\n"
          "  --kind KIND          unary | client | server | bidi (unary)\n"
          "  --messages N         of a stream; bidi: each waits for the answer to the one before (10)\n"
          "  --headers SET        static | go-deadline | go-deadline,traceparent: what grpc-go sends (static)\n"
          "  --one-per-segment    each RPC in a segment of its own, however many are due at once\n"
          "  --churn N            a connection is closed after N RPCs, and another one made\n"
          "  --think US           pause between an answer and the next RPC in its place\n"
          "  --age MS             no connection on either side of the gateway grows older (with --print-config: max_connection_age): GOAWAY, and a new one\n"
          "  --restart MS         every so often, in the mean, a backend ends in good order and comes back (with --age)\n"
          "  --answer-within MS   backends keep an answer for up to so long (with --age)\n"
          "  --rude               backends refuse calls, and say GOAWAY that leaves calls out (with --age)\n"
          "\n"
          "Beside an attack (--link ring --lockstep, with --rate)\n"
          "  --attack KIND        pings | settings | resets | made-resets | headers | bombs | continuations | windows | answers | octets:\n"
          "                       99 % of residence with and without it, in turn\n"
          "  --busy PERCENT       of the gateway's worker, load and attack together (70)\n"
          "\n"
          "The other process's side (memif, DEVICE)\n"
          "  --address IP/BITS    ours: clients call from it, backends listen on it (198.18.0.1/24)\n"
          "  --gateway IP:PORT    the listener (198.18.0.2:50051)\n"
          "  --backend-port N     of the first backend; the others have the next ones (20000)\n"
          "  --wait SECONDS       for the gateway's connections to our backends (60)\n"
          "  --print-config       prints a penstock.conf that fits, and exits\n"
          "\n"
          "  --repeat N           runs of each row, of which the median counts (3)\n"
          "  --slow N             lets time pass N times slower: for a simulated processor\n"
          "  --json               figures for machines\n"
          "  --help, --version\n"
          "\n"
          "Exit status 1: an RPC was lost, doubled, or wrong.  The ring needs no root, no hugepages, no device.\n",
          to);
}

const char *const options_headers[] = {"static", "go-deadline", "go-deadline,traceparent", NULL};
const char *const options_kinds[] = {"unary", "client", "server", "bidi", NULL};

static bool number(const char *text, uint64_t low, uint64_t high, uint64_t *out)
{
    char *end;
    *out = strtoull(text, &end, 10);
    if (end != text && *end == '\0' && text[0] != '-' && *out >= low && *out <= high)
        return true;
    fprintf(stderr, "penstock-bench: \"%s\" is not a number from %llu to %llu\n", text, (unsigned long long)low, (unsigned long long)high);
    return false;
}

static bool number32(const char *text, uint32_t low, uint32_t high, uint32_t *out)
{
    uint64_t v = 0;
    bool ok = number(text, low, high, &v);
    *out = (uint32_t)v;
    return ok;
}

static bool milliseconds(const char *text, uint64_t *ns)
{
    uint64_t v = 0;
    bool ok = number(text, 1, 3600000, &v);
    *ns = v * 1000000;
    return ok;
}

static bool rate(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    if (end != text && *end == '\0' && *out > 0 && *out <= 1e9)
        return true;
    fprintf(stderr, "penstock-bench: \"%s\" is no rate: RPCs a second\n", text);
    return false;
}

/* The place of a name in a list that ends with NULL. */
static bool named(const char *text, const char *const *names, int *out)
{
    for (*out = 0; names[*out] != NULL; ++*out)
        if (strcmp(text, names[*out]) == 0)
            return true;
    fprintf(stderr, "penstock-bench: \"%s\" is none of", text);
    for (int i = 0; names[i] != NULL; i++)
        fprintf(stderr, "%s %s", i > 0 ? "," : "", names[i]);
    fprintf(stderr, "\n");
    return false;
}

#define MEMIF_SOCKET "/tmp/penstock-bench.sock"

static bool take_link(struct options *o, const char *value)
{
    o->link = strcmp(value, "ring") == 0 ? LINK_RING : LINK_DEVICE;
    if (strcmp(value, "memif") == 0 || strncmp(value, "memif=", 6) == 0)
        snprintf(o->device, sizeof(o->device), "net_memif0,role=server,socket=%s,socket-abstract=no", value[5] == '=' ? value + 6 : MEMIF_SOCKET);
    else
        snprintf(o->device, sizeof(o->device), "%s", value);
    return true;
}

static bool take_address(struct options *o, const char *value)
{
    unsigned bits;
    if (base_prefix_parse(value, &o->address, &bits)) {
        o->bits = (uint8_t)bits;
        return true;
    }
    fprintf(stderr, "penstock-bench: \"%s\" is no address with a prefix length, such as 198.18.0.1/24\n", value);
    return false;
}

static bool take_gateway(struct options *o, const char *value)
{
    struct base_endpoint e;
    if (!base_endpoint_parse(value, &e)) {
        fprintf(stderr, "penstock-bench: \"%s\" is no IP:PORT\n", value);
        return false;
    }
    o->gateway = e.addr;
    o->listener_port = e.port;
    return true;
}

enum { LINK = 256, LOCKSTEP, WORKERS, ENDPOINTS, SIZE, KIND, MESSAGES, HEADERS, ONE, CHURN, THINK, ADDRESS, GATEWAY, BACKEND_PORT, WAIT_FOR, CONFIG, ROW, REPEAT,
       SLOW, JSON, AGE, RESTART, ANSWER, RUDE, ATTACK, BUSY };

/* The load's shape. False: wrong; *mine: it was one of these. */
static bool take_load(struct options *o, int option, const char *value, bool *mine)
{
    uint64_t v = 0;
    int name = 0;
    bool ok = true;
    *mine = true;
    switch (option) {
    case 'c':
        return number32(value, 1, 28000, &o->connections);
    case 'm':
        return number32(value, 1, 1000, &o->streams);
    case 'n':
        return number(value, 1, 1ull << 28, &o->rpcs);
    case 'r':
        return rate(value, &o->rate);
    case ENDPOINTS:
        return number32(value, 1, SNAPSHOT_SLOTS_MAX, &o->endpoints);
    case SIZE:
        return number32(value, 8, 1 << 20, &o->size);
    case KIND:
        ok = named(value, options_kinds, &name);
        o->kind = (enum call_kind)name;
        return ok;
    case MESSAGES:
        return number32(value, 1, 1 << 20, &o->messages);
    case HEADERS:
        ok = named(value, options_headers, &name);
        o->headers = (enum header_set)name;
        return ok;
    case ONE:
        return o->one_per_segment = true;
    case CHURN:
        return number32(value, 1, 1u << 30, &o->churn);
    case THINK:
        ok = number(value, 1, 3600000000ull, &v);
        o->think_ns = v * 1000;
        return ok;
    case AGE:
        return milliseconds(value, &o->age_ns);
    case RESTART:
        return milliseconds(value, &o->restart_ns);
    case ANSWER:
        return milliseconds(value, &o->answer_ns);
    case RUDE:
        return o->rude = true;
    case ATTACK:
        ok = named(value, options_attacks, &name);
        o->attack = (enum attack_kind)name;
        return ok;
    case BUSY:
        return number32(value, 1, 100, &o->busy_percent);
    }
    *mine = false;
    return true;
}

/* False: wrong. */
static bool take(struct arguments *a, int option, const char *value)
{
    uint32_t v = 0;
    bool mine, ok = take_load(&a->o, option, value, &mine);
    a->rpcs_given |= option == 'n';
    if (mine)
        return ok;
    switch (option) {
    case LINK:
        return take_link(&a->o, value);
    case LOCKSTEP:
        return a->o.lockstep = true;
    case WORKERS:
        return number32(value, 1, WORKERS_MAX, &a->o.workers);
    case ADDRESS:
        return take_address(&a->o, value);
    case GATEWAY:
        return take_gateway(&a->o, value);
    case BACKEND_PORT:
        ok = number32(value, 1, 65535, &v);
        a->o.backend_port = (uint16_t)v;
        return ok;
    case WAIT_FOR:
        return number32(value, 1, 3600, &a->o.wait_seconds);
    case CONFIG:
        return a->print_config = true;
    case ROW:
        a->row[a->rows] = value;
        return a->rows++ < ROWS_MAX - 1;
    case REPEAT:
        return number32(value, 1, 99, &a->repeat);
    case SLOW:
        return number32(value, 1, 1000, &a->o.slow);
    case JSON:
        return a->json = true;
    }
    return false;
}

/* What does not go together. */
static bool judge(struct arguments *a)
{
    struct options *o = &a->o;
    const char *why = NULL;
    if (a->rows > 0)
        return true;
    if (o->link == LINK_NONE)
        why = "say what is to be measured: --link ring --lockstep, --link memif, or --row";
    else if (o->link == LINK_DEVICE && (o->lockstep || o->workers > 1))
        why = "--lockstep and --workers are for --link ring: another process takes no turns with us";
    else if (o->age_ns > 0 && o->link != LINK_DEVICE)
        why = "--age is for a gateway of its own: --link memif or a device";
    else if (o->age_ns == 0 && (o->restart_ns > 0 || o->answer_ns > 0 || o->rude))
        why = "--restart, --answer-within and --rude want --age";
    else if (o->age_ns > 0 && o->churn > 0)
        why = "connections end by --age or by --churn";
    else if (o->attack != ATTACK_NONE && (!o->lockstep || o->workers > 1 || o->rate == 0))
        why = "--attack wants --link ring --lockstep, one worker and a --rate";
    else if (o->workers > 1 && !o->lockstep)
        why = "several workers take turns: --workers wants --lockstep";
    else if ((uint64_t)o->connections * o->streams > PLACES_MAX)
        why = "at most 262144 RPCs may be open at once: lower -c or -m";
    else if (o->backend_port + o->endpoints > 45000)
        why = "backends' ports must end below 45000: lower --endpoints or --backend-port";
    if (why != NULL)
        fprintf(stderr, "penstock-bench: %s\n", why);
    if (o->kind == CALL_UNARY)
        o->messages = 1;
    /* What an idle connection takes can be told where nothing else moves. */
    o->memory = o->link == LINK_RING && o->lockstep && o->kind == CALL_UNARY && o->churn == 0 && o->size <= 1024 && o->slow == 1 && o->attack == ATTACK_NONE;
    return why == NULL;
}

void options_defaults(struct arguments *a)
{
    unsigned bits;
    *a = (struct arguments){.o = {.connections = 8, .streams = 1, .endpoints = 3, .size = 100, .messages = 10, .workers = 1, .rpcs = 200000, .slow = 1, .busy_percent = 70,
                                  .listener_port = 50051, .backend_port = 20000, .wait_seconds = 60},
                            .repeat = 3};
    base_prefix_parse("198.18.0.1/24", &a->o.address, &bits);
    a->o.bits = (uint8_t)bits;
    base_addr_parse("198.18.0.2", &a->o.gateway);
}

int options_parse(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"link", required_argument, NULL, LINK},         {"lockstep", no_argument, NULL, LOCKSTEP},
        {"workers", required_argument, NULL, WORKERS},   {"rate", required_argument, NULL, 'r'},
        {"endpoints", required_argument, NULL, ENDPOINTS}, {"size", required_argument, NULL, SIZE},
        {"kind", required_argument, NULL, KIND},         {"messages", required_argument, NULL, MESSAGES},
        {"headers", required_argument, NULL, HEADERS},   {"one-per-segment", no_argument, NULL, ONE},
        {"churn", required_argument, NULL, CHURN},       {"think", required_argument, NULL, THINK},
        {"address", required_argument, NULL, ADDRESS},   {"gateway", required_argument, NULL, GATEWAY},
        {"backend-port", required_argument, NULL, BACKEND_PORT}, {"wait", required_argument, NULL, WAIT_FOR},
        {"print-config", no_argument, NULL, CONFIG},     {"row", required_argument, NULL, ROW},
        {"repeat", required_argument, NULL, REPEAT},     {"slow", required_argument, NULL, SLOW},
        {"age", required_argument, NULL, AGE},           {"restart", required_argument, NULL, RESTART},
        {"answer-within", required_argument, NULL, ANSWER}, {"rude", no_argument, NULL, RUDE},
        {"attack", required_argument, NULL, ATTACK},     {"busy", required_argument, NULL, BUSY},
        {"json", no_argument, NULL, JSON},               {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},             {NULL, 0, NULL, 0}};
    options_defaults(a);
    for (int o; (o = getopt_long(argc, argv, "c:m:n:r:hV", options, NULL)) != -1;) {
        if (o == 'h' || o == 'V') {
            if (o == 'h')
                usage(stdout);
            else
                printf("penstock-bench " PENSTOCK_VERSION "\n");
            return 0;
        }
        if (!take(a, o, optarg)) {
            fputs("Try: penstock-bench --help\n", stderr);
            return 2;
        }
    }
    if (optind < argc || !judge(a)) {
        fputs("Try: penstock-bench --help\n", stderr);
        return 2;
    }
    return -1;
}

void options_print_config(const struct options *o)
{
    char us[BASE_ADDR_TEXT], gateway[BASE_ADDR_TEXT], path[192] = MEMIF_SOCKET;
    bool six = !base_addr_is_v4(&o->address);
    const char *at = strstr(o->device, "socket=");
    base_addr_format(&o->address, us);
    base_addr_format(&o->gateway, gateway);
    if (at != NULL)
        snprintf(path, sizeof(path), "%.*s", (int)strcspn(at + 7, ","), at + 7);
    printf("# For: penstock-bench -c %u -m %u --endpoints %u\n", o->connections, o->streams, o->endpoints);
    printf("limits: { memory = \"4GiB\"; connections = %u; streams = %u; };\n", o->connections + 8 * o->endpoints + 1024,
           o->connections * o->streams + 4096);
    if (strncmp(o->device, "net_memif", 9) == 0)
        printf("ports = ( { name = \"bench\"; device = \"net_memif0,role=client,socket=%s,socket-abstract=no\"; address = [ \"%s/%u\" ]; } );\n", path, gateway,
               o->bits);
    else
        printf("ports = ( { name = \"bench\"; device = \"net_tap0,iface=pen0\"; address = [ \"%s/%u\" ]; } ); # the device is yours to name\n", gateway, o->bits);
    char age[64] = "";
    if (o->age_ns > 0)
        snprintf(age, sizeof(age), " max_connection_age = \"%llums\";", (unsigned long long)o->age_ns / 1000000);
    printf("listeners = ( { name = \"bench\"; bind = \"%s%s%s:%u\"; max_concurrent_streams = 1000;%s\n"
           "  routes = ( { path = \"/bench.Echo/\"; cluster = \"bench\"; } ); } );\n", six ? "[" : "", gateway, six ? "]" : "", o->listener_port, age);
    printf("clusters = ( { name = \"bench\"; lb_policy = \"round_robin\";%s target = \"static:///", age);
    for (uint32_t i = 0; i < o->endpoints; i++)
        printf("%s%s%s%s:%u", i > 0 ? "," : "", six ? "[" : "", us, six ? "]" : "", o->backend_port + i);
    printf("\"; } );\nadmin: { bind = \"127.0.0.1:9901\"; };\n");
}
