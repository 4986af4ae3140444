/* Microbenchmarks that stand as rows in the table of gates: each gives the median over many short batches, most of which nothing interrupts. */
#ifndef MICRO_H
#define MICRO_H

#include "snapshot/snapshot.h"

/* ns a pick over so many READY endpoints, all of one weight (round robin) or of weights 1 to 10. */
double micro_pick(enum snapshot_policy policy, uint32_t endpoints);
/* ms from a changed weight in membership to the swapped snapshot, in a cluster of so many endpoints; *apply_us: what a worker's picker
 * takes to take it up. */
double micro_publish(uint32_t endpoints, double *apply_us);

double micro_now_ns(void);
double micro_median(double *values, uint32_t n);

#endif
