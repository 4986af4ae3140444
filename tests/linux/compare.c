/* Two traces beside each other, interval by interval: what the user has, what was said, how, and when.  A difference of state ends the comparison, since what follows
 * follows from it; others do not. */
#include "play.h"

#include "classes.h"

#include <stdio.h>
#include <string.h>

#define LATE 2 /* ticks that a machine with other work may be behind */

static void summarise(const struct trace *t, uint32_t i, const struct view *before, struct view *v)
{
    *v = (struct view){.mark = t->mark[i], .end = before->end, .acked = before->acked, .end_was = before->end, .acked_was = before->acked, .synced = before->synced};
    for (uint32_t k = 0; k < t->saids; k++) {
        const struct said *x = &t->said[k];
        if (x->interval != i)
            continue;
        uint32_t more = x->len + ((x->flags & SYN) != 0) + ((x->flags & FIN) != 0), end = x->seq + more;
        if (x->flags & RST) {
            if (v->rsts++ == 0)
                v->rst = x;
            continue;
        }
        if (v->count++ == 0)
            v->first = x;
        v->last = x;
        v->syns += (x->flags & SYN) != 0;
        v->fins += (x->flags & FIN) != 0;
        if (more > 0 && v->synced && (int32_t)(x->seq - v->end) < 0 && v->again == NULL)
            v->again = x;
        if (!v->synced || (int32_t)(end - v->end) > 0)
            v->end = end;
        if ((x->flags & SYN) != 0)
            v->end = 1;
        v->synced = true;
        if ((x->flags & ACK) && ((x->flags & SYN) || (int32_t)(x->ack - v->acked) > 0))
            v->acked = x->ack;
        if (more == 0)
            v->bare = x;
        if (x->sacks > 0 && v->sacked == NULL)
            v->sacked = x;
    }
}

static bool numbers_differ(const struct said *a, const struct said *b)
{
    return a->seq != b->seq || a->ack != b->ack || (a->flags & ACK) != (b->flags & ACK);
}

static uint32_t window_class(const struct said *x)
{
    return x == NULL ? 3 : x->win == 0 ? 0 : 1;
}

static enum dimension differ(const struct view *k, const struct view *o, uint32_t *from)
{
    for (enum dimension d = (enum dimension)*from; d < DIMENSIONS; d++) {
        bool is = false;
        switch (d) {
        case D_STATE: is = k->mark.state != o->mark.state; break;
        case D_ERROR: is = k->mark.error != o->mark.error; break;
        case D_RECEIVED: is = k->mark.received != o->mark.received; break;
        case D_BYTES: is = k->mark.hash != o->mark.hash; break;
        case D_RST: is = (k->rsts > 0) != (o->rsts > 0); break;
        case D_RST_NUMBERS: is = k->rst != NULL && o->rst != NULL && numbers_differ(k->rst, o->rst); break;
        case D_SYN: is = (k->syns > 0) != (o->syns > 0); break;
        case D_OPTIONS:
            is = k->syns > 0 && o->syns > 0 && (k->first->mss != o->first->mss || k->first->wscale != o->first->wscale || k->first->ts != o->first->ts ||
                                                k->first->sackok != o->first->sackok);
            break;
        case D_SENT: is = k->end != o->end; break;
        case D_ACKED: is = k->acked != o->acked; break;
        case D_SPEAKS: is = (k->count > 0) != (o->count > 0); break;
        case D_AGAIN: is = (k->again != NULL) != (o->again != NULL) || (k->again != NULL && k->again->seq != o->again->seq); break;
        case D_SACK:
            is = k->sacked != NULL && o->sacked != NULL && memcmp(&k->sacked->sack[0], &o->sacked->sack[0], sizeof(struct range)) != 0;
            is |= (k->sacked != NULL) != (o->sacked != NULL);
            break;
        case D_BARE: is = k->bare != NULL && o->bare != NULL && k->bare->seq != o->bare->seq; break;
        case D_WINDOW: is = k->last != NULL && o->last != NULL && window_class(k->last) != window_class(o->last); break;
        case D_STAMP: is = k->last != NULL && o->last != NULL && k->last->ts != o->last->ts; break;
        case D_COUNT: is = (k->count > 1) != (o->count > 1); break;
        case D_WHEN:
            is = k->first != NULL && o->first != NULL && (k->first->tick > o->first->tick + LATE || o->first->tick > k->first->tick + LATE);
            break;
        case DIMENSIONS: break;
        }
        if (is) {
            *from = d + 1;
            return d;
        }
    }
    return DIMENSIONS;
}

uint32_t compare(const struct sequence *s, const struct trace *k, const struct trace *o, struct difference *out)
{
    struct situation x = {.s = s, .kernel = k, .ours = o};
    uint32_t n = 0;
    if (k->overflow || o->overflow)
        return 0;
    for (uint32_t i = 0; i < s->count && n < DIFFERENCES; i++) {
        struct view before[2] = {x.k, x.o};
        uint32_t from = 0;
        x.interval = i;
        x.event = &s->event[i];
        x.state = i > 0 ? k->mark[i - 1].state : APP_NONE;
        x.length = (i + 1 < s->count ? s->event[i + 1].tick : s->end) - s->event[i].tick;
        summarise(k, i, &before[0], &x.k);
        summarise(o, i, &before[1], &x.o);
        for (enum dimension d; n < DIFFERENCES && (d = differ(&x.k, &x.o, &from)) < DIMENSIONS;) {
            struct difference *y = &out[n++];
            bool ends = false;
            y->interval = i;
            y->name = class_of(&x, d, &ends);
            snprintf(y->words, sizeof(y->words), "%s: %s, %s, %s", dimension_names[d], x.event->about, app_names[x.state],
                     x.k.count + x.k.rsts > x.o.count + x.o.rsts   ? "Linux says more"
                     : x.k.count + x.k.rsts < x.o.count + x.o.rsts ? "we say more"
                                                                   : "as many");
            if (ends)
                return n;
        }
    }
    return n;
}
