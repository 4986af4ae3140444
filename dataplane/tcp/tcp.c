/* The door: making a tcp, what a user does to a connection, and what it may ask. */
#include "conn.h"

void tcp_config_defaults(struct tcp_config *c)
{
    const uint64_t ms = 1000000, s = 1000 * ms;
    c->rcvbuf = 256 << 10;
    c->rcvbuf_least = 64 << 10;
    c->sndbuf = 256 << 10;
    c->sndbuf_least = 256 << 10;
    c->reassembly = 256;
    c->sack_work = 512;
    c->sack = true;
    c->cc = TCP_CC_CUBIC;
    c->ecn = TCP_ECN_PASSIVE; /* as Linux: taken where a peer asks, not asked for */
    c->rto_ns_min = 200 * ms; /* above every stack's delayed ACK */
    c->rto_ns_max = 60 * s;
    c->delack_ns = 25 * ms;
    c->peer_delack_ns = 50 * ms; /* Linux: 40, to the next tick of its clock */
    c->user_timeout_ns = 30 * s;
    c->connect_ns = 20 * s;
    c->timewait_ns = 60 * s;
    c->fin_wait_ns = 60 * s;
    c->port_low = 32768;
    c->port_high = 65535;
    c->port_mask = 0;
    c->port_owner = 0;
}

static uint32_t table_size(const struct tcp_config *c)
{
    uint32_t n = 64;
    while (n < 2 * c->connections)
        n *= 2;
    return n;
}

size_t tcp_footprint(const struct tcp_config *c)
{
    return base_align(sizeof(struct tcp)) + base_slab_footprint(sizeof(struct tcp_conn), c->connections) +
           base_align(sizeof(struct tcp_flow_slot) * table_size(c)) + base_align(sizeof(struct tcp_listener) * c->listeners) +
           base_align(sizeof(struct tcp_reply) * TCP_REPLIES) + tcp_timewait_footprint(c->timewait);
}

static uint32_t pool_room(struct packet_pool *pool)
{
    struct packet *p = packet_alloc(pool);
    assert(p != NULL);
    uint32_t room = packet_tailroom(p);
    packet_free(p);
    return room;
}

struct tcp *tcp_create(struct base_arena *arena, const struct tcp_config *config, struct stats *stats, struct packet_pool *pool, uint64_t now)
{
    struct tcp *t = base_arena_take(arena, sizeof(*t));
    assert((config->port_mask & (config->port_mask + 1)) == 0 && config->port_low > 0); /* a mask of low bits */
    t->config = *config;
    if (t->config.sndbuf_least > config->sndbuf)
        t->config.sndbuf_least = config->sndbuf;
    t->stats = stats;
    t->pool = pool;
    t->room = pool_room(pool);
    if (t->config.rcv_memory == 0)
        t->config.rcv_memory = (uint64_t)packet_pool_size(pool) * t->room / 2;
    base_slab_init(&t->conns, arena, "tcp_conn", sizeof(struct tcp_conn), config->connections);
    t->table = base_arena_take(arena, sizeof(struct tcp_flow_slot) * table_size(config));
    t->table_mask = table_size(config) - 1;
    t->listeners = base_arena_take(arena, sizeof(struct tcp_listener) * config->listeners);
    t->replies = base_arena_take(arena, sizeof(struct tcp_reply) * TCP_REPLIES);
    tcp_timewait_init(t, arena);
    tcp_hoard_init(t);
    t->look_at = UINT32_MAX;
    base_list_init(&t->pending);
    base_list_init(&t->events);
    base_list_init(&t->events_later);
    base_list_init(&t->all);
    base_wheel_init(&t->wheel, now);
    while (t->rcv_wscale < TCP_WSCALE_MAX && (uint32_t)0xffff << t->rcv_wscale < config->rcvbuf)
        t->rcv_wscale++;
    t->random = now;
    t->challenge_ns = now - 1000000000;
    stats_object_add(stats, "tcp_conn", &t->conns.in_use, t->conns.capacity);
    stats_object_add(stats, "tcp_timewait", &t->tw.slab.in_use, t->tw.slab.capacity);
    return t;
}

struct tcp_conn *tcp_connect(struct tcp *t, const struct base_flow *flow, uint64_t tag, uint64_t now)
{
    struct base_flow f = *flow;
    if (f.local_port == 0 && !tcp_port_choose(t, &f)) {
        stats_drop(t->stats, STATS_DROP_TCP_NO_PORT);
        return NULL;
    }
    uint32_t hash = base_flow_hash(&t->config.isn_key, &f);
    if (tcp_table_find(t, &f, hash) != NULL)
        return NULL;
    struct tcp_conn *c = tcp_conn_open(t, &f, hash, now);
    if (c == NULL)
        return NULL;
    c->tag = tag;
    c->flags |= CONN_USER | CONN_SYN_DUE;
    tcp_state_set(c, TCP_SYN_SENT);
    tcp_timer_arm(c);
    tcp_pend(c);
    return c;
}

bool tcp_next_event(struct tcp *t, struct tcp_event *ev)
{
    t->pulling = true;
    struct base_list *l = base_list_pop_front(&t->events);
    if (l == NULL)
        return false;
    struct tcp_conn *c = base_container(l, struct tcp_conn, event_link);
    *ev = (struct tcp_event){c, c->events};
    c->events = 0;
    return true;
}

void *tcp_event_ahead(const struct tcp *t, unsigned skip)
{
    const struct base_list *l = t->events.next;
    for (; skip > 0 && l != &t->events; skip--)
        l = l->next;
    return l != &t->events ? base_container(l, struct tcp_conn, event_link)->user : NULL;
}

static void fin_queue(struct tcp_conn *c)
{
    if (tcp_has(c, CONN_FIN_QUEUED))
        return;
    c->flags |= CONN_FIN_QUEUED;
    if (c->state == TCP_ESTABLISHED)
        tcp_state_set(c, TCP_FIN_WAIT_1);
    else if (c->state == TCP_CLOSE_WAIT)
        tcp_state_set(c, TCP_LAST_ACK);
    tcp_pend(c);
}

void tcp_shutdown(struct tcp_conn *c, uint64_t now)
{
    (void)now;
    if (c->state != TCP_CLOSED)
        fin_queue(c);
}

static void orphan(struct tcp_conn *c)
{
    c->flags &= ~(uint32_t)(CONN_USER | CONN_WANT);
    c->events = 0;
    base_list_remove(&c->event_link);
}

void tcp_close(struct tcp_conn *c, uint64_t now)
{
    assert(tcp_has(c, CONN_USER));
    if (c->state <= TCP_SYN_RECEIVED || c->unread > 0 || c->ooo_bytes > 0) {
        tcp_abort(c, now);
        return;
    }
    orphan(c);
    fin_queue(c);
    if (c->state == TCP_FIN_WAIT_2) {
        c->life_at = now + c->tcp->config.fin_wait_ns;
        tcp_timer_arm(c);
    }
}

void tcp_abort(struct tcp_conn *c, uint64_t now)
{
    (void)now;
    assert(tcp_has(c, CONN_USER));
    orphan(c);
    tcp_conn_reset(c);
    tcp_state_set(c, TCP_CLOSED);
    tcp_conn_free(c);
}

void tcp_conn_user_set(struct tcp_conn *c, void *user)
{
    c->user = user;
}

void *tcp_conn_user(const struct tcp_conn *c)
{
    return c->user;
}

uint64_t tcp_conn_tag(const struct tcp_conn *c)
{
    return c->tag;
}

const struct base_flow *tcp_conn_flow(const struct tcp_conn *c)
{
    return &c->flow;
}

enum tcp_state tcp_conn_state(const struct tcp_conn *c)
{
    return (enum tcp_state)c->state;
}

enum tcp_error tcp_conn_error(const struct tcp_conn *c)
{
    return (enum tcp_error)c->error;
}

void tcp_conn_info(const struct tcp_conn *c, struct tcp_info *i)
{
    *i = (struct tcp_info){.state = (enum tcp_state)c->state,
                           .mss = c->mss,
                           .cwnd = c->cwnd,
                           .ssthresh = c->ssthresh,
                           .snd_wnd = c->snd_wnd,
                           .rcv_wnd = tcp_window(c),
                           .in_flight = tcp_in_flight(c),
                           .unsent = tcp_unsent(c),
                           .unread = c->unread,
                           .reassembly = c->ooo_bytes,
                           .srtt_ns = c->srtt_ns,
                           .rttvar_ns = c->rttvar_ns,
                           .rto_ns = c->rto_ns,
                           .bytes_in = c->bytes_in,
                           .bytes_out = c->bytes_out,
                           .retransmits = c->retransmits,
                           .passive = tcp_has(c, CONN_PASSIVE),
                           .held = tcp_has(c, CONN_USER)};
}

struct tcp_conn *tcp_conn_next(struct tcp *t, struct tcp_conn *c)
{
    struct base_list *l = c == NULL ? t->all.next : c->all_link.next;
    return l == &t->all ? NULL : base_container(l, struct tcp_conn, all_link);
}

void tcp_tune(struct tcp *t, const struct tcp_tuning *k)
{
    t->config.rto_ns_min = k->rto_ns_min;
    t->config.user_timeout_ns = k->user_timeout_ns;
    if (t->config.keepalive_ns != k->keepalive_ns)
        t->look_at = 0;
    t->config.keepalive_ns = k->keepalive_ns;
    t->config.cc = k->cc;
    t->config.ecn = k->ecn;
    t->config.pacing = k->pacing;
}

uint32_t tcp_connections(const struct tcp *t)
{
    return t->conns.in_use;
}

bool tcp_idle(const struct tcp *t)
{
    return base_list_empty(&t->pending) && base_list_empty(&t->events) && base_list_empty(&t->events_later) &&
           t->reply_head == t->reply_tail && t->wheel.armed == 0 && t->look_at == UINT32_MAX;
}
