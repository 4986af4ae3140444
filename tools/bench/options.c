/* What was asked for on the command line. */
#include "bench.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static void usage(FILE *to)
{
    fputs("usage: penstock-bench --link ring --lockstep [options]\n"
          "       penstock-bench --row ID… [--json]\n"
          "\n"
          "Measures what one proxied unary RPC costs a worker of the gateway, and checks every one of them at both ends.\n"
          "\n"
          "  --link ring          the wire: rings in this process\n"
          "  --lockstep           generator and gateway take turns on one thread; only the gateway's turns are timed\n"
          "  -c N                 client connections (8)\n"
          "  -m N                 RPCs open on a connection, at most (1)\n"
          "  -n N                 RPCs to measure (200000)\n"
          "  --endpoints N        backends (3)\n"
          "  --size BYTES         of a message, either way, 8 to 1048576 (100)\n"
          "  --headers SET        static | go-deadline | go-deadline,traceparent: what grpc-go sends (static)\n"
          "  --one-per-segment    each RPC in a segment of its own: the same as -m 1\n"
          "  --row ID             a row of the table of gates, or several with commas; \"all\" for all of them, \"list\" for their names\n"
          "  --repeat N           runs of each row, of which the median counts (3)\n"
          "  --json               figures for machines\n"
          "  --help               this text\n"
          "\n"
          "Exit status 1: an RPC was lost, doubled, or wrong.  Needs no root, no hugepages, no device.\n",
          to);
}

static bool number(const char *text, uint64_t low, uint64_t high, uint64_t *out)
{
    char *end;
    *out = strtoull(text, &end, 10);
    if (end != text && *end == '\0' && *out >= low && *out <= high)
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

const char *const options_headers[] = {"static", "go-deadline", "go-deadline,traceparent"};

static bool headers_named(const char *text, enum header_set *out)
{
    for (int i = 0; i < 3; i++)
        if (strcmp(text, options_headers[i]) == 0) {
            *out = (enum header_set)i;
            return true;
        }
    fprintf(stderr, "penstock-bench: \"%s\" is no set of headers: static, go-deadline, or go-deadline,traceparent\n", text);
    return false;
}

enum { LINK = 256, LOCKSTEP, ENDPOINTS, SIZE, HEADERS, ONE, ROW, REPEAT, JSON, HELP };

/* False: wrong. */
static bool take(struct arguments *a, int option, const char *value)
{
    switch (option) {
    case 'c':
        return number32(value, 1, 65536, &a->o.connections);
    case 'm':
        return number32(value, 1, 1000, &a->o.streams);
    case 'n':
        return a->rpcs_given = number(value, 1, 1ull << 32, &a->o.rpcs);
    case ENDPOINTS:
        return number32(value, 1, SNAPSHOT_SLOTS_MAX, &a->o.endpoints);
    case SIZE:
        return number32(value, 8, 1 << 20, &a->o.size);
    case HEADERS:
        return headers_named(value, &a->o.headers);
    case LINK:
        return a->ring = strcmp(value, "ring") == 0;
    case LOCKSTEP:
        return a->lockstep = true;
    case ONE:
        return a->o.one_per_segment = true;
    case ROW:
        a->row[a->rows] = value;
        return a->rows++ < ROWS_MAX - 1;
    case REPEAT:
        return number32(value, 1, 99, &a->repeat);
    case JSON:
        return a->json = true;
    }
    return false;
}

int options_parse(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"link", required_argument, NULL, LINK},       {"lockstep", no_argument, NULL, LOCKSTEP},
        {"endpoints", required_argument, NULL, ENDPOINTS}, {"size", required_argument, NULL, SIZE},
        {"headers", required_argument, NULL, HEADERS}, {"one-per-segment", no_argument, NULL, ONE},
        {"row", required_argument, NULL, ROW},         {"repeat", required_argument, NULL, REPEAT},
        {"json", no_argument, NULL, JSON},             {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0}};
    *a = (struct arguments){.o = {.connections = 8, .streams = 1, .endpoints = 3, .size = 100, .rpcs = 200000}, .repeat = 3};
    for (int o; (o = getopt_long(argc, argv, "c:m:n:h", options, NULL)) != -1;) {
        if (o == HELP || o == 'h') {
            usage(stdout);
            return 0;
        }
        if (!take(a, o, optarg)) {
            fputs("Try: penstock-bench --help\n", stderr);
            return 2;
        }
    }
    if (optind < argc || (a->rows == 0 && (!a->ring || !a->lockstep))) {
        fputs("penstock-bench: --link ring --lockstep, or --row, is what there is so far\nTry: penstock-bench --help\n", stderr);
        return 2;
    }
    if (a->o.one_per_segment)
        a->o.streams = 1;
    return -1;
}
