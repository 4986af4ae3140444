/* What must hold between two calls.  Nothing here changes anything; in a release build nothing is left of it. */
#include "conn.h"

static void check_send(const struct tcp_conn *c)
{
    uint32_t seq = 0, lost = 0, sacked = 0, count = 0, bufs = 0;
    const struct packet *top = NULL;
    bool beyond = false;
    assert(base_seq_le(c->snd_una, c->snd_nxt));
    assert(base_seq_le(c->snd_nxt, c->snd_end + tcp_has(c, CONN_FIN_SENT)));
    for (struct packet *p = c->snd_head; p != NULL; p = tcp_buf(p)->next, bufs++) {
        const struct tcp_buf *b = tcp_buf(p);
        if (p == c->snd_head)
            assert(base_seq_le(b->seq, c->snd_una) || c->snd_una == c->iss);
        else
            assert(b->seq == seq);
        seq = b->seq + b->len;
        assert(b->len == 0 ? tcp_buf(p)->next == NULL : base_seq_gt(seq, c->snd_una));
        assert(b->len <= c->tcp->room);
        if (p == c->snd_cur)
            beyond = true;
        assert(beyond == (b->len == 0 || base_seq_gt(seq, c->snd_nxt)));
        assert(!(b->flags & BUF_LOST) || (b->flags & BUF_SENT));
        lost += b->flags & BUF_LOST ? tcp_tx_outstanding(c, b) : 0;
        assert(!(b->flags & BUF_SACKED) || !(b->flags & BUF_LOST));
        assert(!(b->flags & BUF_SACKED) || base_seq_le(seq, c->snd_nxt));
        sacked += b->flags & BUF_SACKED ? tcp_tx_outstanding(c, b) : 0;
        count += (b->flags & BUF_SACKED) != 0;
        top = b->flags & BUF_SACKED ? p : top;
        assert(tcp_buf(p)->next != NULL || p == c->snd_tail);
    }
    assert(sacked == c->sacked_bytes && count == c->sacked_count && tcp_has(c, CONN_SACKED) == (count > 0) && top == c->snd_sacked);
    assert(c->snd_head != NULL ? seq == c->snd_end : c->snd_tail == NULL && c->snd_cur == NULL);
    assert(beyond == (c->snd_cur != NULL));
    assert(lost + sacked == c->gone_bytes && bufs == c->snd_bufs);
    assert(c->gone_bytes <= c->snd_nxt - c->snd_una);
    assert(c->snd_end - c->snd_una <= c->tcp->config.sndbuf || base_seq_gt(c->snd_una, c->snd_end) || c->snd_una == c->iss);
    (void)seq, (void)lost, (void)bufs, (void)beyond, (void)sacked, (void)count, (void)top;
}

static void check_receive(const struct tcp_conn *c)
{
    uint32_t unread = 0, ooo = 0, count = 0, seq = c->rcv_nxt - tcp_has(c, CONN_FIN_RCVD) - c->unread;
    bool fresh = c->rx_fresh == NULL;
    for (struct packet *p = c->rx_head; p != NULL; p = tcp_buf(p)->next) {
        const struct tcp_buf *b = tcp_buf(p);
        assert(b->seq == seq && b->len > 0 && b->len == packet_len(p));
        seq += b->len;
        unread += b->len;
        fresh |= p == c->rx_fresh;
        assert(b->next != NULL || p == c->rx_tail);
    }
    assert(unread == c->unread && fresh && (c->rx_head != NULL || c->rx_tail == NULL));
    seq = c->rcv_nxt;
    for (struct packet *p = c->ooo_head; p != NULL; p = tcp_buf(p)->next, count++) {
        const struct tcp_buf *b = tcp_buf(p);
        assert(b->len > 0 && b->len == packet_len(p));
        assert(count == 0 ? base_seq_gt(b->seq, seq) : base_seq_ge(b->seq, seq));
        seq = b->seq + b->len;
        ooo += b->len;
    }
    assert(base_seq_le(seq, c->rcv_adv) || c->ooo_head == NULL);
    assert(c->rcv_sacks <= TCP_SACK_BLOCKS && (c->ooo_head != NULL || c->rcv_sacks == 0));
    for (uint32_t i = 0; i < c->rcv_sacks; i++)
        assert(base_seq_gt(c->rcv_sack[i].left, c->rcv_nxt) && base_seq_gt(c->rcv_sack[i].right, c->rcv_sack[i].left) &&
               base_seq_le(c->rcv_sack[i].right, seq));
    assert(ooo == c->ooo_bytes && count == c->ooo_count && count <= c->tcp->config.reassembly);
    assert(base_seq_le(c->rcv_nxt, c->rcv_adv));
    (void)unread, (void)ooo, (void)fresh, (void)seq;
}

static void check_timers(const struct tcp_conn *c)
{
    uint64_t d = c->timer.deadline_ns;
    bool armed = base_timer_armed(&c->timer);
    assert(c->rexmit_at == 0 || (armed && d <= c->rexmit_at));
    assert(c->delack_at == 0 || (armed && d <= c->delack_at));
    assert(c->life_at == 0 || (armed && d <= c->life_at));
    bool pending = !base_list_empty(&c->pending_link);
    if (c->state >= TCP_ESTABLISHED) /* nobody waits for ever */
        assert(c->snd_una == c->snd_nxt || c->rexmit_at != 0);
    if (c->state >= TCP_ESTABLISHED && !pending)
        assert(tcp_unsent(c) == 0 || c->rexmit_at != 0);
    if (c->state >= TCP_ESTABLISHED && !pending && c->state != TCP_TIME_WAIT)
        assert(c->rcv_nxt == c->last_ack || c->delack_at != 0);
    (void)d, (void)armed, (void)pending;
}

void tcp_conn_check(const struct tcp_conn *c)
{
    bool closed = c->state == TCP_CLOSED;
    assert(c->state != TCP_LISTEN && c->state != TCP_TIME_WAIT && c->state <= TCP_TIME_WAIT);
    assert(closed != tcp_has(c, CONN_TABLED));
    assert(!closed || tcp_has(c, CONN_USER));
    assert(tcp_has(c, CONN_USER) || tcp_has(c, CONN_FIN_QUEUED) || c->state == TCP_SYN_RECEIVED);
    assert(!(tcp_has(c, CONN_RECOVERY) && tcp_has(c, CONN_LOSS)));
    assert(!tcp_has(c, CONN_FIN_SENT) || tcp_has(c, CONN_FIN_QUEUED));
    assert((c->ecn & ECN_ON) || c->ecn == 0);
    assert(!tcp_has(c, CONN_FIN_RCVD) || tcp_has(c, CONN_FIN_SEEN));
    if (closed) {
        assert(c->snd_head == NULL && c->gone_bytes == 0 && !base_timer_armed(&c->timer) && base_list_empty(&c->pending_link));
        return;
    }
    bool fin_rcvd = c->state == TCP_CLOSE_WAIT || c->state == TCP_CLOSING || c->state == TCP_LAST_ACK;
    assert(c->state < TCP_ESTABLISHED || fin_rcvd == tcp_has(c, CONN_FIN_RCVD));
    assert(!(c->state == TCP_ESTABLISHED || c->state == TCP_CLOSE_WAIT) || !tcp_has(c, CONN_FIN_QUEUED));
    assert(c->state < TCP_ESTABLISHED || (c->mss > 0 && c->cwnd >= c->mss / 2));
    assert(tcp_table_find(c->tcp, &c->flow, c->hash) == c);
    check_send(c);
    check_receive(c);
    check_timers(c);
    (void)fin_rcvd;
}

void tcp_check(const struct tcp *t)
{
    uint32_t n = 0, half = 0, tabled = 0, slots = 0;
    uint64_t promised = 0;
    uint32_t held = 0, holders = 0;
    base_list_each(l, &t->all)
    {
        const struct tcp_conn *c = base_container(l, struct tcp_conn, all_link);
        tcp_conn_check(c);
        half += tcp_has(c, CONN_HALF_OPEN);
        promised += c->rcv_limit;
        assert(c->rcv_limit <= t->config.rcvbuf);
        tabled += tcp_has(c, CONN_TABLED);
        held += c->snd_bufs;
        holders += c->snd_bufs != 0;
        n++;
    }
    assert(held == t->snd_held && holders == t->snd_holders);
    assert(n == t->conns.in_use && half == t->half_open && promised == t->rcv_promised);
    if (t->table_mask < 4096) {
        for (uint32_t i = 0; i <= t->table_mask; i++)
            slots += t->table[i].index != 0;
        assert(slots == tabled);
    }
    assert(t->reply_tail - t->reply_head <= TCP_REPLIES);
    tcp_timewait_check(t);
    (void)promised, (void)held, (void)holders, (void)n, (void)half, (void)tabled, (void)slots;
}
