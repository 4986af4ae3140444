/* What operators look at: connections written into memory that the control plane lent, and frames shown to a tap.  Both cost a branch a turn
 * while nobody looks. */
#include "internal.h"

#include <rte_cycles.h>

static_assert(TCP_TIME_WAIT + 1 == MAILBOX_TCP_STATES && TCP_ESTABLISHED == 4, "mailbox_tcp_states");

/* A turn's part of a dump: as long as a burst of packets takes. */
#define DUMP_CONNECTIONS 128
#define DUMP_STEPS       4096

static void describe_session(struct mailbox_connection *e, const struct session *s, uint64_t now)
{
    e->session = true;
    e->listener = s->role == SESSION_DOWN ? s->listener : UINT16_MAX;
    e->slot = s->role == SESSION_UP ? s->slot : UINT32_MAX;
    e->serial = s->serial;
    e->streams = http2_streams_active(s->h2);
    http2_conn_windows(s->h2, &e->h2_send_window, &e->h2_receive_window);
    e->closing = s->closing || s->broken || http2_goaway_sent(s->h2) || http2_goaway_received(s->h2);
    e->age_ns = now - s->opened_ns;
}

static void describe(struct mailbox_connection *e, const struct tcp_conn *c, uint64_t now)
{
    struct tcp_info i;
    tcp_conn_info(c, &i);
    *e = (struct mailbox_connection){.flow = *tcp_conn_flow(c), .state = (uint8_t)i.state, .passive = i.passive, .closing = !i.held,
                                     .listener = UINT16_MAX, .slot = UINT32_MAX, .mss = i.mss, .cwnd = i.cwnd, .ssthresh = i.ssthresh,
                                     .send_window = i.snd_wnd, .receive_window = i.rcv_wnd, .in_flight = i.in_flight, .unsent = i.unsent,
                                     .unread = i.unread, .reassembly = i.reassembly, .srtt_ns = i.srtt_ns, .rttvar_ns = i.rttvar_ns,
                                     .rto_ns = i.rto_ns, .bytes_in = i.bytes_in, .bytes_out = i.bytes_out, .retransmits = i.retransmits};
    if (i.passive)
        e->listener = (uint16_t)tcp_conn_tag(c);
    /* What tcp closes by itself may still name a session that is gone. */
    const struct session *s = i.held ? tcp_conn_user(c) : NULL;
    if (s != NULL && !session_lingers(s))
        describe_session(e, s, now);
}

void worker_dump_turn(struct worker *w, uint64_t now)
{
    struct mailbox_dump *d = w->dump;
    uint32_t steps = 0, done = 0;
    while (d->count < MAILBOX_DUMP_ENTRIES && done < DUMP_CONNECTIONS && steps < DUMP_STEPS && d->cursor != UINT32_MAX) {
        uint32_t before = d->cursor;
        const struct tcp_conn *c = tcp_conn_walk(w->serve.tcp, &d->cursor, DUMP_STEPS - steps);
        steps += d->cursor - before;
        if (c == NULL)
            break;
        describe(&d->entry[d->count++], c, now);
        done++;
    }
    if (d->cursor != UINT32_MAX && d->count < MAILBOX_DUMP_ENTRIES)
        return;
    w->dump = NULL;
    mailbox_dump_give(d, false);
}

void worker_dump(struct worker *w, struct mailbox_dump *d)
{
    w->dump = d;
    d->count = 0;
}

void worker_capture(struct worker *w, struct packet_tap *tap)
{
    struct packet_tap *before = w->tap;
    for (uint32_t i = 0; i < w->port_count; i++)
        if (w->queue[i] != NULL)
            port_tap(w->queue[i], tap);
    w->tap = tap;
    if (before != NULL)
        packet_tap_lend(before, false);
}

void worker_tap_stamp(struct worker *w)
{
    w->tap->tsc = rte_rdtsc();
}
