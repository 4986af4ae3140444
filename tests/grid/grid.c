/* grid: our TCP beside Linux's, over the same bad link (relay.h), 100 Mbit/s, queue of max(64 KB, a bandwidth-delay product).  Root.
 *
 *     grid quick                                      20 ms x {0, 1, 3 %}, one seed, 10 s each
 *     grid long FILE                                  the whole grid, five seeds, and 20 MB with their hash; what FILE has already is not run again
 *     grid report FILE                                FILE as a page: medians, ratios, verdict
 *     grid rpc [RPCS [SEED]]                          latencies of 20,000 RPCs at 20 ms, 1 %
 *     grid RTT_US LOSS_PPM REORDER SEED SECONDS       one cell
 *
 * A cell is three streams: ours to Linux, Linux to ours, Linux to Linux; each in a process of its own, its kernel ends in network namespaces of their own, made
 * anonymously and gone with the process.  The sender writes as long as the cell lasts, the receiver compares every byte.  A wrong byte fails the run; a cell's ratio
 * is printed, not judged: this machine's other load moves it, and "late" says how much of it there was. */
#include "grid.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

const char *const grid_kind_names[KINDS] = {"ours -> Linux", "Linux -> ours", "Linux -> Linux"};

void die(const char *what)
{
    perror(what);
    _exit(1);
}

uint64_t clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * S + (uint64_t)t.tv_nsec;
}

static int one(struct cell c)
{
    struct result *r[KINDS];
    c.form = FORM_TIMED;
    c.rto_ns_min = 200 * MS;
    bool good = cell_run(&c, r);
    report_row(stdout, &c, r);
    for (int k = 0; k < KINDS; k++)
        result_destroy(&c, r[k]);
    return good ? 0 : 1;
}

static int quick(void)
{
    static const uint32_t losses[] = {0, 10000, 30000};
    int bad = 0;
    fputs(report_heading, stdout);
    for (int i = 0; i < 3; i++)
        bad |= one((struct cell){.rtt_us = 20000, .loss_ppm = losses[i], .seed = 1, .seconds = 10});
    return bad;
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    signal(SIGPIPE, SIG_IGN);
    if (argc == 2 && strcmp(word, "quick") == 0)
        return quick();
    if (argc == 3 && strcmp(word, "long") == 0)
        return cells_long(argv[2]);
    if (argc == 3 && strcmp(word, "report") == 0)
        return report(argv[2]);
    if (argc >= 2 && argc <= 4 && strcmp(word, "rpc") == 0)
        return rpc_table(20000, 10000, argc > 3 ? strtoull(argv[3], NULL, 10) : 1, argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 20000, argc == 2);
    if (argc != 6) {
        fprintf(stderr, "grid quick | long FILE | report FILE | rpc [RPCS [SEED]] | RTT_US LOSS_PPM REORDER SEED SECONDS\n");
        return 2;
    }
    struct cell c = {.rtt_us = strtoull(argv[1], NULL, 10), .loss_ppm = (uint32_t)strtoul(argv[2], NULL, 10), .reorder = atoi(argv[3]) != 0,
                     .seed = strtoull(argv[4], NULL, 10), .seconds = strtoull(argv[5], NULL, 10)};
    fputs(report_heading, stdout);
    return one(c);
}
