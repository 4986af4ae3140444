/* Hierarchical timer wheel.  Time is an argument: nanoseconds on whatever clock the caller keeps.
 *
 * Ticks of 2^20 ns (1.05 ms).  A timer never fires early; it fires on the first wheel_expire() whose `now` has
 * reached its deadline rounded up to a tick.  Arm and cancel are O(1); no callbacks: the owner pulls expired
 * timers one by one, so a timer cancelled between two pulls cannot fire. */
#ifndef BASE_WHEEL_H
#define BASE_WHEEL_H

#include "list.h"

#include <stdint.h>

#define BASE_WHEEL_TICK_SHIFT 20
#define BASE_WHEEL_LEVELS     4
#define BASE_WHEEL_BITS       8
#define BASE_WHEEL_SLOTS      (1u << BASE_WHEEL_BITS)

struct base_timer {
    struct base_list link;
    uint64_t deadline_ns;
};

struct base_wheel {
    uint64_t tick; /* every tick up to here has been moved to `expired` */
    uint32_t armed;
    struct base_list expired;
    struct base_list slots[BASE_WHEEL_LEVELS][BASE_WHEEL_SLOTS];
};

void base_wheel_init(struct base_wheel *w, uint64_t now_ns);

static inline void base_timer_init(struct base_timer *t)
{
    base_list_init(&t->link);
    t->deadline_ns = 0;
}

static inline bool base_timer_armed(const struct base_timer *t)
{
    return !base_list_empty(&t->link);
}

/* Re-arming an armed timer moves it. */
void base_wheel_arm(struct base_wheel *w, struct base_timer *t, uint64_t deadline_ns);
/* Harmless on a timer that is not armed. */
void base_wheel_cancel(struct base_wheel *w, struct base_timer *t);
/* The next timer due at `now_ns`, disarmed, or NULL. */
struct base_timer *base_wheel_expire(struct base_wheel *w, uint64_t now_ns);

#endif
