/* The classes.  Each rule asks for as much as tells its cause from others: an event, a state, which of both says more. */
#include "classes.h"

#include <string.h>

const char *const dimension_names[DIMENSIONS] = {"state", "error", "received", "bytes", "RST", "numbers of the RST", "SYN", "options", "sent", "acknowledged",
                                                 "speaks", "sent again", "SACK", "number of a bare ACK", "window", "timestamp", "how many", "when"};

#define DELAY       6  /* ticks within which a delayed ACK of ours must have come */
#define DELAY_LINUX 22 /* and of Linux, which adapts */
#define FAR   1000000 /* numbers this far ahead are beyond any window */

static bool about(const struct situation *x, const char *what)
{
    return strncmp(x->event->about, what, strlen(what)) == 0;
}

static bool earlier(const struct situation *x, const char *what)
{
    for (uint32_t i = 0; i <= x->interval; i++)
        if (strncmp(x->s->event[i].about, what, strlen(what)) == 0)
            return true;
    return false;
}

static bool how_spoken(enum dimension d)
{
    return d == D_SPEAKS || d == D_COUNT || d == D_WHEN || d == D_AGAIN;
}

/* The peer has said two things about where its data ends: two FINs with different numbers, or data beyond one. */
static bool fin_contradicted(const struct situation *x)
{
    bool any = false;
    uint32_t fin = 0;
    for (uint32_t i = 0; i <= x->interval; i++) {
        const struct event *e = &x->s->event[i];
        if (e->kind == SEGMENT && (e->flags & (FIN | SYN)) == FIN && e->seq < FAR && (!any || e->seq + e->len < fin))
            any = true, fin = e->seq + e->len;
    }
    for (uint32_t i = 0; any && i <= x->interval; i++) {
        const struct event *e = &x->s->event[i];
        if (e->kind == SEGMENT && e->seq < FAR && ((e->len > 0 && e->seq + e->len > fin) || ((e->flags & FIN) && !(e->flags & SYN) && e->seq + e->len != fin)))
            return true;
    }
    return false;
}

/* One end acknowledges at once what the other acknowledges within the time of a delayed ACK, in this interval or the next. */
static bool delayed_ack(const struct situation *x, enum dimension d)
{
    const struct said *k = x->k.first, *o = x->o.first;
    if (x->k.mark.received != x->o.mark.received)
        return false;
    if (d == D_WHEN)
        return k->tick <= x->event->tick + DELAY_LINUX && o->tick <= x->event->tick + DELAY;
    if (d == D_ACKED)
        return x->length <= (x->k.acked == x->o.acked_was || x->k.acked < x->o.acked ? DELAY_LINUX : DELAY) || (x->k.acked == x->k.acked_was && x->o.acked == x->o.acked_was);
    return (how_spoken(d) || d == D_SACK) && (x->k.acked_was != x->o.acked_was || x->k.acked != x->o.acked);
}

/* A FIN's number in a block, or a D-SACK of a FIN alone; none from Linux with the segment that ends the data. */
static bool fin_in_sack(const struct situation *x)
{
    const struct said *k = x->k.sacked;
    if (k == NULL)
        return x->k.mark.state != x->state && (x->k.mark.state == APP_CLOSE_WAIT || x->k.mark.state == APP_CLOSING || x->k.mark.state == APP_CLOSED);
    for (uint32_t i = 0; i <= x->interval; i++) {
        const struct event *e = &x->s->event[i];
        for (uint32_t b = 0; b < k->sacks; b++)
            if (e->kind == SEGMENT && (e->flags & FIN) && e->seq + e->len + 1 == k->sack[b].right)
                return true;
    }
    return false;
}

static const char *sack_class(const struct situation *x)
{
    const struct said *k = x->k.sacked, *o = x->o.sacked;
    if (fin_in_sack(x) || (x->k.mark.state == APP_CLOSED && o == NULL))
        return "SACK and FIN";
    if (k != NULL && o == NULL && k->len + (k->flags & FIN) > 0)
        return "SACK on data";
    if (k == NULL && x->state == APP_NONE)
        return "FIN-WAIT-2 without a user";
    if ((k == NULL || !k->prompt) && (o == NULL || !o->prompt))
        return "timers";
    return NULL;
}

static bool by_timer(const struct situation *x, const struct said *s)
{
    (void)x;
    return s == NULL || !s->prompt;
}

/* The peer offered SACK. */
static bool sack_offered(const struct situation *x)
{
    for (uint32_t i = 0; i < x->s->count; i++)
        if (x->s->event[i].flags & SYN && x->s->event[i].sackok)
            return true;
    return false;
}

static bool sent_again_before(const struct trace *t, uint32_t interval)
{
    for (uint32_t i = 0; i < t->saids; i++)
        for (uint32_t k = 0; k < i && t->said[i].interval < interval; k++)
            if (t->said[i].len > 0 && t->said[k].len > 0 && t->said[k].seq + t->said[k].len > t->said[i].seq)
                return true;
    return false;
}

static const char *again_class(const struct situation *x, enum dimension d)
{
    if (d == D_COUNT && (x->k.last == NULL || by_timer(x, x->k.last) || x->o.last == NULL || by_timer(x, x->o.last)))
        return "timers";
    if (d == D_COUNT && x->k.first != NULL && x->k.first->sacks > 0 && x->k.first->len > 0)
        return "SACK on data";
    if (x->k.again == NULL && x->o.again == NULL && earlier(x, "another window") && by_timer(x, x->k.first) && by_timer(x, x->o.first))
        return "timers";
    if (x->k.again == NULL && x->o.again == NULL)
        return x->k.count > 0 && x->o.count > 0 && by_timer(x, x->k.first) && by_timer(x, x->o.first) ? "timers" : NULL;
    if (about(x, "duplicate ACK") && !sack_offered(x))
        return "three duplicates";
    if (earlier(x, "another window") && x->o.again != NULL && x->o.again->prompt)
        return "a window that shrinks";
    if (by_timer(x, x->k.again) && by_timer(x, x->o.again))
        return "timers";
    if (sent_again_before(x->kernel, x->interval) || sent_again_before(x->ours, x->interval))
        return "recovery after a timeout";
    return NULL;
}

/* Our SYN had to be sent again by its timer. */
static bool syn_lost(const struct situation *x)
{
    for (uint32_t i = 0; i < x->ours->saids; i++)
        if ((x->ours->said[i].flags & SYN) && !x->ours->said[i].prompt)
            return true;
    return false;
}

/* Linux held the end of a write back, and said it before the next event was over: its queue towards the device (TSQ) took no more. */
static bool caught_up(const struct situation *x)
{
    bool all = false;
    for (uint32_t i = 0; i < x->kernel->saids; i++) {
        const struct said *a = &x->kernel->said[i];
        all |= a->len > 0 && a->interval <= x->interval + 1 && (int32_t)(a->seq + a->len - x->o.end) >= 0;
    }
    return about(x, "write") && (int32_t)(x->o.end - x->k.end) > 0 && all;
}

/* What each end has out is what its own window of congestion allows, or what it takes the peer's for. */
static const char *sent_class(const struct situation *x)
{
    if (earlier(x, "another window"))
        return "a window that shrinks";
    if (syn_lost(x))
        return "window after a lost SYN";
    uint32_t acked = 1, least = (int32_t)(x->o.end - x->k.end) > 0 ? x->k.end : x->o.end;
    for (uint32_t i = 0; i <= x->interval; i++) {
        const struct event *e = &x->s->event[i];
        if (e->kind == SEGMENT && (e->flags & ACK) && e->ack > acked && (int32_t)(least - e->ack) >= 0)
            acked = e->ack;
    }
    if (least - acked >= 7000 || caught_up(x))
        return "window of congestion";
    return sent_again_before(x->kernel, x->interval + 1) || sent_again_before(x->ours, x->interval + 1) ? "window of congestion" : NULL;
}

static const char *half_open_class(const struct situation *x, enum dimension d)
{
    if (d <= D_SYN && (about(x, "another SYN") || (x->k.rsts > 0 && (about(x, "SYN and FIN") || (about(x, "SYN") && x->event->seq > 0)))))
        return "SYN to a half-open connection";
    if (d <= D_SYN && x->k.rsts > 0 && x->o.rsts == 0 && (x->event->flags & ACK) && x->event->ack != 1)
        return "wrong ACK of a SYN-ACK";
    if (d == D_STATE && x->event->stamp != STAMP_NONE && x->k.mark.state == APP_NONE)
        return "echo in the third ACK";
    return NULL;
}

static const char *opening_class(const struct situation *x, enum dimension d)
{
    if (((d == D_OPTIONS || d == D_STAMP) && about(x, "simultaneous open")) || (d == D_STATE && x->state == APP_SYN_RECEIVED && about(x, "SYN-ACK")))
        return "simultaneous open";
    if ((d == D_SYN || d == D_COUNT) && x->k.syns + x->o.syns > 0 && (by_timer(x, x->k.last) || by_timer(x, x->o.last)) && x->state != APP_SYN_SENT)
        return "timers";
    if (x->state == APP_SYN_SENT && x->k.syns > 0 && x->o.syns == 0 && (d == D_SYN || how_spoken(d)))
        return "SYN again at once";
    return x->state == APP_NONE || x->state == APP_CLOSED ? half_open_class(x, d) : NULL;
}

static const char *closing_class(const struct situation *x, enum dimension d)
{
    if (d == D_RECEIVED && x->o.mark.state == APP_CLOSED && x->k.mark.state == APP_CLOSED && x->o.mark.error)
        return "unread bytes after a RST";
    if (d == D_RST && about(x, "SYN") && x->o.rsts > 0 && x->k.rsts == 0 && !x->s->listen)
        return "SYN to TIME-WAIT, nobody listens";
    if (x->state == APP_NONE && (x->event->flags & (SYN | RST)) && (d == D_RST || d == D_SPEAKS) && earlier(x, "close"))
        return earlier(x, "RST outside") && d == D_RST ? "RST one number early" : "FIN-WAIT-2 without a user";
    if (d == D_ERROR && about(x, "RST") && (x->state == APP_LAST_ACK || x->state == APP_CLOSING))
        return "RST in LAST-ACK";
    if (d == D_RST_NUMBERS && earlier(x, "another window"))
        return "a window that shrinks";
    if (d == D_RST_NUMBERS && x->k.rst->ack == 0 && (x->o.rst->flags & ACK) && !(x->k.rst->flags & ACK))
        return "form of a RST";
    if ((d == D_STATE || d == D_ERROR) && about(x, "RST outside the window") && x->k.mark.state == APP_CLOSED)
        return "RST one number early";
    if ((d == D_STATE || d == D_RST) && x->k.rsts > 0 && x->o.rsts == 0 && (x->state == APP_CLOSE_WAIT || x->state == APP_LAST_ACK || x->state == APP_CLOSING))
        return "text after FIN";
    if (d == D_RST && x->o.rsts > 0 && x->event->kind == CLOSE && (earlier(x, "data ahead") || earlier(x, "FIN ahead")))
        return "close with bytes behind a hole";
    if (d == D_RST && x->o.rsts > 0 && x->event->kind == ABORT && (x->state == APP_CLOSING || x->state == APP_LAST_ACK))
        return "abort while closing";
    if (d == D_WINDOW && (x->state == APP_CLOSED || x->state == APP_NONE))
        return "window in TIME-WAIT";
    return NULL;
}

static const char *segment_class(const struct situation *x, enum dimension d)
{
    if (!(x->event->flags & ACK) && x->event->kind == SEGMENT && (d == D_SPEAKS || d == D_SACK || d == D_COUNT) && x->o.count > 0)
        return "no ACK flag";
    if (about(x, "an old timestamp") && d == D_SPEAKS && x->event->len == 0)
        return "an old timestamp, no data";
    if ((d == D_STATE || d == D_SACK) && x->event->kind == SEGMENT && (x->event->flags & ACK) && x->event->seq < x->o.mark.received + 1 && x->event->seq + x->event->len <= x->o.mark.received + 1)
        return "ACK on old data";
    if (d == D_COUNT && earlier(x, "another window"))
        return "a window that shrinks";
    if (about(x, "no timestamp") && (d == D_STATE || d == D_RECEIVED || d == D_RST || d == D_ACKED || d == D_SPEAKS))
        return "no timestamp";
    if (about(x, "ACK from long ago") && (d == D_RECEIVED || d == D_ACKED || d == D_SPEAKS || d == D_SACK))
        return "ACK from long ago";
    if (d == D_BARE && earlier(x, "another window"))
        return "a window that shrinks";
    if (d == D_COUNT && x->o.sacked != NULL && x->o.count > x->k.count && x->o.end == x->k.end)
        return "SACK on data";
    if (fin_contradicted(x))
        return "a FIN contradicted";
    return NULL;
}

const char *class_of(const struct situation *x, enum dimension d, bool *ends)
{
    const char *name = opening_class(x, d);
    *ends = d <= D_SENT && d != D_RST_NUMBERS && d != D_OPTIONS && d != D_SYN;
    if (name == NULL)
        name = closing_class(x, d);
    if (name == NULL && d == D_SENT)
        name = sent_class(x);
    if (name == NULL && how_spoken(d))
        name = again_class(x, d);
    if (name == NULL && d == D_SACK)
        name = sack_class(x);
    if (name == NULL && delayed_ack(x, d))
        name = "delayed ACK";
    if (name == NULL && (name = segment_class(x, d)) != NULL)
        *ends = true;
    if (name == NULL)
        *ends = d <= D_ACKED;
    return name;
}
