/* Figures, for people and for machines. */
#include "bench.h"

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

#define INTERRUPTED 20 /* medians: no turn of ours takes so long: the host ran somebody else, which the kernel cannot see */
#define STRETCH     48 /* turns: requests and answers come in waves, so that single turns are of several kinds */

/* Stretches of turns that ran undisturbed, in cycles an RPC. */
static void stretches(const struct turns *t, double longest, struct figures *f)
{
    double *stretch = malloc((t->count / STRETCH + 1) * sizeof(*stretch));
    uint64_t n = 0;
    for (uint64_t i = 0; stretch != NULL && i + STRETCH < t->count; i += STRETCH) {
        double cycles = 0;
        bool whole = true;
        for (uint64_t k = i + 1; k <= i + STRETCH; k++) {
            cycles += t->turn[k].cycles;
            whole &= t->turn[k].whole && t->turn[k].cycles <= longest;
        }
        uint32_t rpcs = t->turn[i + STRETCH].rpcs - t->turn[i].rpcs;
        if (whole && rpcs > 0)
            stretch[n++] = cycles / rpcs;
    }
    if (n > 0)
        qsort(stretch, n, sizeof(*stretch), by_value);
    f->quiet_cycles = (n > 0 ? stretch[n / 4] : 0) + f->driver_cycles / (double)f->rpcs;
    f->typical_cycles = (n > 0 ? stretch[n / 2] : 0) + f->driver_cycles / (double)f->rpcs;
    free(stretch);
}

static double median(const struct turns *t)
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

void figures_take(struct figures *f, struct turns *t)
{
    f->turns = t->count;
    if (t->count == 0 || f->rpcs == 0)
        return;
    f->median_turn = median(t);
    double own = 0, longest = INTERRUPTED * f->median_turn;
    uint64_t good = 0;
    for (uint64_t i = 0; i < t->count; i++) {
        bool foreign = !t->turn[i].whole || t->turn[i].cycles > longest;
        f->interrupted += foreign;
        good += !foreign;
        own += foreign ? 0 : t->turn[i].cycles;
    }
    if (good > 0) /* an interrupted turn counts as a mean one of the others */
        f->busy_cycles = own / (double)good * (double)t->count + f->driver_cycles;
    stretches(t, longest, f);
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

static void report_json(const struct figures *f, const struct options *o)
{
    double cycles = f->busy_cycles / (double)f->rpcs;
    printf("{\"machine\":");
    report_machine();
    printf(",\"run\":{\"link\":\"ring\",\"lockstep\":true,\"tsc_hz\":%.0f,\"connections\":%u,\"streams\":%u,\"endpoints\":%u,"
           "\"size\":%u,\"headers\":\"%s\",\"one_per_segment\":%s,\"rpcs\":%llu,\"wrong\":%llu},\"figures\":[",
           f->tsc_hz, o->connections, o->streams, o->endpoints, o->size, options_headers[o->headers], o->one_per_segment ? "true" : "false",
           (unsigned long long)f->rpcs, (unsigned long long)f->wrong);
    struct {
        const char *id, *unit;
        double value;
    } rows[] = {{"cycles_per_rpc", "cycles", cycles},
                {"cycles_per_rpc_typical", "cycles", f->typical_cycles},
                {"cycles_per_rpc_quiet", "cycles", f->quiet_cycles},
                {"rpcs_per_second_core", "1/s", f->tsc_hz / cycles},
                {"rpcs_per_second_core_2.3GHz", "1/s", PROTOCOL_HZ / cycles},
                {"driver_cycles_per_rpc", "cycles", f->driver_cycles / (double)f->rpcs},
                {"batch", "packets", (double)f->packets_in / (double)f->turns},
                {"packets_in_per_rpc", "packets", (double)f->packets_in / (double)f->rpcs},
                {"packets_out_per_rpc", "packets", (double)f->packets_out / (double)f->rpcs},
                {"turns", "", (double)f->turns},
                {"turns_interrupted", "", (double)f->interrupted},
                {"connection_bytes", "bytes", f->connection_bytes},
                {"stream_bytes", "bytes", f->stream_bytes}};
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        printf("%s{\"id\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"}", i > 0 ? "," : "", rows[i].id, rows[i].value, rows[i].unit);
    printf("]}\n");
}

void report(const struct figures *f, const struct arguments *a)
{
    const struct options *o = &a->o;
    if (a->json) {
        report_json(f, o);
        return;
    }
    double rpcs = (double)f->rpcs, cycles = f->busy_cycles / rpcs;
    printf("%u connections, %u streams each, %u endpoints, %u bytes, headers %s%s: %llu RPCs checked at both ends\n", o->connections, o->streams,
           o->endpoints, o->size, options_headers[o->headers], o->one_per_segment ? ", one RPC a segment" : "", (unsigned long long)f->rpcs);
    printf("  busy cycles per RPC      %10.0f   (of them for the device's buffers %.0f)\n", cycles, f->driver_cycles / rpcs);
    printf("    in the typical stretch %8.0f   (median over stretches of %d undisturbed turns)\n", f->typical_cycles, STRETCH);
    printf("    in quiet stretches     %10.0f   (lower quartile over stretches of %d turns)\n", f->quiet_cycles, STRETCH);
    printf("  RPC/s/core               %10.0f   at %.2f GHz; %.0f at 2.3 GHz\n", f->tsc_hz / cycles, f->tsc_hz / 1e9, PROTOCOL_HZ / cycles);
    printf("  batch                    %10.1f   packets a busy turn, %.1f RPCs; median turn %.0f cycles\n",
           (double)f->packets_in / (double)f->turns, rpcs / (double)f->turns, f->median_turn);
    printf("  packets per RPC          %10.2f   in, %.2f out\n", (double)f->packets_in / rpcs, (double)f->packets_out / rpcs);
    printf("  turns                    %10llu   %llu of them interrupted by the machine (preempted, or longer than %d medians), counted as one of the others\n",
           (unsigned long long)f->turns, (unsigned long long)f->interrupted, INTERRUPTED);
    printf("  memory                   %10.0f   bytes an idle connection after one RPC, %.0f a held stream\n", f->connection_bytes, f->stream_bytes);
    printf("  elapsed                  %10.2f   s\n", f->seconds);
}
