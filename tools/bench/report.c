/* Figures, for people and for machines. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

void turns_add(struct turns *t, uint64_t cycles, bool whole)
{
    if (!whole) {
        t->torn++;
        return;
    }
    if (t->count == t->room) {
        t->room = t->room == 0 ? 65536 : 2 * t->room;
        t->cycles = realloc(t->cycles, t->room * sizeof(*t->cycles));
        if (t->cycles == NULL)
            abort();
    }
    t->cycles[t->count++] = cycles < UINT32_MAX ? (uint32_t)cycles : UINT32_MAX;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

#define INTERRUPTED 20 /* medians: no turn of ours takes so long: the host ran somebody else, which the kernel cannot see */

void figures_take(struct figures *f, struct turns *t)
{
    f->turns = t->count + t->torn;
    if (t->count == 0)
        return;
    qsort(t->cycles, t->count, sizeof(*t->cycles), by_value);
    f->median_turn = t->cycles[t->count / 2];
    for (uint64_t i = 0; i < t->count; i++) {
        bool foreign = t->cycles[i] > INTERRUPTED * f->median_turn;
        f->interrupted += foreign;
        f->busy_cycles += foreign ? f->median_turn : t->cycles[i];
    }
    f->busy_cycles += (double)t->torn * f->median_turn + f->driver_cycles;
    f->interrupted += t->torn;
    f->quiet_cycles = (double)f->turns * t->cycles[t->count / 4] + f->driver_cycles;
}

static const char *header_names[] = {"static", "go-deadline", "go-deadline,traceparent"};

static void report_json(const struct figures *f, const struct options *o, const struct calls *c)
{
    double cycles = f->busy_cycles / (double)f->rpcs;
    printf("{\"machine\":{\"tsc_hz\":%.0f},\"run\":{\"link\":\"ring\",\"lockstep\":true,\"connections\":%u,\"streams\":%u,\"endpoints\":%u,"
           "\"size\":%u,\"headers\":\"%s\",\"one_per_segment\":%s,\"rpcs\":%llu,\"wrong\":%llu},\"figures\":[",
           f->tsc_hz, o->connections, o->streams, o->endpoints, o->size, header_names[o->headers], o->one_per_segment ? "true" : "false",
           (unsigned long long)f->rpcs, (unsigned long long)c->wrong);
    struct {
        const char *id, *unit;
        double value;
    } rows[] = {{"cycles_per_rpc", "cycles", cycles},
                {"cycles_per_rpc_lower_quartile", "cycles", f->quiet_cycles / (double)f->rpcs},
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

void report(const struct figures *f, const struct options *o, const struct calls *c)
{
    if (o->json) {
        report_json(f, o, c);
        return;
    }
    double rpcs = (double)f->rpcs, cycles = f->busy_cycles / rpcs;
    printf("%u connections, %u streams each, %u endpoints, %u bytes, headers %s%s: %llu RPCs checked at both ends\n", o->connections, o->streams,
           o->endpoints, o->size, header_names[o->headers], o->one_per_segment ? ", one RPC a segment" : "", (unsigned long long)f->rpcs);
    printf("  busy cycles per RPC      %10.0f   (of them for the device's buffers %.0f)\n", cycles, f->driver_cycles / rpcs);
    printf("    lower quartile of turns%10.0f   (what a machine of our own would show)\n", f->quiet_cycles / rpcs);
    printf("  RPC/s/core               %10.0f   at %.2f GHz; %.0f at 2.3 GHz\n", f->tsc_hz / cycles, f->tsc_hz / 1e9, PROTOCOL_HZ / cycles);
    printf("  batch                    %10.1f   packets a busy turn, %.1f RPCs; median turn %.0f cycles\n",
           (double)f->packets_in / (double)f->turns, rpcs / (double)f->turns, f->median_turn);
    printf("  packets per RPC          %10.2f   in, %.2f out\n", (double)f->packets_in / rpcs, (double)f->packets_out / rpcs);
    printf("  turns                    %10llu   %llu of them interrupted by the machine (preempted, or longer than %d medians), counted as one median\n",
           (unsigned long long)f->turns, (unsigned long long)f->interrupted, INTERRUPTED);
    printf("  memory                   %10.0f   bytes an idle connection after one RPC, %.0f a held stream\n", f->connection_bytes, f->stream_bytes);
    printf("  elapsed                  %10.2f   s\n", f->seconds);
}
