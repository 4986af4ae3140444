/* classes: what is known to differ, by name.  Each name has a paragraph in docs/RFC.md. */
#ifndef LINUX_CLASSES_H
#define LINUX_CLASSES_H

#include "play.h"

enum dimension { /* the first ones end a comparison */
    D_STATE, D_ERROR, D_RECEIVED, D_BYTES, D_RST, D_RST_NUMBERS, D_SYN, D_OPTIONS, D_SENT, D_ACKED, D_SPEAKS, D_AGAIN, D_SACK, D_BARE, D_WINDOW, D_STAMP, D_COUNT, D_WHEN,
    DIMENSIONS
};
extern const char *const dimension_names[DIMENSIONS];

struct view { /* one end, one interval */
    struct mark mark;
    uint32_t count, rsts, syns, fins; /* segments but RSTs; RSTs */
    const struct said *first, *last, *rst, *again, *bare, *sacked; /* again: sent before */
    uint32_t end, acked; /* up to now */
    uint32_t end_was, acked_was;
    bool synced;
};

struct situation {
    const struct sequence *s;
    const struct trace *kernel, *ours;
    uint32_t interval, length; /* ticks */
    const struct event *event; /* that began it */
    enum app_state state;      /* before it, Linux's */
    struct view k, o;
};

/* The name of the difference's class; NULL: not explained.  *ends: what follows cannot be compared. */
const char *class_of(const struct situation *x, enum dimension d, bool *ends);

#endif
