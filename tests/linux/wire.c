/* Segments as bytes, both ways, in numbers relative to both ends. */
#include "play.h"

#include <stdio.h>
#include <string.h>

const char *const app_names[APP_STATES] = {"-", "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING", "LAST-ACK", "CLOSED"};

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8), p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16), put16(p + 2, v);
}

static uint32_t get16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
    return get16(p) << 16 | get16(p + 2);
}

static uint8_t *options(const struct sequence *s, const struct event *e, const struct trace *t, uint8_t *p)
{
    if (e->mss)
        put32(p, 0x020405b4), p += 4;
    if (e->wscale >= 0)
        put32(p, 0x01030300u + (uint32_t)e->wscale), p += 4;
    if (e->sackok)
        put32(p, 0x01010402), p += 4;
    if (e->stamp != STAMP_NONE) {
        put32(p, 0x0101080a);
        put32(p + 4, 1000000 + e->tick * 10 - (e->stamp == STAMP_OLD ? 500000 : 0));
        put32(p + 8, t->ts);
        p += 12;
    }
    if (e->sacks > 0) {
        put32(p, 0x01010502u + 8u * e->sacks), p += 4;
        for (uint32_t i = 0; i < e->sacks; i++, p += 8)
            put32(p, e->sack[i].left + t->isn), put32(p + 4, e->sack[i].right + t->isn);
    }
    (void)s;
    return p;
}

uint32_t wire_write(const struct sequence *s, const struct event *e, const struct trace *t, uint16_t stack_port, uint8_t *at)
{
    memset(at, 0, 20);
    put16(at, PEER_PORT);
    put16(at + 2, stack_port);
    put32(at + 4, s->isn + e->seq);
    put32(at + 8, e->flags & ACK ? t->isn + e->ack : 0);
    at[13] = e->flags;
    put16(at + 14, e->win);
    uint8_t *p = options(s, e, t, at + 20);
    at[12] = (uint8_t)((p - at) / 4 << 4);
    for (uint32_t i = 0; i < e->len; i++)
        *p++ = (uint8_t)('a' + (e->seq + i) % 23);
    return (uint32_t)(p - at);
}

static void option_note(const struct sequence *s, struct trace *t, struct said *x, const uint8_t *p, uint32_t n)
{
    if (p[0] == 2)
        x->mss = true;
    else if (p[0] == 3)
        x->wscale = true;
    else if (p[0] == 4)
        x->sackok = true;
    else if (p[0] == 8 && n == 10)
        x->ts = true, t->ts = get32(p + 2);
    else if (p[0] == 5)
        for (uint32_t i = 0; i < (n - 2) / 8 && i < 4; i++)
            x->sack[x->sacks++] = (struct range){get32(p + 2 + 8 * i) - s->isn, get32(p + 6 + 8 * i) - s->isn};
}

void wire_note(const struct sequence *s, struct trace *t, uint32_t tick, uint32_t interval, bool prompt, const uint8_t *tcp, uint32_t len)
{
    uint32_t header = (uint32_t)(tcp[12] >> 4) * 4;
    if (t->saids == SAIDS) {
        t->overflow = true;
        return;
    }
    struct said *x = &t->said[t->saids++];
    *x = (struct said){.tick = tick, .interval = interval, .prompt = prompt, .flags = tcp[13] & 63, .len = len - header, .win = (uint16_t)get16(tcp + 14)};
    for (uint32_t i = 20; i < header;) {
        uint32_t n = tcp[i] <= 1 ? 1 : tcp[i + 1];
        if (n == 0)
            break;
        option_note(s, t, x, tcp + i, n);
        i += n;
    }
    if (x->flags & SYN)
        t->isn = get32(tcp + 4), t->isn_known = true;
    x->seq = (x->flags & RST) && get32(tcp + 4) == 0 ? 0 : get32(tcp + 4) - t->isn; /* an absolute 0 is one of the two forms of a RST */
    x->ack = x->flags & ACK ? get32(tcp + 8) - s->isn : 0;
}

void wire_read(struct trace *t, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        t->hash = (t->hash ^ data[i]) * 0x100000001b3ull;
    t->read += (uint32_t)n;
}

static void flags_print(uint8_t f)
{
    for (uint32_t i = 0; i < 6; i++)
        if (f >> i & 1)
            putchar("FSRP.U"[i]);
    if (f == 0)
        putchar('-');
}

static void trace_print(const struct trace *t, const char *who, uint32_t interval)
{
    for (uint32_t i = 0; i < t->saids; i++) {
        const struct said *x = &t->said[i];
        if (x->interval != interval)
            continue;
        printf("    %-6s %4u ", who, x->tick);
        flags_print(x->flags);
        printf(" %d(%u) ack %d win %u%s%s%s%s", (int)x->seq, x->len, (int)x->ack, x->win, x->ts ? " ts" : "", x->mss ? " mss" : "", x->wscale ? " wscale" : "",
               x->sackok ? " sackok" : "");
        for (uint32_t k = 0; k < x->sacks; k++)
            printf(" sack %d:%d", (int)x->sack[k].left, (int)x->sack[k].right);
        putchar('\n');
    }
    const struct mark *m = &t->mark[interval];
    printf("    %-6s      %s%s received %u\n", who, app_names[m->state], m->error ? " error" : "", m->received);
}

void wire_print(const struct sequence *s, const struct trace *k, const struct trace *o)
{
    printf("sequence %llu, %s\n", (unsigned long long)s->seed, s->listen ? "somebody listens" : "nobody listens");
    for (uint32_t i = 0; i < s->count; i++) {
        const struct event *e = &s->event[i];
        printf("  %2u tick %4u %s", i, e->tick, e->about);
        if (e->kind == SEGMENT) {
            printf(": ");
            flags_print(e->flags);
            printf(" %d(%u) ack %d win %u%s", (int)e->seq, e->len, (int)e->ack, e->win, e->stamp == STAMP_NOW ? " ts" : e->stamp == STAMP_OLD ? " old ts" : "");
            for (uint32_t n = 0; n < e->sacks; n++)
                printf(" sack %d:%d", (int)e->sack[n].left, (int)e->sack[n].right);
        } else if (e->n > 0) {
            printf(" %u", e->n);
        }
        putchar('\n');
        trace_print(k, "Linux", i);
        trace_print(o, "ours", i);
    }
}
