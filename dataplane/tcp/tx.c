/* The send queue: what the user wrote, one segment a buffer, until it is acknowledged.
 *
 *     snd_head ... [sent, frozen] ... snd_cur [maybe sent in part] ... snd_tail [open for appending while unsent]
 *
 * A buffer is handed to the device by reference, so its bytes must stand until it is acknowledged and the device has let go
 * of it; headers written in front of it by tcp, ip and port are forgotten before it is sent again (output.c). */
#include "conn.h"

/* Of a buffer: how many bytes were sent and are not acknowledged. */
uint32_t tcp_tx_outstanding(const struct tcp_conn *c, const struct tcp_buf *b)
{
    uint32_t end = b->seq + b->len, from = base_seq_max(b->seq, c->snd_una);
    if (base_seq_gt(end, c->snd_nxt))
        end = c->snd_nxt;
    return base_seq_gt(end, from) ? end - from : 0;
}

static void head_free(struct tcp_conn *c)
{
    struct packet *p = c->snd_head;
    c->snd_head = tcp_buf(p)->next;
    if (c->snd_head == NULL)
        c->snd_tail = NULL;
    if (c->snd_rtx == p)
        c->snd_rtx = c->snd_head;
    if (c->snd_cur == p)
        c->snd_cur = c->snd_head;
    if (tcp_buf(p)->flags & BUF_SACKED && c->snd_sacked == p)
        c->snd_sacked = NULL; /* all before it are gone too */
    c->tcp->snd_holders -= --c->snd_bufs == 0;
    c->tcp->snd_held--;
    packet_free(p);
}

/* n bytes that were not in flight are acknowledged. */
static void gone_back(struct tcp_conn *c, const struct tcp_buf *b, uint32_t n, bool whole)
{
    c->gone_bytes -= n;
    if (!(b->flags & BUF_SACKED))
        return;
    c->sacked_bytes -= n;
    c->sacked_count -= whole;
    if (c->sacked_count == 0)
        c->flags &= ~(uint32_t)CONN_SACKED;
}

/* snd_una moves to ack.  *sent_ns: when one of the buffers acknowledged was sent last; 0: none.  False: one of them was sent more
 * than once, so that nobody knows what the ACK answers (Karn). */
bool tcp_tx_acked(struct tcp_conn *c, uint32_t ack, uint64_t *sent_ns, const struct tcp_segment *s, uint64_t now)
{
    bool ambiguous = false, rack = tcp_has(c, CONN_SACKED | CONN_RECOVERY | CONN_LOSS) && tcp_has(c, CONN_SACK);
    while (c->snd_head != NULL && base_seq_lt(tcp_buf(c->snd_head)->seq, ack)) {
        struct tcp_buf *b = tcp_buf(c->snd_head);
        uint32_t before = tcp_tx_outstanding(c, b), end = b->seq + b->len;
        bool whole = base_seq_le(end, ack);
        if (b->flags & (BUF_LOST | BUF_SACKED))
            gone_back(c, b, whole ? before : ack - base_seq_max(b->seq, c->snd_una), whole);
        ambiguous |= (b->flags & BUF_RETX) != 0;
        if (!whole)
            break;
        if (b->sent_ns > *sent_ns)
            *sent_ns = b->sent_ns;
        if (rack && !(b->flags & BUF_SACKED))
            tcp_rack_arrived(c, b, s, now);
        head_free(c);
    }
    c->bytes_out += ack - c->snd_una;
    c->snd_una = ack;
    if (c->snd_head != NULL && tcp_tx_outstanding(c, tcp_buf(c->snd_head)) == 0)
        tcp_buf(c->snd_head)->flags &= ~(uint32_t)BUF_LOST; /* all of it that was ever sent has arrived */
    return !ambiguous;
}

void tcp_tx_free(struct tcp_conn *c)
{
    while (c->snd_head != NULL)
        head_free(c);
    c->snd_cur = c->snd_rtx = c->snd_sacked = NULL;
    c->gone_bytes = c->sacked_bytes = c->sacked_count = 0;
    c->flags &= ~(uint32_t)CONN_SACKED;
    c->snd_una = c->snd_end = c->snd_nxt;
}

static uint32_t least(size_t a, size_t b)
{
    return (uint32_t)(a < b ? a : b);
}

#define BUFS_LEAST 16

/* One congestion window in flight, and one to go on with when its ACKs come. */
static uint32_t most_now(const struct tcp_conn *c)
{
    const struct tcp_config *k = &c->tcp->config;
    if (c->cwnd <= k->sndbuf_least / 2)
        return k->sndbuf_least;
    return c->cwnd < k->sndbuf / 2 ? 2 * c->cwnd : k->sndbuf;
}

static uint32_t bufs_for(const struct tcp_conn *c, uint32_t bytes)
{
    return 2 * (bytes / c->mss) + BUFS_LEAST;
}

/* No more buffers may be taken.  The division is spared to whom it cannot concern. */
static bool bufs_full(const struct tcp_conn *c)
{
    return c->snd_bufs >= BUFS_LEAST && c->snd_bufs >= bufs_for(c, c->tcp->config.sndbuf_least) && c->snd_bufs >= bufs_for(c, most_now(c));
}

static bool writable(const struct tcp_conn *c)
{
    return (c->state == TCP_ESTABLISHED || c->state == TCP_CLOSE_WAIT) && !tcp_has(c, CONN_FIN_QUEUED);
}

/* Bytes that the last buffer still takes. */
static uint32_t tail_room(const struct tcp_conn *c)
{
    if (c->snd_tail == NULL)
        return 0;
    const struct tcp_buf *b = tcp_buf(c->snd_tail);
    return (b->flags & BUF_SENT) || b->len >= c->mss ? 0 : c->mss - b->len;
}

size_t tcp_write_room(const struct tcp_conn *c)
{
    uint32_t used = c->snd_end - c->snd_una, most = c->tcp->config.sndbuf_least;
    if (used >= most && (most = most_now(c)) <= used)
        return 0;
    if (!writable(c))
        return 0;
    /* Many small writes may use up the buffers before the bytes.  While few are in use what is left holds twice the buffer: no division. */
    const struct tcp *t = c->tcp;
    bool scarce = t->snd_held >= t->snd_mark;
    if (c->snd_bufs <= BUFS_LEAST && !scarce)
        return most - used;
    uint32_t bufs = bufs_for(c, most);
    if (scarce)
        bufs = least(bufs, t->snd_held < t->snd_high ? t->snd_share : t->snd_high_share);
    uint32_t fits = (c->snd_bufs < bufs ? (bufs - c->snd_bufs) * c->mss : 0) + tail_room(c);
    return fits < most - used ? fits : most - used;
}

static struct packet *tail_new(struct tcp_conn *c)
{
    struct packet *p = bufs_full(c) ? NULL : packet_alloc(c->tcp->pool);
    if (p == NULL)
        return NULL;
    *tcp_buf(p) = (struct tcp_buf){.data = packet_data(p), .seq = c->snd_end};
    if (c->snd_tail != NULL)
        tcp_buf(c->snd_tail)->next = p;
    else
        c->snd_head = p;
    c->snd_tail = p;
    if (c->snd_cur == NULL)
        c->snd_cur = p;
    c->tcp->snd_holders += c->snd_bufs++ == 0;
    c->tcp->snd_held++;
    return p;
}

/* Where the user's bytes begin to count: the tail buffer has n more. */
static void appended(struct tcp_conn *c, uint32_t n)
{
    tcp_buf(c->snd_tail)->len += n;
    c->snd_end += n;
    if (c->snd_cur == NULL)
        c->snd_cur = c->snd_tail;
    tcp_pend(c);
}

uint8_t *tcp_write_reserve(struct tcp_conn *c, size_t want, size_t *room)
{
    assert(want > 0 && want <= 1024);
    size_t may = tcp_write_room(c);
    if (may < want)
        return NULL;
    uint32_t left = tail_room(c);
    if (left < want) {
        bool empty = c->snd_tail != NULL && tcp_buf(c->snd_tail)->len == 0; /* reserved before, not committed */
        if (!empty && tail_new(c) == NULL)
            return NULL;
        left = least(c->mss > want ? c->mss : want, c->tcp->room);
    }
    struct packet *p = c->snd_tail;
    *room = least(left, may);
    return tcp_buf(p)->data + tcp_buf(p)->len;
}

void tcp_write_commit(struct tcp_conn *c, size_t n)
{
    if (n == 0)
        return;
    assert(c->snd_tail != NULL && n <= packet_tailroom(c->snd_tail));
    packet_append(c->snd_tail, (uint32_t)n);
    appended(c, (uint32_t)n);
}

size_t tcp_write(struct tcp_conn *c, const void *data, size_t n)
{
    size_t done = 0;
    n = least(n, tcp_write_room(c));
    while (done < n) {
        uint32_t left = tail_room(c);
        if (left == 0) {
            if (tail_new(c) == NULL)
                break;
            left = c->mss;
        }
        uint32_t some = least(left, n - done);
        memcpy(packet_append(c->snd_tail, some), (const uint8_t *)data + done, some);
        appended(c, some);
        done += some;
    }
    return done;
}

/* TCP_EVENT_WRITABLE where it was asked for and is true. */
void tcp_tx_want(struct tcp_conn *c)
{
    if (!tcp_has(c, CONN_WANT))
        return;
    size_t room = tcp_write_room(c);
    if (room < most_now(c) / 4 && (room == 0 || tcp_unsent(c) > 0))
        return;
    c->flags &= ~(uint32_t)CONN_WANT;
    tcp_event_post(c, TCP_EVENT_WRITABLE);
}

void tcp_write_want(struct tcp_conn *c)
{
    c->flags |= CONN_WANT;
    tcp_tx_want(c);
}
