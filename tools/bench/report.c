/* Figures, for people and for machines. */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void turns_add(struct turns *t, struct turn turn)
{
    if (t->count == t->room) {
        t->room = t->room == 0 ? 65536 : 2 * t->room;
        t->turn = realloc(t->turn, t->room * sizeof(*t->turn));
        if (t->turn == NULL)
            abort();
    }
    t->turn[t->count++] = turn;
}

static int by_cycles(const void *a, const void *b)
{
    uint32_t x = ((const struct turn *)a)->cycles, y = ((const struct turn *)b)->cycles;
    return (x > y) - (x < y);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

#define STRETCH 8 /* turns, at least; requests and answers come in waves, so a stretch also holds an answer for every place */

/* Stretches of turns that ran undisturbed, in cycles an RPC. */
static void stretches(const struct turns *t, double longest, uint64_t places, struct figures *f)
{
    double *stretch = malloc((t->count / STRETCH + 1) * sizeof(*stretch)), cycles = 0;
    uint64_t n = 0, from = 0;
    for (uint64_t i = 1; stretch != NULL && i < t->count; i++) {
        cycles += t->turn[i].cycles;
        uint32_t rpcs = t->turn[i].rpcs - t->turn[from].rpcs;
        bool whole = t->turn[i].whole && t->turn[i].cycles <= longest, full = i - from >= STRETCH && rpcs > 0 && rpcs >= places;
        if (whole && !full)
            continue;
        if (whole)
            stretch[n++] = cycles / rpcs;
        from = i;
        cycles = 0;
    }
    if (n > 0)
        qsort(stretch, n, sizeof(*stretch), by_value);
    f->stretches = n;
    f->quiet_cycles = (n > 0 ? stretch[n / 4] + f->driver_cycles / (double)f->rpcs : f->busy_cycles / (double)f->rpcs);
    f->typical_cycles = (n > 0 ? stretch[n / 2] + f->driver_cycles / (double)f->rpcs : f->busy_cycles / (double)f->rpcs);
    free(stretch);
}

double turns_median(const struct turns *t)
{
    struct turn *copy = malloc(t->count * sizeof(*copy));
    if (copy == NULL)
        abort();
    memcpy(copy, t->turn, t->count * sizeof(*copy));
    qsort(copy, t->count, sizeof(*copy), by_cycles);
    double m = copy[t->count / 2].cycles;
    free(copy);
    return m;
}

void figures_take(struct figures *f, const struct turns *t, uint64_t places)
{
    f->turns = t->count;
    if (t->count == 0 || f->rpcs == 0)
        return;
    f->median_turn = turns_median(t);
    double own = 0, longest = TURN_INTERRUPTED * f->median_turn;
    uint64_t good = 0;
    for (uint64_t i = 0; i < t->count; i++) {
        bool foreign = !t->turn[i].whole || t->turn[i].cycles > longest;
        f->interrupted += foreign;
        good += !foreign;
        own += foreign ? 0 : t->turn[i].cycles;
    }
    if (good > 0) /* an interrupted turn counts as a mean one of the others */
        f->busy_cycles = own / (double)good * (double)t->count + f->driver_cycles;
    stretches(t, longest, places, f);
}

/* The first line of a file that begins with `key`, behind its colon. */
static void machine_line(const char *path, const char *key, char *out, size_t n)
{
    char line[256];
    FILE *f = fopen(path, "r");
    snprintf(out, n, "unknown");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        char *value = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || value == NULL)
            continue;
        value += 1 + strspn(value + 1, " \t");
        value[strcspn(value, "\n\"\\")] = '\0';
        snprintf(out, n, "%s", value);
        break;
    }
    if (f != NULL)
        fclose(f);
}

void report_machine(void)
{
    char cpu[128];
    double load[1] = {0};
    machine_line("/proc/cpuinfo", "model name", cpu, sizeof(cpu));
    getloadavg(load, 1);
    printf("{\"cpu\":\"%s\",\"cores\":%ld,\"load\":%.2f,\"compiler\":\"%s\",\"version\":\"%s\"}", cpu, sysconf(_SC_NPROCESSORS_ONLN), load[0],
           __VERSION__, PENSTOCK_VERSION);
}

struct quantiles figures_quantiles(const struct histogram *h, double scale)
{
    return (struct quantiles){histogram_quantile(h, 0.5) * scale, histogram_quantile(h, 0.9) * scale, histogram_quantile(h, 0.99) * scale,
                              histogram_quantile(h, 0.999) * scale, (double)h->max * scale, h->count > 0 ? h->sum / (double)h->count * scale : 0, h->count};
}

struct out { /* figures one after the other */
    bool first;
};

static void put(struct out *o, const char *id, double value, const char *unit)
{
    char text[32];
    snprintf(text, sizeof(text), isfinite(value) ? "%.6g" : "null", value); /* JSON knows no infinity */
    printf("%s{\"id\":\"%s\",\"value\":%s,\"unit\":\"%s\"}", o->first ? "" : ",", id, text, unit);
    o->first = false;
}

static void put_quantiles(struct out *o, const char *id, const struct quantiles *q)
{
    const struct {
        const char *name;
        double value;
    } all[] = {{"p50", q->p50}, {"p90", q->p90}, {"p99", q->p99}, {"p999", q->p999}, {"max", q->max}, {"mean", q->mean}};
    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]) && q->count > 0; i++) {
        char name[64];
        snprintf(name, sizeof(name), "%s_%s", id, all[i].name);
        put(o, name, all[i].value, "us");
    }
}

static void put_run(const struct figures *f, const struct options *o)
{
    printf("{\"link\":\"%s\",\"lockstep\":%s,\"workers\":%u,\"tsc_hz\":%.0f,\"connections\":%u,\"streams\":%u,\"endpoints\":%u,\"size\":%u,"
           "\"kind\":\"%s\",\"messages\":%u,\"headers\":\"%s\",\"one_per_segment\":%s,\"rate\":%g,\"churn\":%u,\"think_us\":%g,\"rpcs\":%llu,\"wrong\":%llu}",
           o->link == LINK_RING ? "ring" : o->device, o->lockstep ? "true" : "false", o->workers, f->tsc_hz, o->connections, o->streams, o->endpoints,
           o->size, options_kinds[o->kind], o->messages, options_headers[o->headers], o->one_per_segment ? "true" : "false", o->rate, o->churn,
           (double)o->think_ns / 1e3, (unsigned long long)f->rpcs, (unsigned long long)f->wrong);
}

static void put_cycles(struct out *out, const struct figures *f, const struct options *o)
{
    double rpcs = (double)f->rpcs, cycles = f->busy_cycles / rpcs;
    put(out, "cycles_per_rpc", cycles, "cycles");
    if (o->lockstep) {
        put(out, "cycles_per_rpc_typical", f->typical_cycles, "cycles");
        put(out, "cycles_per_rpc_quiet", f->quiet_cycles, "cycles");
        put(out, "stretches", (double)f->stretches, "");
        put(out, "driver_cycles_per_rpc", f->driver_cycles / rpcs, "cycles");
        put(out, "batch", (double)f->packets_in / (double)f->turns, "packets");
        put(out, "turns", (double)f->turns, "");
        put(out, "turns_interrupted", (double)f->interrupted, "");
    }
    put(out, "rpcs_per_second_core", f->tsc_hz / cycles, "1/s");
    put(out, "rpcs_per_second_core_2.3GHz", PROTOCOL_HZ / cycles, "1/s");
    put(out, "packets_in_per_rpc", (double)f->packets_in / rpcs, "packets");
    put(out, "packets_out_per_rpc", (double)f->packets_out / rpcs, "packets");
    if (o->memory) {
        put(out, "connection_bytes", f->connection_bytes, "bytes");
        put(out, "stream_bytes", f->stream_bytes, "bytes");
    }
    if (o->lockstep && o->workers == 1 && o->kind == CALL_UNARY) {
        put_quantiles(out, "residence", &f->residence_us);
        put(out, "residence_interrupted", (double)f->residence_interrupted, "RPCs");
    }
}

static void put_ages(struct out *o, const struct ages *a)
{
    put(o, "goaways", (double)a->goaways, "");
    put(o, "restarts", (double)a->restarts, "");
    put(o, "rude_goaways", (double)a->rudenesses, "");
    put(o, "stalls", (double)a->stalls, "");
    put(o, "refused_by_backends", (double)a->refused, "RPCs");
    put(o, "refused_by_gateway", (double)a->refused_us, "RPCs");
    put(o, "left_out_by_gateway", (double)a->excluded, "RPCs");
}

static void put_beside(struct out *o, const struct beside *b)
{
    put(o, "residence_p99_alone", b->alone_p99_us, "us");
    put(o, "residence_p99_beside", b->beside_p99_us, "us");
    put(o, "residence_p99_ratio", b->ratio, "ratio");
    put(o, "busy_alone", b->alone_busy, "");
    put(o, "busy_beside", b->beside_busy, "");
    put(o, "attack_rate", b->attack_rate, "1/s");
    put(o, "attack_connections", b->attack_connects, "1/s");
    put(o, "apart_alone", b->alone_apart, "");
    put(o, "apart_beside", b->beside_apart, "");
}

static void report_json(const struct figures *f, const struct options *o)
{
    struct out out = {true};
    printf("{\"machine\":");
    report_machine();
    printf(",\"run\":");
    put_run(f, o);
    printf(",\"figures\":[");
    if (o->link == LINK_RING && o->attack == ATTACK_NONE)
        put_cycles(&out, f, o);
    if (o->attack != ATTACK_NONE) {
        put_beside(&out, &f->beside);
        printf("]}\n");
        return;
    }
    put(&out, "rpcs_per_second", (double)f->rpcs / f->seconds, "1/s");
    put_quantiles(&out, "latency", &f->latency_us);
    put(&out, "late", (double)f->late, "RPCs");
    put(&out, "connections_opened", (double)f->opened, "");
    if (ages_on(o))
        put_ages(&out, &f->ages);
    put(&out, "seconds", f->seconds, "s");
    printf("]}\n");
}

static void line(const char *what, double value, const char *format, const char *words)
{
    char text[32];
    snprintf(text, sizeof(text), format, value);
    printf("  %-24s %10s   %s\n", what, text, words);
}

static void text_quantiles(const char *what, const struct quantiles *q, const char *words)
{
    char text[512];
    snprintf(text, sizeof(text), "us at the median; 90 %% %.1f, 99 %% %.1f, 99.9 %% %.1f, most %.1f; %s", q->p90, q->p99, q->p999, q->max, words);
    if (q->count > 0)
        line(what, q->p50, "%.1f", text);
}

static void text_gateway(const struct figures *f, const struct options *o)
{
    double rpcs = (double)f->rpcs, cycles = f->busy_cycles / rpcs;
    char text[256];
    snprintf(text, sizeof(text), "of them for the device's buffers %.0f", f->driver_cycles / rpcs);
    line("busy cycles per RPC", cycles, "%.0f", text);
    if (o->lockstep) {
        snprintf(text, sizeof(text), "median over %llu stretches of at least %d undisturbed turns", (unsigned long long)f->stretches, STRETCH);
        line("  in the typical stretch", f->typical_cycles, "%.0f", text);
        line("  in quiet stretches", f->quiet_cycles, "%.0f", "their lower quartile");
    }
    snprintf(text, sizeof(text), "at %.2f GHz; %.0f at 2.3 GHz", f->tsc_hz / 1e9, PROTOCOL_HZ / cycles);
    line("RPC/s/core", f->tsc_hz / cycles, "%.0f", text);
    if (o->lockstep) {
        snprintf(text, sizeof(text), "packets a busy turn, %.1f RPCs; median turn %.0f cycles", rpcs / (double)f->turns, f->median_turn);
        line("batch", (double)f->packets_in / (double)f->turns, "%.1f", text);
        snprintf(text, sizeof(text), "%llu of them interrupted by the machine (preempted, or longer than %d medians), counted as one of the others",
                 (unsigned long long)f->interrupted, TURN_INTERRUPTED);
        line("turns", (double)f->turns, "%.0f", text);
    }
    snprintf(text, sizeof(text), "in, %.2f out", (double)f->packets_out / rpcs);
    line("packets per RPC", (double)f->packets_in / rpcs, "%.2f", text);
    if (o->lockstep && o->workers == 1 && o->kind == CALL_UNARY) {
        snprintf(text, sizeof(text), "%llu RPCs that an interrupted turn met are apart", (unsigned long long)f->residence_interrupted);
        text_quantiles("residence in the gateway", &f->residence_us, text);
    }
    if (o->workers > 1)
        line("handed over", (double)f->handovers, "%.0f", "frames that the other worker got");
    if (o->memory) {
        snprintf(text, sizeof(text), "bytes an idle connection after one RPC, %.0f a held stream", f->stream_bytes);
        line("memory", f->connection_bytes, "%.0f", text);
    }
}

static void headline(const struct figures *f, const struct options *o)
{
    printf("%u connections, %u streams each, %u endpoints, %u bytes, %s", o->connections, o->streams, o->endpoints, o->size, options_kinds[o->kind]);
    if (o->kind != CALL_UNARY)
        printf(" with %u messages", o->messages);
    printf(", headers %s", options_headers[o->headers]);
    if (o->one_per_segment)
        printf(", one RPC a segment");
    if (o->rate > 0)
        printf(", %g RPCs a second by the clock", o->rate);
    if (o->churn > 0)
        printf(", connections of %u RPCs (%llu were opened)", o->churn, (unsigned long long)f->opened);
    if (o->age_ns > 0)
        printf(", connections of at most %g s (%llu were told to go), %llu restarts of backends", (double)o->age_ns / 1e9, (unsigned long long)f->ages.goaways,
               (unsigned long long)f->ages.restarts);
    if (o->think_ns > 0)
        printf(", %g us between two", (double)o->think_ns / 1e3);
    if (o->workers > 1)
        printf(", %u workers", o->workers);
    printf(": %llu RPCs checked at both ends, %llu wrong\n", (unsigned long long)f->rpcs, (unsigned long long)f->wrong);
}

void report(const struct figures *f, const struct arguments *a)
{
    const struct options *o = &a->o;
    char text[256];
    if (a->json) {
        report_json(f, o);
        return;
    }
    headline(f, o);
    if (o->attack != ATTACK_NONE) {
        const struct beside *b = &f->beside;
        snprintf(text, sizeof(text), "us at 99 %% beside %s, %.1f alone: %.2f times; worker %.0f %% busy, %.0f %% alone; %.3g units/s, %.0f connections/s; apart %.1f %% and %.1f %%", options_attacks[o->attack],
                 b->alone_p99_us, b->ratio, b->beside_busy * 100, b->alone_busy * 100, b->attack_rate, b->attack_connects,
                 b->beside_apart * 100, b->alone_apart * 100);
        line("residence in the gateway", b->beside_p99_us, "%.1f", text);
        return;
    }
    if (o->link == LINK_RING)
        text_gateway(f, o);
    snprintf(text, sizeof(text), "%s%llu began more than 1 ms late", o->rate > 0 ? "from the intended time; " : "", (unsigned long long)f->late);
    text_quantiles("latency", &f->latency_us, text);
    snprintf(text, sizeof(text), "s; %.0f RPCs a second", (double)f->rpcs / f->seconds);
    line("elapsed", f->seconds, "%.2f", text);
}
