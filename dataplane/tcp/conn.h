/* conn.h: what the files of tcp share.  Not for other rooms: tcp.h is the door.
 *
 * A connection's sequence space, send side (all modulo 2^32):
 *
 *     iss < snd_una <= snd_nxt <= snd_end (+1 once the FIN is sent)
 *           |          |          |
 *           |          |          end of what the user wrote; the FIN's number if CONN_FIN_QUEUED
 *           |          first never sent
 *           first unacknowledged
 *
 * gone_bytes of [snd_una, snd_nxt) are held for lost and wait to be sent again, or are sacked, so that
 *     in flight = snd_nxt - snd_una - gone_bytes.
 *
 * Receive side:  irs < rcv_nxt <= rcv_adv, where rcv_adv is the right edge of the window that was promised; it never moves left. */
#ifndef TCP_CONN_H
#define TCP_CONN_H

#include "tcp.h"
#include "segment.h"

#include <assert.h>

/* Bookkeeping of a packet in one of tcp's queues, in the packet's scratch area.  It stays tcp's while a device holds the
 * packet as well. */
struct tcp_buf {
    struct packet *next;
    uint8_t *data;     /* send: first byte of payload, wherever headers in front of it begin */
    uint64_t sent_ns;  /* send: last transmission */
    uint32_t seq;      /* of data[0] */
    uint32_t len;      /* payload bytes */
    uint32_t flags;
};
static_assert(sizeof(struct tcp_buf) <= PACKET_SCRATCH, "scratch");

enum { /* tcp_buf.flags */
    BUF_SENT = 1,  /* some of it was sent: frozen */
    BUF_LOST = 2,  /* held for lost: to be sent again */
    BUF_RETX = 4,  /* was sent more than once: no RTT sample from it (Karn) */
    BUF_SACKED = 8, /* the peer says that it has it; never together with BUF_LOST */
};

static inline struct tcp_buf *tcp_buf(struct packet *p)
{
    return packet_scratch(p);
}

enum { /* tcp_conn.flags */
    CONN_USER = 1 << 0,       /* the user holds it and is told of events */
    CONN_PASSIVE = 1 << 1,    /* came from a listener */
    CONN_TS = 1 << 2,         /* RFC 7323 timestamps in use */
    CONN_WS = 1 << 3,         /* RFC 7323 window scaling in use */
    CONN_SYN_DUE = 1 << 4,    /* a SYN or SYN-ACK is to be sent */
    CONN_ACK_NOW = 1 << 5,    /* an ACK is due this turn */
    CONN_FIN_QUEUED = 1 << 6, /* the user has finished */
    CONN_FIN_SENT = 1 << 7,
    CONN_FIN_LOST = 1 << 8,   /* the FIN is to be sent again */
    CONN_FIN_SEEN = 1 << 9,   /* a FIN arrived; its number is rcv_fin */
    CONN_FIN_RCVD = 1 << 10,  /* and all before it: rcv_nxt == rcv_fin + 1 */
    CONN_PROBE_DUE = 1 << 11,
    CONN_PERSIST = 1 << 12,   /* probing a closed window */
    CONN_RECOVERY = 1 << 13,  /* fast recovery, RFC 6582 */
    CONN_LOSS = 1 << 14,      /* after a retransmission timeout */
    CONN_FAST_DUE = 1 << 15,  /* one retransmission goes out whatever cwnd says */
    CONN_WANT = 1 << 16,      /* tcp_write_want */
    CONN_TABLED = 1 << 17,    /* in the flow table */
    CONN_HALF_OPEN = 1 << 18, /* counts against syn_backlog */
    CONN_SYN_LOST = 1 << 19,  /* the timer of our SYN has expired */
    CONN_PARTIAL = 1 << 20,   /* this recovery has seen its first partial ACK */
    CONN_UNDO = 1 << 21,      /* this recovery may still turn out to be needless: undo_* */
    CONN_UNDO_TS = 1 << 22,   /* undo_ts is set: something was sent again */
    CONN_EIFEL = 1 << 23,     /* the next acceptable ACK tells whether it had to be */
    CONN_SACK = 1 << 24,      /* RFC 2018 in use */
    CONN_SACKED = 1 << 25,    /* some sent buffer is marked so */
    CONN_DSACK = 1 << 26,     /* rcv_twice is to be told */
    CONN_TLP_TIMER = 1 << 27, /* rexmit_at is the tail loss probe's */
    CONN_REO_TIMER = 1 << 28, /* rexmit_at is RACK's: look again for loss */
    CONN_TLP_DUE = 1 << 29,   /* a probe is to be sent */
    CONN_TLP_OUT = 1 << 30,   /* one is out: tlp_end */
};
#define CONN_PACED (1u << 31) /* new data waits for its time: pace_at */

enum { /* tcp_conn.ecn, RFC 3168 */
    ECN_ON = 1,        /* asked for in our SYN, then agreed upon */
    ECN_REDUCED = 2,   /* the window was, because the peer saw a mark; what was out then is not acknowledged yet: recover */
    ECN_ECE = TCP_ECE, /* a mark came, and the peer has not answered yet */
    ECN_CWR = TCP_CWR, /* the window was reduced for whatever reason, and the peer is not told yet */
};

/* Of congestion control: one or the other, as ssthresh has never been set or has. */
struct tcp_hystart { /* RFC 9406 */
    uint32_t window_end;             /* of this round */
    uint32_t last_us, now_us;        /* the least round trip of the last round and of this one */
    uint32_t base_us;                /* in the gentler half: the one that led there */
    uint32_t round_us;               /* when this round began */
    uint16_t train;                  /* the last ACK that came close behind another, in TRAIN_UNITs */
    uint8_t samples, rounds;
};
struct tcp_cubic { /* RFC 9438 */
    uint32_t origin_ms;  /* when the curve passes through w_max; 0: not in congestion avoidance yet */
    uint32_t last_ms;    /* the last ACK of a full window */
    uint32_t w_max;      /* bytes */
    uint32_t undo_w_max; /* before the last event */
    uint32_t w_est, est_bytes;
};

struct tcp_conn {
    /* Band 0: who. Read by every segment. */
    struct base_flow flow;
    struct tcp *tcp;
    uint32_t hash;
    uint32_t flags;
    uint8_t state;
    uint8_t error;
    uint8_t snd_wscale, rcv_wscale;
    uint8_t backoff; /* doublings of the RTO */
    uint8_t dupacks;
    uint8_t cc;
    uint8_t ecn; /* ECN_* */

    /* Band 1: receive. */
    uint32_t rcv_nxt;
    uint32_t rcv_adv;   /* right edge promised */
    uint32_t last_ack;  /* RFC 7323 Last.ACK.sent */
    uint32_t ts_recent;
    uint32_t ts_recent_s; /* seconds of our clock when it was taken; without timestamps, when the peer was last heard */
    uint32_t ts_offset;
    uint32_t unread;  /* bytes in rx */
    uint32_t rcv_mss; /* the largest segment that the peer has sent */
    struct packet *rx_head, *rx_tail;
    struct packet *rx_fresh; /* first one that arrived this turn */
    struct packet *ooo_head;

    /* Band 2: send. */
    uint32_t snd_una, snd_nxt, snd_end, snd_wnd;
    uint32_t snd_wl1, snd_wl2;
    uint32_t cwnd, ssthresh;
    uint32_t gone_bytes; /* lost or sacked: sent, not acknowledged, and not in flight */
    uint32_t mss; /* payload bytes of a full segment */
    struct packet *snd_head, *snd_tail;
    struct packet *snd_cur; /* first one not sent to its end */

    /* Band 3: lists and the one timer, armed lazily: it fires no later than the first of the deadlines below, maybe for nothing. */
    struct base_list pending_link;
    struct base_list event_link;
    struct base_timer timer;
    uint32_t events;
    uint32_t snd_bufs;

    /* Band 4: deadlines (0: none) and round-trip time. */
    uint64_t rexmit_at; /* retransmission or window probe */
    uint64_t delack_at;
    uint64_t life_at; /* connect timeout, orphaned FIN-WAIT-2 */
    uint64_t srtt_ns, rttvar_ns, rto_ns;
    uint64_t progress_ns; /* the peer last acknowledged something, or there was nothing to acknowledge */
    uint64_t last_sent_ns;

    /* Band 5: seldom. */
    struct packet *snd_rtx; /* no lost buffer before it; NULL: search from the head */
    uint32_t recover;       /* RFC 6582 */
    uint32_t rtt_seq;       /* the next RTT sample is of a buffer that ends beyond it */
    uint32_t cc_bytes;      /* acknowledged towards the next cwnd increment */
    uint32_t max_wnd;       /* the largest window the peer ever offered */
    uint32_t rcv_fin;
    uint32_t ooo_bytes, ooo_count;
    uint32_t iss;
    uint32_t sacked_bytes, sacked_count; /* of gone_bytes; the buffers with the mark */
    uint32_t rcv_limit;     /* bytes of window that may be promised: config.rcvbuf_least to config.rcvbuf */
    uint32_t rcv_mark;      /* the user had read so far when it was last looked whether that is enough */

    /* Band 6: cold. */
    void *user;
    uint64_t tag;
    struct base_list all_link;
    uint64_t bytes_in, bytes_out, retransmits;

    /* Band 7: recovery, and taking it back (RFC 3522, 4015). */
    uint64_t undo_sent_ns; /* when what was first sent again had been sent before */
    uint32_t undo_cwnd, undo_ssthresh; /* before this recovery */
    uint32_t undo_ts;      /* timestamp of the first retransmission */
    uint32_t undo_end;     /* and where it ended */
    uint32_t undo_una;     /* snd_una when it began */
    uint32_t undo_again;   /* segments sent again that the peer did not report to have had already */
    uint32_t prr_delivered, prr_out, prr_flight; /* RFC 6937, of this recovery */
    uint32_t irs;
    uint64_t rack_sent_ns, rack_rtt_ns; /* RFC 8985: of the last sent among those that arrived */
    uint64_t rtt_min_ns;
    uint32_t rack_end, rack_high; /* the end of that one; of the highest that arrived */
    uint32_t rack_round;          /* one D-SACK until this is acknowledged counts */
    uint32_t tlp_end;             /* snd_nxt after the probe */
    uint8_t rack_mult, rack_persist;
    bool rack_reordering; /* was seen */
    bool tlp_again;       /* the probe was old data */
    union {
        struct tcp_hystart hystart; /* ssthresh == UINT32_MAX */
        struct tcp_cubic cubic;
    };

    /* Band 8: RFC 2018. */
    uint32_t rcv_mark_ms;
    struct packet *snd_sacked; /* the last buffer with the mark */
    struct tcp_range heard[TCP_SACK_BLOCKS]; /* what the peer told last */
    struct tcp_range rcv_sack[TCP_SACK_BLOCKS]; /* what we tell, the newest first */
    struct tcp_range rcv_twice;
    uint8_t rcv_sacks;
    uint8_t keeps; /* keepalive probes that nobody has answered */
    uint8_t syns;  /* SYNs sent */
    uint32_t pace_at; /* not before that, in PACE_UNITs; counts while there is a bulk to send */
};
static_assert(offsetof(struct tcp_conn, rcv_nxt) == 64, "band 1");
static_assert(offsetof(struct tcp_conn, snd_una) == 128, "band 2");
static_assert(offsetof(struct tcp_conn, pending_link) == 192, "band 3");
static_assert(offsetof(struct tcp_conn, rexmit_at) == 256, "band 4");
static_assert(offsetof(struct tcp_conn, snd_rtx) == 320, "band 5");
static_assert(offsetof(struct tcp_conn, user) <= 384, "band 6");
static_assert(sizeof(struct tcp_conn) <= 640, "ten lines");

struct tcp_flow_slot {
    uint32_t hash;
    uint32_t index; /* connection + 1; 0: free */
};

struct tcp_listener {
    struct base_addr addr;
    uint64_t tag;
    uint16_t port;
    bool used;
};

/* An answer that no connection stands behind. */
struct tcp_reply {
    struct base_flow flow;
    uint32_t seq, ack, tsecr;
    uint16_t wnd;
    uint8_t flags;
    bool ts;
    /* Of a SYN-ACK: */
    bool sack_ok;
    uint8_t wscale;
    uint8_t cookie; /* 0x40 and what the low bits of the timestamp say */
    uint16_t mss;   /* 0: not a SYN-ACK */
};
#define TCP_REPLIES 512
#define MSS_MIN 64 /* a peer that asks for less costs us more headers than payload */

/* A closed connection that may still be asked about: 32 bytes, named by a keyed hash of 63 bits of its flow. */
struct tcp_tw {
    uint64_t ts : 1, key : 63;
    uint32_t rcv_nxt, snd_nxt;
    uint32_t ts_recent;
    uint32_t expire_ms;
    uint32_t chain; /* next in the bucket, + 1 */
    uint32_t fifo;  /* next to expire, + 1 */
};
static_assert(sizeof(struct tcp_tw) == 32, "TIME_WAIT entry");

struct tcp_timewait {
    struct base_slab slab;
    uint32_t *buckets; /* entry + 1 */
    uint32_t mask;
    uint32_t first, last; /* fifo, + 1 */
};

struct tcp {
    struct tcp_config config;
    struct stats *stats;
    struct packet_pool *pool;
    uint32_t snd_held, snd_holders; /* buffers in send queues; connections that have some: hoard.c */
    uint32_t snd_mark, snd_high, snd_share, snd_high_share;
    struct base_slab conns;
    struct tcp_flow_slot *table;
    uint32_t table_mask;
    uint32_t half_open;
    uint32_t room; /* payload bytes that a buffer of the pool takes */
    uint32_t listener_count;
    struct tcp_listener *listeners;
    uint8_t rcv_wscale;
    uint8_t pressed; /* by buffers in use: enum tcp_pressure */
    uint64_t rcv_promised; /* sum of rcv_limit */
    bool pulling; /* between the first tcp_next_event() of a turn and its last */
    struct base_list pending, events, events_later, all;
    struct tcp_timewait tw;
    struct tcp_reply *replies; /* ring */
    uint32_t reply_head, reply_tail;
    uint64_t challenge_ns; /* start of the second that challenge_left is for */
    uint32_t challenge_left;
    uint64_t cookie_ns; /* when the last SYN cookie was given out; 0: never */
    uint64_t random;
    uint32_t look_at, look_tick;   /* the place in the flow table that look_again() comes to next, UINT32_MAX: it has seen all; when it looked last */
    uint32_t hoard_at, hoard_tick; /* the place in the flow table to look at next; when it was looked last */
    struct base_wheel wheel;
};

/* High-water marks of the pool of buffers, looked at once a turn. */
enum tcp_pressure { TCP_PRESSED_NOT, TCP_PRESSED_WINDOWS, TCP_PRESSED_OPENS };

static inline bool tcp_has(const struct tcp_conn *c, uint32_t flag)
{
    return (c->flags & flag) != 0;
}

static inline uint32_t tcp_window(const struct tcp_conn *c)
{
    return c->rcv_adv - c->rcv_nxt;
}

static inline uint32_t tcp_in_flight(const struct tcp_conn *c)
{
    return c->snd_nxt - c->snd_una - c->gone_bytes;
}

static inline uint32_t tcp_lost_bytes(const struct tcp_conn *c)
{
    return c->gone_bytes == 0 ? 0 : c->gone_bytes - c->sacked_bytes;
}

static inline uint32_t tcp_unsent(const struct tcp_conn *c)
{
    return base_seq_lt(c->snd_nxt, c->snd_end) ? c->snd_end - c->snd_nxt : 0;
}

/* RFC 7323 section 5.4: the timestamp clock ticks once in 2^20 ns, and starts anywhere. */
static inline uint32_t tcp_ts_now(const struct tcp_conn *c, uint64_t now)
{
    return (uint32_t)(now >> 20) + c->ts_offset;
}

static inline void tcp_pend(struct tcp_conn *c)
{
    if (base_list_empty(&c->pending_link))
        base_list_push_back(&c->tcp->pending, &c->pending_link);
}

static inline void tcp_ack_now(struct tcp_conn *c)
{
    c->flags |= CONN_ACK_NOW;
    tcp_pend(c);
}

static inline void tcp_turn_begin(struct tcp *t)
{
    if (!t->pulling)
        return;
    t->pulling = false;
    base_list_splice_back(&t->events, &t->events_later);
}

/* table.c */
struct tcp_conn *tcp_table_find(const struct tcp *t, const struct base_flow *flow, uint32_t hash);
void tcp_table_add(struct tcp_conn *c);
void tcp_table_remove(struct tcp_conn *c);
const struct tcp_listener *tcp_listener_find(const struct tcp *t, const struct base_addr *addr, uint16_t port);
uint32_t tcp_isn(const struct tcp *t, const struct base_flow *flow, uint64_t now);
uint32_t tcp_ts_offset(const struct tcp *t, const struct base_flow *flow);
uint64_t tcp_random(struct tcp *t);
/* False: every port of ours towards that peer is taken. */
bool tcp_port_choose(struct tcp *t, struct base_flow *flow);

/* timewait.c */
size_t tcp_timewait_footprint(uint32_t entries);
void tcp_timewait_init(struct tcp *t, struct base_arena *arena);
void tcp_timewait_add(struct tcp *t, const struct tcp_conn *c, uint64_t now);
struct tcp_tw *tcp_timewait_find(struct tcp *t, const struct base_flow *flow);
void tcp_timewait_remove(struct tcp *t, struct tcp_tw *w);
void tcp_timewait_restart(struct tcp *t, struct tcp_tw *w, uint64_t now);
void tcp_timewait_tick(struct tcp *t, uint64_t now);
void tcp_timewait_check(const struct tcp *t);

/* state.c */
struct tcp_conn *tcp_conn_open(struct tcp *t, const struct base_flow *flow, uint32_t hash, uint64_t now);
void tcp_conn_free(struct tcp_conn *c);
void tcp_state_set(struct tcp_conn *c, enum tcp_state state);
/* The connection is over on the wire.  Frees it where no user holds it: the pointer may be dead afterwards. */
void tcp_conn_finish(struct tcp_conn *c, enum tcp_error error);
void tcp_conn_time_wait(struct tcp_conn *c, uint64_t now);
void tcp_conn_reset(struct tcp_conn *c); /* queues the RST that our side owes the peer */
void tcp_event_post(struct tcp_conn *c, uint32_t events);
void tcp_reply(struct tcp *t, const struct tcp_reply *r);
void tcp_reply_rst(struct tcp *t, const struct base_flow *flow, const struct tcp_segment *s);
bool tcp_challenge_allowed(struct tcp *t, uint64_t now);
void tcp_mss_set(struct tcp_conn *c, uint32_t peer_mss);
uint16_t tcp_mss_ours(const struct tcp *t, const struct base_flow *flow);

/* cookie.c */
void tcp_cookie_reply(struct tcp *t, const struct base_flow *flow, const struct tcp_segment *s, uint64_t now);
uint32_t tcp_cookie_ts(uint32_t now_ts, uint8_t bits);
bool tcp_cookies_out(const struct tcp *t, uint64_t now);
bool tcp_cookie_open(const struct tcp *t, const struct base_flow *flow, const struct tcp_segment *s, struct tcp_segment *syn, uint64_t now);

/* pmtu.c */
void tcp_pmtu_timeout(struct tcp_conn *c);

/* rx.c */
enum tcp_rx { TCP_RX_DROPPED, TCP_RX_TAKEN };
enum tcp_rx tcp_rx_segment(struct tcp_conn *c, const struct tcp_segment *s, struct packet *p);
void tcp_rx_in_order(struct tcp_conn *c, struct packet *p, uint32_t len);
void tcp_rx_keep(struct tcp_conn *c);
void tcp_rx_free(struct tcp_conn *c);
uint16_t tcp_rx_window(struct tcp_conn *c); /* for the header: moves the right edge */
bool tcp_rx_update_due(const struct tcp_conn *c);
void tcp_rx_open(struct tcp_conn *c);
void tcp_rx_tune(struct tcp_conn *c, uint64_t now);

/* ack.c */
void tcp_ack_new(struct tcp_conn *c, uint32_t ack, const struct tcp_segment *s, uint64_t now);
void tcp_ack_duplicate(struct tcp_conn *c, const struct tcp_segment *s);
/* True: it was not held for lost before. */
bool tcp_loss_mark(struct tcp_conn *c, struct packet *p);
/* RACK's timer. */
void tcp_loss_look(struct tcp_conn *c, uint64_t now);
void tcp_ack_sacked(struct tcp_conn *c, const struct tcp_segment *s, uint64_t now);
void tcp_ack_window(struct tcp_conn *c, const struct tcp_segment *s, uint64_t now);
void tcp_rtt_sample(struct tcp_conn *c, uint64_t rtt_ns);
void tcp_rtt_raise(struct tcp_conn *c, uint64_t rtt_ns);
void tcp_loss_timeout(struct tcp_conn *c, uint64_t now);
void tcp_loss_mark_all(struct tcp_conn *c);

/* ecn.c */
void tcp_ecn_syn_take(struct tcp_conn *c, const struct tcp_segment *s);
void tcp_ecn_marked(struct tcp_conn *c, const struct tcp_segment *s);
void tcp_ecn_echoed(struct tcp_conn *c, const struct tcp_segment *s);
/* The window of congestion was reduced. */
static inline void tcp_ecn_reduced(struct tcp_conn *c)
{
    if (c->ecn & ECN_ON)
        c->ecn |= ECN_CWR;
}

/* pace.c */
#define PACE_QUEUE 65536 /* bytes unsent that are a bulk: no RPC of ordinary size ever waits */
bool tcp_pace_waits(struct tcp_conn *c, uint64_t now);
void tcp_pace_sent(struct tcp_conn *c, uint32_t n, uint64_t now);

/* rack.c */
void tcp_rack_arrived(struct tcp_conn *c, const struct tcp_buf *b, const struct tcp_segment *s, uint64_t now);
void tcp_rack_twice(struct tcp_conn *c);
void tcp_rack_recovered(struct tcp_conn *c);
bool tcp_rack_detect(struct tcp_conn *c, uint64_t now);
void tcp_rack_timeout(struct tcp_conn *c, uint64_t now);
uint64_t tcp_tlp_timeout(const struct tcp_conn *c);
void tcp_tlp_acked(struct tcp_conn *c, const struct tcp_segment *s, bool twice, bool plain);

/* sack.c */
bool tcp_sack_is_twice(const struct tcp_segment *s);
void tcp_sack_arrived(struct tcp_conn *c, uint32_t seq, uint32_t len);
void tcp_sack_trim(struct tcp_conn *c, uint32_t end);
void tcp_sack_twice(struct tcp_conn *c, uint32_t seq, uint32_t end);
uint32_t tcp_sack_tell(struct tcp_conn *c, struct tcp_range *out);
uint32_t tcp_sack_take(struct tcp_conn *c, const struct tcp_segment *s, uint32_t una, uint64_t now);
void tcp_sack_forget(struct tcp_conn *c);

/* undo.c */
void tcp_undo_twice(struct tcp_conn *c, const struct tcp_range *r, uint32_t una, uint64_t now);
void tcp_undo_begin(struct tcp_conn *c); /* recovery starts */
void tcp_undo_retransmit(struct tcp_conn *c, uint32_t end, uint64_t was_sent_ns, uint64_t now);
bool tcp_undo_eifel(struct tcp_conn *c, uint32_t acked, const struct tcp_segment *s, uint64_t now);
void tcp_undo(struct tcp_conn *c, uint32_t acked, uint64_t rtt_ns);

/* hoard.c */
void tcp_hoard_init(struct tcp *t);
void tcp_hoard_tick(struct tcp *t, uint64_t now);

/* tx.c */
void tcp_tx_free(struct tcp_conn *c);
bool tcp_tx_acked(struct tcp_conn *c, uint32_t ack, uint64_t *sent_ns, const struct tcp_segment *s, uint64_t now);
uint32_t tcp_tx_outstanding(const struct tcp_conn *c, const struct tcp_buf *b);
void tcp_tx_want(struct tcp_conn *c);

/* output.c */
/* The next segment that the connection has to send; NULL: none, or, with *stuck, no buffer for it. */
struct packet *tcp_segment_next(struct tcp_conn *c, uint64_t now, bool *stuck);

/* timer.c */
void tcp_timer_arm(struct tcp_conn *c);
void tcp_timer_rexmit(struct tcp_conn *c, uint64_t now); /* restarts it for what is outstanding now */
void tcp_timer_fired(struct tcp_conn *c, uint64_t now);

#endif
