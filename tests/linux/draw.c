/* Sequences by number: a peer that mostly keeps to the rules, with one event in four that does not. */
#include "play.h"

#include "base/hash.h"

#include <string.h>

#define MSS 1400

struct drawn {
    uint64_t random;
    struct sequence *s;
    uint32_t tick;
    uint32_t nxt;        /* the peer's next number */
    uint32_t high;       /* beyond what it sent ahead of a hole */
    uint32_t acked, end; /* of the stack's numbers: acknowledged; written, FIN included */
    bool fin, shut, gone, ts, sack, open;
    int wscale;
};

static uint32_t below(struct drawn *d, uint32_t n)
{
    return (uint32_t)(base_mix64(d->random++) % n);
}

static struct event *event(struct drawn *d, enum kind kind, const char *about)
{
    static struct event beyond;
    struct sequence *s = d->s;
    struct event *e = s->count < EVENTS ? &s->event[s->count++] : &beyond;
    uint32_t dice = below(d, 100);
    *e = (struct event){.tick = d->tick, .kind = kind, .wscale = -1, .about = about};
    d->tick += dice < 55 ? 1 + below(d, 3) : dice < 85 ? 5 + below(d, 4) : dice < 96 ? 25 + below(d, 12) : 70 + below(d, 60);
    return e;
}

static struct event *segment(struct drawn *d, uint8_t flags, uint32_t seq, uint32_t len, const char *about)
{
    struct event *e = event(d, SEGMENT, about);
    e->flags = flags, e->seq = seq, e->len = len;
    e->ack = d->acked;
    e->win = 65535;
    e->stamp = d->ts ? STAMP_NOW : STAMP_NONE;
    return e;
}

static void syn_options(struct drawn *d, struct event *e)
{
    e->mss = true;
    e->sackok = d->sack;
    e->wscale = d->wscale;
    e->stamp = d->ts ? STAMP_NOW : STAMP_NONE;
}

static void app(struct drawn *d)
{
    uint32_t dice = below(d, 100);
    if (d->gone)
        return;
    if (dice < 50 && !d->shut) {
        static const uint32_t sizes[] = {1, 100, 1000, 3000, 6000};
        struct event *e = event(d, WRITE, "write");
        e->n = sizes[below(d, 5)];
        d->end += e->n;
    } else if (dice < 84) {
        event(d, READ, "read")->n = below(d, 2) ? 100000 : 1 + below(d, 1500);
    } else if (dice < 92) {
        event(d, SHUTDOWN, "shutdown");
        d->end += !d->shut;
        d->shut = true;
    } else if (dice < 98) {
        event(d, CLOSE, "close");
        d->end += !d->shut;
        d->shut = d->gone = true;
    } else {
        event(d, ABORT, "abort");
        d->gone = true;
    }
}

static uint32_t some(struct drawn *d)
{
    static const uint32_t sizes[] = {1, 10, 500, MSS, MSS, MSS};
    return sizes[below(d, 6)];
}

static void good_data(struct drawn *d)
{
    uint32_t n = some(d);
    if (d->fin)
        return;
    if (below(d, 3))
        d->acked = d->end;
    if (below(d, 8) == 0) {
        segment(d, ACK | FIN, d->nxt, n, "data and FIN");
        d->fin = true;
        d->nxt += n + 1;
    } else {
        segment(d, ACK | PSH, d->nxt, n, "data");
        d->nxt += n;
    }
    if (d->nxt > d->high)
        d->high = d->nxt;
}

static void good_ack(struct drawn *d)
{
    uint32_t left = d->end - d->acked;
    d->acked = below(d, 3) ? d->end : d->acked + (left > 0 ? below(d, left) : 0);
    segment(d, ACK, d->nxt, 0, "ACK");
}

static void good_fin(struct drawn *d)
{
    if (d->fin || below(d, 3))
        return;
    segment(d, ACK | FIN, d->nxt++, 0, "FIN");
    d->fin = true;
}

static void hole(struct drawn *d)
{
    uint32_t gap = some(d), n = some(d);
    if (d->fin)
        return;
    segment(d, ACK, d->nxt + gap, n, "data ahead of a hole");
    if (d->nxt + gap + n > d->high)
        d->high = d->nxt + gap + n;
}

static void window(struct drawn *d)
{
    static const uint16_t sizes[] = {0, 0, 1, 100, 1500, 5000};
    struct event *e = segment(d, ACK, d->nxt, 0, "another window");
    e->win = (uint16_t)(sizes[below(d, 6)] >> (d->wscale > 0 ? d->wscale : 0));
}

static void sack(struct drawn *d)
{
    uint32_t left = d->end - d->acked;
    if (!d->sack || left < 3 * MSS)
        return;
    struct event *e = segment(d, ACK, d->nxt, 0, "SACK");
    e->sacks = 1;
    e->sack[0].left = d->acked + (d->ts ? 1448 : 1460) * (1 + below(d, 2));
    e->sack[0].right = d->end;
}

static void odd(struct drawn *d)
{
    uint32_t was = d->acked, n;
    struct event *e;
    switch (below(d, 19)) {
    case 0: /* in whole or in part */
        n = 1 + below(d, d->nxt < MSS ? d->nxt : MSS - 100);
        segment(d, ACK, d->nxt - n, below(d, 2) ? n : n + 100, "old data, or half old");
        break;
    case 1:
        segment(d, ACK, d->nxt + 3000000, some(d), "data beyond the window");
        break;
    case 2:
        segment(d, ACK, d->nxt - 1, 0, "keepalive");
        break;
    case 3:
        segment(d, ACK, d->nxt - 1, 1, "keepalive with a byte");
        break;
    case 4:
        d->acked = d->end + 1 + below(d, 100000);
        segment(d, ACK, d->nxt, below(d, 2) ? 0 : 100, "ACK of what was not sent");
        d->acked = was;
        break;
    case 5:
        d->acked -= 200000;
        segment(d, ACK, d->nxt, below(d, 2) ? 0 : 100, "ACK from long ago");
        d->acked = was;
        break;
    case 6:
        segment(d, below(d, 2) ? RST : RST | ACK, d->nxt, 0, "RST");
        break;
    case 7:
        segment(d, RST, d->nxt + 1 + below(d, 20000), 0, "RST inside the window");
        break;
    case 8:
        segment(d, RST, below(d, 2) ? d->nxt - 1 : d->nxt + 3000000, 0, "RST outside the window");
        break;
    case 9:
        e = segment(d, below(d, 2) ? SYN : SYN | ACK, below(d, 2) ? d->nxt : 0, 0, "SYN");
        syn_options(d, e);
        break;
    case 10:
        segment(d, 0, d->nxt, below(d, 2) ? 100 : 0, "no flag");
        break;
    case 11:
        segment(d, FIN, d->nxt, 0, "FIN without ACK");
        break;
    case 12:
        segment(d, SYN | FIN | ACK, d->nxt, 0, "SYN and FIN");
        break;
    case 13:
        if (d->ts)
            segment(d, ACK, d->nxt, below(d, 2) ? 200 : 0, "an old timestamp")->stamp = STAMP_OLD;
        break;
    case 14:
        if (d->ts)
            segment(d, ACK, d->nxt, below(d, 2) ? 200 : 0, "no timestamp")->stamp = STAMP_NONE;
        break;
    case 15:
        segment(d, ACK | FIN, d->nxt + 500, below(d, 2) ? 100 : 0, "FIN ahead of a hole");
        break;
    case 16:
        if (d->fin)
            segment(d, ACK | FIN, d->nxt - 1, 0, "FIN again");
        break;
    case 17:
        segment(d, ACK, d->nxt, 0, "duplicate ACK"), segment(d, ACK, d->nxt, 0, "duplicate ACK"), segment(d, ACK, d->nxt, 0, "duplicate ACK");
        break;
    case 18:
        segment(d, ACK | FIN, d->nxt + 3000000, 0, "FIN beyond the window");
        break;
    }
}

static void passive(struct drawn *d)
{
    uint32_t dice = below(d, 20);
    if (dice == 0) {
        segment(d, below(d, 2) ? ACK : RST, 1, below(d, 2) ? 10 : 0, "to a listener, not a SYN");
    } else if (dice == 1) {
        segment(d, SYN | ACK, 0, 0, "to a listener, SYN and ACK");
    } else if (dice == 2) {
        segment(d, FIN, 1, 0, "to a listener, FIN");
    }
    syn_options(d, segment(d, SYN, 0, 0, "SYN"));
    dice = below(d, 30);
    d->acked = d->end = 1;
    if (dice == 0)
        syn_options(d, segment(d, SYN, 0, 0, "SYN again"));
    else if (dice == 1)
        syn_options(d, segment(d, SYN, 5000, 0, "another SYN"));
    else if (dice == 2)
        segment(d, RST, 1, 0, "RST of a half-open connection");
    else if (dice == 3)
        segment(d, RST, 5000, 0, "RST inside a half-open window");
    else if (dice == 4)
        segment(d, ACK, 1, 0, "wrong ACK of a SYN-ACK")->ack = 70000;
    else if (dice == 5)
        segment(d, ACK | FIN, 1, 0, "ACK and FIN of a SYN-ACK"), d->nxt = 2, d->fin = true;
    else if (dice == 6)
        segment(d, ACK, 500, 100, "data ahead, first ACK");
    if (dice != 5)
        segment(d, ACK, 1, 0, "third of the handshake");
}

static void active(struct drawn *d)
{
    event(d, OPEN, "connect");
    uint32_t dice = below(d, 20);
    if (dice == 0)
        segment(d, SYN | ACK, 0, 0, "SYN-ACK of another")->ack = 4000;
    else if (dice == 1)
        segment(d, RST, 0, 0, "RST without ACK, to a SYN");
    else if (dice == 2)
        segment(d, RST | ACK, 0, 0, "RST of a SYN")->ack = 1;
    else if (dice == 3)
        segment(d, ACK, 0, 0, "wrong ACK of a SYN")->ack = 3;
    else if (dice == 4)
        segment(d, ACK, 0, 20, "ACK of a SYN, no SYN")->ack = 1;
    else if (dice == 5)
        segment(d, FIN, 0, 0, "FIN to a SYN");
    else if (dice == 6)
        syn_options(d, segment(d, SYN, 0, 0, "simultaneous open"));
    d->acked = d->end = 1;
    syn_options(d, segment(d, SYN | ACK, 0, 0, "SYN-ACK"));
}

void draw(struct sequence *s, uint64_t seed)
{
    struct drawn d = {.random = base_mix64(seed), .s = s, .nxt = 1, .high = 1};
    memset(s, 0, sizeof(*s));
    s->seed = seed;
    s->isn = below(&d, 3) == 0 ? UINT32_MAX - below(&d, 4000) : below(&d, UINT32_MAX);
    d.ts = below(&d, 2), d.sack = below(&d, 3) != 0;
    d.wscale = below(&d, 2) ? (int)below(&d, 8) : -1;
    uint32_t kind = below(&d, 20), want = 4 + below(&d, EVENTS - 3);
    s->listen = kind > 0 && kind < 13;
    if (kind < 13)
        passive(&d);
    else
        active(&d);
    for (uint32_t i = 0; s->count < want && i < 200; i++) {
        uint32_t dice = below(&d, 100);
        if (dice < 28)
            app(&d);
        else if (dice < 48)
            good_data(&d);
        else if (dice < 58)
            good_ack(&d);
        else if (dice < 62)
            good_fin(&d);
        else if (dice < 67)
            hole(&d);
        else if (dice < 70)
            window(&d);
        else if (dice < 75)
            sack(&d);
        else
            odd(&d);
    }
    s->end = d.tick + 5;
}
