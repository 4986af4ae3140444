/* grid.h: what the files of grid share.
 *
 *     cells.c   which cells, and several of them side by side
 *     stream.c  one stream of a cell: the relay between two ends, ours in the same process
 *     kernel.c  a kernel's end: a process with a network namespace and a tap
 *     load.c    what an end does with its sockets, kernel's or ours
 *     report.c  medians, ratios, verdicts
 *     rpc.c     latencies, their quantiles */
#ifndef GRID_H
#define GRID_H

#include "lib/front.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define MS 1000000ull
#define S  (1000 * MS)

enum kind { OURS_TO_LINUX, LINUX_TO_OURS, LINUX_TO_LINUX, KINDS };
extern const char *const grid_kind_names[KINDS];

enum form {
    FORM_TIMED, /* as many bytes as go through in so many seconds */
    FORM_WHOLE, /* so many bytes, hashed */
    FORM_RPC,   /* 100 bytes there, 100 back; the next one when the last is answered */
    FORM_OPEN,  /* the next one when its time has come */
};

struct cell {
    enum form form;
    uint64_t rtt_us;
    uint32_t loss_ppm;
    bool reorder;
    uint64_t seed;
    uint64_t seconds; /* FORM_TIMED */
    uint64_t bytes;   /* FORM_WHOLE */
    uint32_t connections, rpcs; /* of each connection */
    uint64_t gap_ns;            /* FORM_OPEN: of one connection, on average */
    uint64_t rto_ns_min;        /* ours */
};

/* Of one stream, in memory that its processes share. */
struct result {
    atomic_bool done;
    bool good;
    uint64_t bytes, ns, hash;
    uint64_t frames, late; /* what the relay gave out; of it, so late that it tells */
    uint32_t rpcs;
    uint32_t latency_us[]; /* FORM_RPC, FORM_OPEN */
};

static inline size_t result_size(const struct cell *c)
{
    return sizeof(struct result) + (size_t)c->connections * c->rpcs * sizeof(uint32_t);
}

void die(const char *what);
uint64_t clock_now(void);

/* ---- load.c ---- */

enum { PORT = 5000, MESSAGE = 100 };

/* A socket of ours, or the kernel's. */
struct io {
    struct front_socket *ours; /* NULL: fd */
    int fd;
};

struct load; /* an end's sockets and what it does with them */
struct load *load_create(const struct cell *c, int host, struct result *r, uint64_t now);
bool load_full(const struct load *l); /* it has all its sockets */
void load_add(struct load *l, struct io io, uint64_t now);
/* Reads and writes what goes; the result is when it wants to come again whatever happens, UINT64_MAX: never. */
uint64_t load_turn(struct load *l, uint64_t now);
/* Some socket waits for room to write. */
bool load_wants_room(const struct load *l);
uint64_t load_hash(uint64_t bytes); /* of the first so many of the stream */

/* ---- kernel.c ---- */

/* Starts it; the tap's descriptor comes back. It begins when a byte is written to *sock. */
int kernel_end(int host, const struct cell *c, struct result *r, int *sock);

/* ---- stream.c ---- */

void stream_run(const struct cell *c, enum kind kind, struct result *r);

/* ---- cells.c ---- */

/* All kinds of a cell side by side; the results in order of kinds. False: what arrived is not what was sent. */
bool cell_run(const struct cell *c, struct result *r[KINDS]);
struct result *result_create(const struct cell *c);
void result_destroy(const struct cell *c, struct result *r);
double result_mbit(const struct result *r);
double result_late(struct result *const r[KINDS]); /* the worst stream's share */
int cells_long(const char *file);

/* ---- report.c ---- */

/* What FILE holds, as a page; 1: something is missing or does not reach what it shall. */
int report(const char *file);
bool report_has(const char *file, const struct cell *c);
void report_add(const char *file, const struct cell *c, struct result *const r[KINDS]);
void report_row(FILE *out, const struct cell *c, struct result *const r[KINDS]);
extern const char report_heading[];

/* ---- rpc.c ---- */

/* Latencies of so many RPCs, one at a time and by the clock, with Linux's smallest timeout and the gateway's. 1: something fails, or (judge) p99 is not what it shall be. */
int rpc_table(uint64_t rtt_us, uint32_t loss_ppm, uint64_t seed, uint32_t rpcs, bool judge);

#endif
