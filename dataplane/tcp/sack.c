/* Selective acknowledgement, both ends of it.
 *
 * Told to the peer (RFC 2018): the ranges ahead of the hole, the one that changed last first; in front of them, once, what came twice
 * (RFC 2883).  They are kept as ranges, so that telling them costs nothing in proportion to the queue.  What was told is given
 * up again only where reassembly is full.
 *
 * Told by the peer: the scoreboard is a mark on each buffer of the send queue and a sum.  A buffer is marked when one block covers all of it;
 * blocks that say what an earlier ACK said are passed over, and an ACK may look at config.sack_work buffers at most, so that
 * neither thousands of tiny buffers nor blocks that jump about cost more than that. */
#include "cc.h"

static bool touches(const struct tcp_range *a, const struct tcp_range *b)
{
    return base_seq_le(a->left, b->right) && base_seq_le(b->left, a->right);
}

/* [seq, seq+len) has come out of order: it and what it joins to are the first to be told. */
void tcp_sack_arrived(struct tcp_conn *c, uint32_t seq, uint32_t len)
{
    struct tcp_range r = {seq, seq + len}, out[TCP_SACK_BLOCKS];
    uint32_t n = 1;
    for (uint32_t i = 0; i < c->rcv_sacks; i++)
        if (touches(&c->rcv_sack[i], &r)) {
            if (base_seq_lt(c->rcv_sack[i].left, r.left))
                r.left = c->rcv_sack[i].left;
            if (base_seq_gt(c->rcv_sack[i].right, r.right))
                r.right = c->rcv_sack[i].right;
        }
    for (uint32_t i = 0; i < c->rcv_sacks && n < TCP_SACK_BLOCKS; i++)
        if (!touches(&c->rcv_sack[i], &r))
            out[n++] = c->rcv_sack[i];
    out[0] = r;
    memcpy(c->rcv_sack, out, n * sizeof(out[0]));
    c->rcv_sacks = (uint8_t)n;
}

/* The queue ahead of the hole has changed: nothing is told that is in order by now, or that was given up (from `end` on). */
void tcp_sack_trim(struct tcp_conn *c, uint32_t end)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->rcv_sacks; i++) {
        struct tcp_range r = c->rcv_sack[i];
        if (base_seq_gt(r.right, end))
            r.right = end;
        if (base_seq_gt(r.left, c->rcv_nxt) && base_seq_gt(r.right, r.left))
            c->rcv_sack[n++] = r;
    }
    c->rcv_sacks = (uint8_t)n;
}

/* RFC 2883 section 4: the first block of the next ACK says what came twice. */
void tcp_sack_twice(struct tcp_conn *c, uint32_t seq, uint32_t end)
{
    if (!tcp_has(c, CONN_SACK) || !base_seq_lt(seq, end))
        return;
    if (tcp_has(c, CONN_DSACK)) { /* one range; what follows on it lengthens it */
        if (seq == c->rcv_twice.right)
            c->rcv_twice.right = end;
        return;
    }
    c->flags |= CONN_DSACK;
    c->rcv_twice = (struct tcp_range){seq, end};
}

/* What the next ACK says. */
uint32_t tcp_sack_tell(struct tcp_conn *c, struct tcp_range *out)
{
    uint32_t n = 0, most = tcp_has(c, CONN_TS) ? TCP_SACK_BLOCKS - 1 : TCP_SACK_BLOCKS;
    if (tcp_has(c, CONN_DSACK))
        out[n++] = c->rcv_twice;
    c->flags &= ~(uint32_t)CONN_DSACK;
    for (uint32_t i = 0; i < c->rcv_sacks && n < most; i++)
        out[n++] = c->rcv_sack[i];
    return n;
}

static void mark(struct tcp_conn *c, struct packet *p, const struct tcp_segment *s, uint64_t now)
{
    struct tcp_buf *b = tcp_buf(p);
    uint32_t n = tcp_tx_outstanding(c, b);
    if (b->flags & BUF_LOST)
        b->flags &= ~(uint32_t)BUF_LOST; /* it is in gone_bytes already */
    else
        c->gone_bytes += n;
    b->flags |= BUF_SACKED;
    c->sacked_bytes += n;
    c->sacked_count++;
    c->flags |= CONN_SACKED;
    if (c->snd_sacked == NULL || base_seq_lt(tcp_buf(c->snd_sacked)->seq, b->seq))
        c->snd_sacked = p;
    tcp_rack_arrived(c, b, s, now);
}

/* Marks what lies in the block, from the buffer with `from` on; `work` is what may still be looked at.  Where it got to. */
static uint32_t mark_range(struct tcp_conn *c, struct tcp_range r, uint32_t from, uint32_t *work, const struct tcp_segment *s, uint64_t now)
{
    struct packet *p = c->snd_head;
    if (c->snd_sacked != NULL && base_seq_le(tcp_buf(c->snd_sacked)->seq, from))
        p = c->snd_sacked;
    for (; p != NULL; p = tcp_buf(p)->next, --*work) {
        const struct tcp_buf *b = tcp_buf(p);
        if (!(b->flags & BUF_SENT) || base_seq_gt(b->seq + b->len, r.right))
            break;
        if (*work == 0)
            return base_seq_max(b->seq, from);
        if (base_seq_ge(base_seq_max(b->seq, c->snd_una), r.left) && !(b->flags & BUF_SACKED))
            mark(c, p, s, now);
    }
    return r.right;
}

/* Where the part of a block begins that the last ACK did not tell. */
static uint32_t unheard(const struct tcp_conn *c, const struct tcp_range *r)
{
    uint32_t from = r->left;
    for (uint32_t i = 0; i < TCP_SACK_BLOCKS; i++) {
        const struct tcp_range *h = &c->heard[i];
        if (base_seq_le(h->left, from) && base_seq_lt(from, h->right))
            from = h->right;
    }
    return from;
}

bool tcp_sack_is_twice(const struct tcp_segment *s)
{
    const struct tcp_range *a = &s->sack[0], *b = &s->sack[1];
    if (base_seq_le(a->right, s->ack)) /* RFC 2883 section 4 (4) */
        return true;
    return s->sack_count > 1 && base_seq_le(b->left, a->left) && base_seq_le(a->right, b->right);
}

/* The lowest first, though the newest is told first: of what one ACK tells none has overtaken the other (RFC 8985 section 6.2 step 3). */
static uint32_t ascending(const struct tcp_segment *s, uint32_t first, struct tcp_range *out)
{
    uint32_t n = 0;
    for (uint32_t i = first; i < s->sack_count; i++, n++) {
        uint32_t at = n;
        for (; at > 0 && base_seq_lt(s->sack[i].left, out[at - 1].left); at--)
            out[at] = out[at - 1];
        out[at] = s->sack[i];
    }
    return n;
}

/* Blocks must lie in what is in flight (RFC 2018 section 4); what does not is passed over.  una: acknowledged before this segment came.  Bytes that are newly marked. */
uint32_t tcp_sack_take(struct tcp_conn *c, const struct tcp_segment *s, uint32_t una, uint64_t now)
{
    uint32_t before = c->sacked_bytes, work = c->tcp->config.sack_work, first = 0;
    struct tcp_range kept[TCP_SACK_BLOCKS] = {{0, 0}};
    if (!tcp_has(c, CONN_SACKED)) { /* of an episode that is over */
        memset(c->heard, 0, sizeof(c->heard));
        c->rack_high = c->snd_una;
    }
    if (tcp_sack_is_twice(s)) {
        first = 1;
        if (!tcp_has(c, CONN_TLP_OUT))
            tcp_rack_twice(c);
        tcp_undo_twice(c, &s->sack[0], una, now);
    }
    struct tcp_range in[TCP_SACK_BLOCKS];
    uint32_t count = ascending(s, first, in);
    for (uint32_t i = 0; i < count; i++) {
        struct tcp_range r = in[i];
        if (!base_seq_lt(r.left, r.right) || base_seq_gt(r.right, c->snd_nxt)) {
            stats_count(c->tcp->stats, STATS_TCP_SACK_NONSENSE, 1);
            continue;
        }
        if (!base_seq_gt(r.left, c->snd_una))
            continue;
        uint32_t from = unheard(c, &r);
        if (base_seq_lt(from, r.right))
            r.right = mark_range(c, r, from, &work, s, now);
        kept[i] = r;
    }
    memcpy(c->heard, kept, sizeof(kept));
    return c->sacked_bytes - before;
}

/* RFC 2018 section 8, 6675 section 5.1: the peer has given up what it had told, or something is odd. */
void tcp_sack_forget(struct tcp_conn *c)
{
    for (struct packet *p = c->snd_head; p != NULL && (tcp_buf(p)->flags & BUF_SENT); p = tcp_buf(p)->next)
        tcp_buf(p)->flags &= ~(uint32_t)BUF_SACKED;
    c->gone_bytes -= c->sacked_bytes;
    c->sacked_bytes = c->sacked_count = 0;
    c->snd_sacked = NULL;
    c->flags &= ~(uint32_t)CONN_SACKED;
    memset(c->heard, 0, sizeof(c->heard));
}
