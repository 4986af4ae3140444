/* Level l holds timers whose tick differs from now first in its l-th byte; a slot of level l is spread over
 * level l-1 when the tick enters it. */
#include "wheel.h"

void base_wheel_init(struct base_wheel *w, uint64_t now_ns)
{
    w->tick = now_ns >> BASE_WHEEL_TICK_SHIFT;
    w->armed = 0;
    base_list_init(&w->expired);
    for (int l = 0; l < BASE_WHEEL_LEVELS; l++)
        for (unsigned s = 0; s < BASE_WHEEL_SLOTS; s++)
            base_list_init(&w->slots[l][s]);
}

static void place(struct base_wheel *w, struct base_timer *t)
{
    uint64_t due = (t->deadline_ns + (1ull << BASE_WHEEL_TICK_SHIFT) - 1) >> BASE_WHEEL_TICK_SHIFT;
    if (due <= w->tick) {
        base_list_push_back(&w->expired, &t->link);
        return;
    }
    /* Farther than the wheel reaches: parked at its rim, and placed anew from there. */
    uint64_t ahead = due - w->tick, reach = (1ull << (BASE_WHEEL_LEVELS * BASE_WHEEL_BITS)) - 1;
    if (ahead > reach)
        due = w->tick + reach;
    int level = (63 - __builtin_clzll(due ^ w->tick)) / BASE_WHEEL_BITS;
    if (level >= BASE_WHEEL_LEVELS)
        level = BASE_WHEEL_LEVELS - 1;
    unsigned slot = (due >> (level * BASE_WHEEL_BITS)) & (BASE_WHEEL_SLOTS - 1);
    base_list_push_back(&w->slots[level][slot], &t->link);
}

void base_wheel_arm(struct base_wheel *w, struct base_timer *t, uint64_t deadline_ns)
{
    if (base_timer_armed(t))
        base_list_remove(&t->link);
    else
        w->armed++;
    t->deadline_ns = deadline_ns;
    place(w, t);
}

void base_wheel_cancel(struct base_wheel *w, struct base_timer *t)
{
    if (!base_timer_armed(t))
        return;
    base_list_remove(&t->link);
    w->armed--;
}

static void advance(struct base_wheel *w)
{
    w->tick++;
    for (int level = BASE_WHEEL_LEVELS - 1; level >= 0; level--) {
        uint64_t below = ((uint64_t)1 << (level * BASE_WHEEL_BITS)) - 1;
        if ((w->tick & below) != 0)
            continue;
        struct base_list due;
        base_list_init(&due);
        base_list_splice_back(&due, &w->slots[level][(w->tick >> (level * BASE_WHEEL_BITS)) & (BASE_WHEEL_SLOTS - 1)]);
        for (struct base_list *l; (l = base_list_pop_front(&due)) != NULL;)
            place(w, base_container(l, struct base_timer, link));
    }
}

struct base_timer *base_wheel_expire(struct base_wheel *w, uint64_t now_ns)
{
    uint64_t now = now_ns >> BASE_WHEEL_TICK_SHIFT;
    if (base_list_empty(&w->expired)) {
        if (w->armed == 0 && w->tick < now)
            w->tick = now;
        while (w->tick < now && base_list_empty(&w->expired))
            advance(w);
    }
    struct base_list *l = base_list_pop_front(&w->expired);
    if (l == NULL)
        return NULL;
    w->armed--;
    return base_container(l, struct base_timer, link);
}
