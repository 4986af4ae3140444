#include "tcp_net.h"

#include <stdio.h>
#include <stdlib.h>

struct tcp_net_frame {
    struct tcp_net_frame *next;
    uint64_t at, order;
    int to;
    struct base_flow flow; /* as the receiver sees it */
    uint32_t len;
    uint16_t sum;
    uint8_t bytes[];
};

struct tcp_net_held {
    struct tcp_net_held *next;
    uint64_t until;
    struct packet *packet;
    uint16_t sum;
};

uint32_t tcp_net_random(struct tcp_net *n, uint32_t below)
{
    n->random += 0x9e3779b97f4a7c15ull;
    return below == 0 ? 0 : (uint32_t)(base_mix64(n->random) % below);
}

bool tcp_net_chance(struct tcp_net *n, uint32_t ppm)
{
    return ppm != 0 && tcp_net_random(n, 1000000) < ppm;
}

void tcp_net_config(struct tcp_config *c, uint64_t seed)
{
    memset(c, 0, sizeof(*c));
    tcp_config_defaults(c);
    c->connections = 64;
    c->timewait = 64;
    c->listeners = 4;
    c->syn_backlog = 32;
    c->mtu = 1500;
    c->isn_key.k[0] = base_mix64(seed + 1);
    c->isn_key.k[1] = base_mix64(seed + 2);
}

void tcp_net_host_init(struct tcp_net_host *h, const struct tcp_config *c, uint64_t now)
{
    struct base_arena a;
    size_t n = base_align(tcp_footprint(c) + stats_footprint(1, 1));
    h->memory = aligned_alloc(64, n);
    h->memory_size = n;
    memset(h->memory, 0, n);
    base_arena_init(&a, h->memory, n);
    h->stats = stats_create(&a, 1, 1);
    h->pool = packet_pool_create("tcp", 8192, PACKET_ROOM, 0);
    h->rx_pool = packet_pool_create("rx", 512, 2 * PACKET_ROOM, 0); /* whatever MTU a seed draws */
    h->tcp = tcp_create(&a, c, h->stats, h->pool, now);
}

void tcp_net_init(struct tcp_net *n, const struct tcp_config *a, const struct tcp_config *b, uint64_t seed, bool v6)
{
    memset(n, 0, sizeof(*n));
    n->random = base_mix64(seed);
    n->now = 1000000000000ull + base_mix64(seed) % 1000000000000000ull;
    tcp_net_host_init(&n->host[0], a, n->now);
    tcp_net_host_init(&n->host[1], b, n->now);
    const char *const text[2][2] = {{"198.18.0.1", "198.18.0.2"}, {"2001:db8::1", "2001:db8::2"}};
    for (int i = 0; i < 2; i++)
        base_addr_parse(text[v6][i], &n->host[i].addr);
}

void tcp_net_host_fini(struct tcp_net_host *h)
{
    if (packet_pool_in_use(h->pool) != 0 || packet_pool_in_use(h->rx_pool) != 0)
        abort();
    packet_pool_destroy(h->pool);
    packet_pool_destroy(h->rx_pool);
    base_unpoison(h->memory, h->memory_size);
    free(h->memory);
}

static uint16_t ones_sum(const uint8_t *p, uint32_t n)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
    while (sum > 0xffff)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static void held_free(struct tcp_net *n, uint64_t until)
{
    struct tcp_net_held **at = &n->held;
    while (*at != NULL) {
        struct tcp_net_held *h = *at;
        if (h->until > until) {
            at = &h->next;
            continue;
        }
        if (ones_sum(packet_data(h->packet), packet_len(h->packet)) != h->sum) {
            fprintf(stderr, "what a device still sends was written to\n");
            abort();
        }
        packet_free(h->packet);
        *at = h->next;
        free(h);
    }
}

void tcp_net_fini(struct tcp_net *n)
{
    held_free(n, UINT64_MAX);
    while (n->frames != NULL) {
        struct tcp_net_frame *f = n->frames;
        n->frames = f->next;
        free(f);
    }
    tcp_net_host_fini(&n->host[0]);
    tcp_net_host_fini(&n->host[1]);
}

struct base_flow tcp_net_flow(const struct tcp_net *n, int from, uint16_t remote_port)
{
    return (struct base_flow){.local = n->host[from].addr, .remote = n->host[!from].addr, .remote_port = remote_port};
}

static void frame_put(struct tcp_net *n, int from, const struct base_flow *flow, const uint8_t *bytes, uint32_t len, uint64_t at)
{
    struct tcp_net_frame *f = malloc(sizeof(*f) + len), **where = &n->frames;
    if (f == NULL)
        abort();
    *f = (struct tcp_net_frame){.at = at, .order = n->order++, .to = !from, .len = len};
    f->flow = (struct base_flow){.local = flow->remote,
                                 .remote = flow->local,
                                 .local_port = flow->remote_port,
                                 .remote_port = flow->local_port,
                                 .port = flow->port,
                                 .ecn = flow->ecn};
    memcpy(f->bytes, bytes, len);
    f->sum = ones_sum(bytes, len);
    if (tcp_net_chance(n, n->link[from].corrupt_ppm)) {
        f->bytes[tcp_net_random(n, len)] ^= (uint8_t)(1u << tcp_net_random(n, 8)); /* one bit: two may cancel out in the sum */
        n->link[from].corrupted++;
    }
    while (*where != NULL && ((*where)->at < at || ((*where)->at == at && (*where)->order < f->order)))
        where = &(*where)->next;
    f->next = *where;
    *where = f;
}

static bool link_loses(struct tcp_net *n, struct tcp_net_link *l)
{
    if (l->down)
        return true;
    if (n->now < l->burst_until)
        return true;
    if (tcp_net_chance(n, l->burst_ppm)) {
        l->burst_until = n->now + tcp_net_random(n, (uint32_t)l->burst_ns);
        return true;
    }
    return tcp_net_chance(n, l->loss_ppm);
}

/* RFC 3168 section 5.  False: it is lost. */
static bool link_marks(struct tcp_net *n, struct tcp_net_link *l, struct base_flow *flow)
{
    if (!tcp_net_chance(n, l->mark_ppm))
        return true;
    bool may = flow->ecn != BASE_ECN_NONE;
    flow->ecn = BASE_ECN_CE;
    return may;
}

static void link_send(struct tcp_net *n, int from, const struct base_flow *sent, const uint8_t *bytes, uint32_t len)
{
    struct tcp_net_link *l = &n->link[from];
    struct base_flow marked = *sent;
    const struct base_flow *flow = &marked;
    uint32_t ip = base_addr_is_v4(&flow->remote) ? 20 : 40, seq;
    uint64_t at = n->now;
    l->sent++;
    if (l->mtu != 0 && len + ip > l->mtu) {
        memcpy(&seq, bytes + 4, 4);
        if (!l->black_hole)
            tcp_icmp_error(n->host[from].tcp, flow, __builtin_bswap32(seq), false, l->mtu, n->now);
        l->lost++;
        return;
    }
    if (link_loses(n, l) || !link_marks(n, l, &marked)) {
        l->lost++;
        return;
    }
    if (l->rate_bps != 0) {
        uint64_t start = l->free_at > n->now ? l->free_at : n->now;
        if ((start - n->now) / 1000 * l->rate_bps / 8000000 > l->queue_bytes) {
            l->lost++;
            return;
        }
        l->free_at = start + (uint64_t)(len + ip) * 8000000000ull / l->rate_bps;
        at = l->free_at;
    }
    at += l->delay_ns + tcp_net_random(n, (uint32_t)l->jitter_ns);
    if (tcp_net_chance(n, l->reorder_ppm))
        at += l->reorder_ns != 0 ? tcp_net_random(n, (uint32_t)l->reorder_ns) : l->delay_ns / 2 + tcp_net_random(n, 5000000);
    frame_put(n, from, flow, bytes, len, at);
    if (tcp_net_chance(n, l->dup_ppm))
        frame_put(n, from, flow, bytes, len, at + tcp_net_random(n, 3000000));
}

static void hold(struct tcp_net *n, struct packet *p)
{
    struct tcp_net_held *h = malloc(sizeof(*h));
    if (h == NULL)
        abort();
    memset(packet_prepend(p, 54), 0xee, 54); /* ip's headers */
    *h = (struct tcp_net_held){n->held, n->now + (n->hold_ns != 0 ? tcp_net_random(n, (uint32_t)n->hold_ns) : 0), p, ones_sum(packet_data(p), packet_len(p))};
    n->held = h;
}

void tcp_net_flush(struct tcp_net *n, int h)
{
    struct tcp_out out[7];
    uint32_t k;
    while ((k = tcp_output(n->host[h].tcp, out, 7, n->now)) > 0)
        for (uint32_t i = 0; i < k; i++) {
            const uint8_t *bytes = packet_data(out[i].packet);
            uint32_t len = packet_len(out[i].packet);
            if (n->filter == NULL || n->filter(n->ctx, h, bytes, len))
                link_send(n, h, &out[i].flow, bytes, len);
            hold(n, out[i].packet);
        }
    held_free(n, n->now);
    if (!n->quiet_checks)
        tcp_net_check(n);
}

void tcp_net_check(struct tcp_net *n)
{
    tcp_check(n->host[0].tcp);
    tcp_check(n->host[1].tcp);
}

static void deliver(struct tcp_net *n)
{
    while (n->frames != NULL && n->frames->at <= n->now) {
        struct tcp_net_frame *f = n->frames;
        n->frames = f->next;
        struct tcp_net_host *h = &n->host[f->to];
        struct packet *p = ones_sum(f->bytes, f->len) == f->sum ? packet_alloc(h->rx_pool) : NULL;
        if (p != NULL) {
            memcpy(packet_append(p, f->len), f->bytes, f->len);
            tcp_input(h->tcp, &f->flow, p, n->now);
        }
        free(f);
    }
}

void tcp_net_step(struct tcp_net *n, uint64_t ns)
{
    n->now += ns;
    deliver(n);
    for (int i = 0; i < 2; i++)
        tcp_tick(n->host[i].tcp, n->now);
    if (!n->quiet_checks)
        tcp_net_check(n);
}

uint64_t tcp_net_next(const struct tcp_net *n, uint64_t most)
{
    uint64_t d = most;
    if (n->frames != NULL)
        d = n->frames->at > n->now ? n->frames->at - n->now : 0;
    return d < most ? d : most;
}

bool tcp_net_idle(const struct tcp_net *n, int h)
{
    return tcp_idle(n->host[h].tcp);
}
