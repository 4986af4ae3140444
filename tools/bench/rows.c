/* The table of gates, by the ids that docs/PERFORMANCE.md and tools/benchmark use.  Each run is a process of its own, as the EAL starts once. */
#include "bench.h"
#include "micro.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum kind { CYCLES, WORKERS_RATIO, CONNECTION_BYTES, STREAM_BYTES, BESIDE, PICK_RR, PICK_WRR, PUBLISH };

struct row {
    const char *id, *what, *unit;
    double gate, final;
    enum kind kind;
    struct options o;
};

#define COMMON .size = 100, .messages = 1, .workers = 1, .slow = 1, .link = LINK_RING, .lockstep = true, .memory = true
#define A COMMON, .connections = 256, .streams = 1, .endpoints = 256, .one_per_segment = true, .rpcs = 200000
#define B COMMON, .connections = 8, .streams = 32, .endpoints = 3, .rpcs = 400000

#define M .size = 100, .messages = 1, .workers = 1, .slow = 4, .link = LINK_RING, .lockstep = true, .connections = 64, .streams = 16, .endpoints = 3, \
          .rpcs = 20000000, .rate = 150000, .busy_percent = 70, .headers = HEADERS_STATIC

static const struct row table[] = {
    {"A1.static", "c 256 onto 256 endpoints, one RPC a segment", "cycles", 5750, 2300, CYCLES, {A, .headers = HEADERS_STATIC}},
    {"A1.deadline", "same, go-deadline", "cycles", 7500, 3070, CYCLES, {A, .headers = HEADERS_DEADLINE}},
    {"B.static", "c 8 m 32 onto 3 endpoints", "cycles", 2000, 770, CYCLES, {B, .headers = HEADERS_STATIC}},
    {"G.connection", "an idle connection after one RPC", "bytes", 8192, 4096, CONNECTION_BYTES, {A}},
    {"G.stream", "a held stream", "bytes", 2048, 1024, STREAM_BYTES, {A}},
    {"K.workers", "A1.static with two workers in turn, to one", "ratio", 1.10, 1.05, WORKERS_RATIO, {A}},
    {"M.pings", "99 % of residence beside PING frames, to alone", "ratio", 2, 2, BESIDE, {M, .attack = ATTACK_PINGS}},
    {"M.resets", "beside rapid resets", "ratio", 2, 2, BESIDE, {M, .attack = ATTACK_RESETS}},
    {"M.settings", "beside SETTINGS frames", "ratio", 2, 2, BESIDE, {M, .attack = ATTACK_SETTINGS}},
    {"M.made_resets", "beside requests that the gateway is made to reset", "ratio", 2, 2, BESIDE, {M, .attack = ATTACK_MADE_RESETS}},
    {"M.headers", "beside requests of forty new fields, reset", "ratio", 2, 2, BESIDE, {M, .attack = ATTACK_HEADERS}},
    {"M.bombs", "beside header lists of 350 KB in 100 octets", "ratio", 2, 2, BESIDE, {M, .attack = ATTACK_BOMBS}},
    {"M.continuations", "beside endless header blocks", "ratio", 2, 2, BESIDE, {M, .attack = ATTACK_CONTINUATIONS}},
    {"M.windows", "beside answers read an octet at a time", "ratio", 2, 2, BESIDE, {M, .attack = ATTACK_WINDOWS}},
    {"M.answers", "beside answers of 64 KiB asked for in vain", "ratio", 2, 2, BESIDE, {M, .attack = ATTACK_ANSWERS}},
    {"M.octets", "beside 2,000 connections that say an octet at a time", "ratio", 2, 2, BESIDE, {M, .attack = ATTACK_OCTETS}},
    {"J.round_robin", "a pick at 1,000 endpoints", "ns", 20, 20, PICK_RR, {0}},
    {"J.weighted_round_robin", "a pick at 1,000 endpoints", "ns", 20, 20, PICK_WRR, {0}},
    {"J.publish", "10,000 endpoints, one changed", "ms", 1, 1, PUBLISH, {0}},
};
#define ROWS (sizeof(table) / sizeof(table[0]))

/* In a child; its figures come through a pipe. */
static bool run_apart(const struct options *o, struct figures *f)
{
    int end[2];
    fflush(NULL);
    if (pipe(end) != 0)
        return false;
    pid_t child = fork();
    if (child == 0) {
        struct figures own = {0};
        bool ok = run(o, &own) && write(end[1], &own, sizeof(own)) == (ssize_t)sizeof(own);
        fflush(NULL);
        _exit(ok ? 0 : 1);
    }
    close(end[1]);
    int status = -1;
    bool ok = child > 0 && read(end[0], f, sizeof(*f)) == (ssize_t)sizeof(*f);
    close(end[0]);
    if (child > 0)
        waitpid(child, &status, 0);
    return ok && status == 0;
}

/* The rows' three sights of one measurement. */
struct sample {
    double value, quiet, mean;
};

/* What all runs of the table have in common. */
static struct options complete(const struct options *shape)
{
    struct arguments a;
    options_defaults(&a);
    struct options o = *shape;
    o.address = a.o.address;
    o.bits = a.o.bits;
    o.gateway = a.o.gateway;
    o.listener_port = a.o.listener_port;
    o.backend_port = a.o.backend_port;
    o.wait_seconds = a.o.wait_seconds;
    return o;
}

/* One pair: two workers after, or before, one. */
static bool sample_pair(const struct options *shape, uint32_t round, struct sample *s)
{
    struct figures f[2] = {{0}};
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t two = (i + round) % 2;
        struct options o = *shape;
        o.workers = 1 + two;
        o.memory = false;
        if (!run_apart(&o, &f[two]))
            return false;
    }
    *s = (struct sample){f[1].typical_cycles / f[0].typical_cycles, f[1].quiet_cycles / f[0].quiet_cycles,
                         f[1].busy_cycles / (double)f[1].rpcs / (f[0].busy_cycles / (double)f[0].rpcs)};
    return true;
}

static bool sample_run(const struct row *row, uint32_t round, uint64_t rpcs, struct sample *s)
{
    struct figures f = {0};
    struct options o = complete(&row->o);
    if (rpcs > 0)
        o.rpcs = rpcs;
    if (row->kind == WORKERS_RATIO)
        return sample_pair(&o, round, s);
    if (row->kind == CONNECTION_BYTES || row->kind == STREAM_BYTES)
        o.rpcs = 10000;
    if (!run_apart(&o, &f))
        return false;
    if (row->kind == BESIDE) { /* beside it, and how busy the worker was then */
        *s = (struct sample){f.beside.ratio, f.beside.beside_p99_us, f.beside.beside_busy};
        return true;
    }
    if (row->kind == CYCLES)
        *s = (struct sample){f.typical_cycles, f.quiet_cycles, f.busy_cycles / (double)f.rpcs};
    else
        s->value = row->kind == CONNECTION_BYTES ? f.connection_bytes : f.stream_bytes;
    return true;
}

static bool sample_micro(const struct row *row, struct sample *s)
{
    double apply_us;
    if (row->kind == PUBLISH)
        s->value = micro_publish(10000, &apply_us);
    else
        s->value = micro_pick(row->kind == PICK_RR ? SNAPSHOT_ROUND_ROBIN : SNAPSHOT_WEIGHTED_ROUND_ROBIN, 1000);
    return true;
}

static bool row_measure(const struct row *row, const struct arguments *a, struct sample *out)
{
    struct sample s = {0};
    double value[99], quiet[99], mean[99];
    uint32_t repeat = row->kind == CYCLES ? a->repeat : row->kind == WORKERS_RATIO ? (a->repeat > 5 ? a->repeat : 5) : 1;
    for (uint32_t i = 0; i < repeat; i++) {
        bool micro = row->kind == PICK_RR || row->kind == PICK_WRR || row->kind == PUBLISH;
        if (!(micro ? sample_micro(row, &s) : sample_run(row, i, a->rpcs_given ? a->o.rpcs : 0, &s)))
            return false;
        value[i] = s.value, quiet[i] = s.quiet, mean[i] = s.mean;
    }
    *out = (struct sample){micro_median(value, repeat), micro_median(quiet, repeat), micro_median(mean, repeat)};
    return true;
}

static bool wanted(const struct arguments *a, const char *id)
{
    size_t n = strlen(id);
    for (uint32_t i = 0; i < a->rows; i++)
        for (const char *at = a->row[i]; at != NULL && *at != '\0'; at = strchr(at, ',') != NULL ? strchr(at, ',') + 1 : NULL)
            if ((strncmp(at, id, n) == 0 && (at[n] == '\0' || at[n] == ',')) || strcmp(at, "all") == 0)
                return true;
    return false;
}

static void print_json(const struct row *row, const struct sample *s, bool first)
{
    printf("%s{\"id\":\"%s\",\"value\":%.6g,\"unit\":\"%s\",\"gate\":%g,\"final\":%g", first ? "" : ",", row->id, s->value, row->unit, row->gate,
           row->final);
    if (row->kind == CYCLES || row->kind == WORKERS_RATIO)
        printf(",\"quiet\":%.6g,\"mean\":%.6g", s->quiet, s->mean);
    if (row->kind == BESIDE)
        printf(",\"residence_p99_us\":%.6g,\"busy\":%.6g", s->quiet, s->mean);
    if (row->kind == CYCLES)
        printf(",\"rpcs_per_second_core_2.3GHz\":%.6g", PROTOCOL_HZ / s->value);
    printf("}");
}

static void print_text(const struct row *row, const struct sample *s)
{
    printf("%-24s %10.4g %-7s gate %6g %s final %6g", row->id, s->value, row->unit, row->gate, s->value <= row->gate ? "held,  " : "MISSED,", row->final);
    if (row->kind == BESIDE)
        printf("   %.1f us, worker %.0f %% busy", s->quiet, s->mean * 100);
    if (row->kind == CYCLES || row->kind == WORKERS_RATIO)
        printf("   quiet %.4g, mean %.4g", s->quiet, s->mean);
    printf("   %s\n", row->what);
}

static int list(void)
{
    for (size_t i = 0; i < ROWS; i++)
        printf("%-24s %-7s gate %6g final %6g   %s\n", table[i].id, table[i].unit, table[i].gate, table[i].final, table[i].what);
    return 0;
}

/* A name that is not in the table would otherwise measure nothing and succeed. */
static bool known(const struct arguments *a)
{
    for (uint32_t i = 0; i < a->rows; i++) {
        char names[256];
        snprintf(names, sizeof(names), "%s", a->row[i]);
        for (char *save, *name = strtok_r(names, ",", &save); name != NULL; name = strtok_r(NULL, ",", &save)) {
            bool found = strcmp(name, "all") == 0;
            for (size_t k = 0; k < ROWS && !found; k++)
                found = strcmp(name, table[k].id) == 0;
            if (!found) {
                fprintf(stderr, "penstock-bench: there is no row \"%s\"; --row list names them\n", name);
                return false;
            }
        }
    }
    return true;
}

int rows_run(const struct arguments *a)
{
    if (strcmp(a->row[0], "list") == 0)
        return list();
    if (!known(a))
        return 2;
    bool ok = true, first = true;
    if (a->json) {
        printf("{\"machine\":");
        report_machine();
        printf(",\"run\":{\"link\":\"ring\",\"lockstep\":true,\"repeat\":%u},\"figures\":[", a->repeat);
    }
    for (size_t i = 0; i < ROWS; i++) {
        struct sample s;
        if (!wanted(a, table[i].id))
            continue;
        if (!row_measure(&table[i], a, &s)) {
            fprintf(stderr, "penstock-bench: row %s could not be measured\n", table[i].id);
            ok = false;
            continue;
        }
        if (a->json)
            print_json(&table[i], &s, first);
        else
            print_text(&table[i], &s);
        first = false;
    }
    if (a->json)
        printf("]}\n");
    return ok ? 0 : 1;
}
