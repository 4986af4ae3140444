/* Neighbours: one table for ARP and ND, with the states of RFC 4861 section 7.3.2 for both.
 *
 *            output            answer                       time             output           5 s            answer
 *   (none) ---------> INCOMPLETE ------> REACHABLE ---------------> STALE ---------> DELAY ---------> PROBE --------->
 * REACHABLE |  no answer       ^   answer, or a change  ^                 |  answer       |  no answer v
 * +------------------------+-----------------+               v UNREACHABLE --- time --> (none) INCOMPLETE
 *
 * ARP knows no solicited flag: a reply addressed to us counts as solicited, and every ARP sender that we know already
 * may change its address (RFC 826: "merge flag"), as an ND override may; a change is confirmed by the probe that
 * follows its use.
 *
 * The table is bounded, and its unknown half cannot push out its known half: whoever makes us solicit a whole /64 meets
 * only entries of his own kind (RFC 6583). */
#include "internal.h"

#define MULTICAST_SOLICITS 3 /* RFC 4861 section 10: MAX_MULTICAST_SOLICIT */
#define UNICAST_SOLICITS   3 /* MAX_UNICAST_SOLICIT */
#define LOOK_FOR_STALE     16

static uint32_t bucket_of(const struct ip *ip, uint16_t port, const struct base_addr *a)
{
    __uint128_t m = (__uint128_t)(a->q[0] ^ ip->config.key.k[0] ^ port) * (a->q[1] ^ ip->config.key.k[1]);
    return (uint32_t)base_mix64((uint64_t)m ^ (uint64_t)(m >> 64)) & ip->bucket_mask;
}

struct neighbour *neighbour_find(const struct ip *ip, uint16_t port, const struct base_addr *addr)
{
    struct base_list *bucket = &ip->buckets[bucket_of(ip, port, addr)];
    base_list_each (it, bucket) {
        struct neighbour *n = base_container(it, struct neighbour, bucket);
        if (n->port == port && base_addr_eq(&n->addr, addr))
            return n;
    }
    return NULL;
}

static bool is_unknown(uint8_t state)
{
    return state == IP_NEIGHBOUR_INCOMPLETE || state == IP_NEIGHBOUR_UNREACHABLE;
}

/* The only place where a state changes.  Paths made from what was known of it end here, unless nothing that they rest
 * on changed. */
static void become(struct ip *ip, struct neighbour *n, enum ip_neighbour_state state)
{
    bool paths = n->state == IP_NEIGHBOUR_REACHABLE || n->state == IP_NEIGHBOUR_DELAY || n->state == IP_NEIGHBOUR_PROBE;
    bool stay = state == IP_NEIGHBOUR_REACHABLE || state == IP_NEIGHBOUR_DELAY || state == IP_NEIGHBOUR_PROBE;
    if (paths && !stay)
        ip->epoch++;
    ip->unknown_count -= is_unknown(n->state);
    ip->unknown_count += is_unknown(state);
    n->state = (uint8_t)state;
    n->probes = 0;
    base_list_remove(&n->age);
    base_list_push_back(is_unknown(state) ? &ip->unknown : &ip->known, &n->age);
}

static void set_mac(struct ip *ip, struct neighbour *n, const uint8_t mac[6])
{
    if (mac_eq(n->mac, mac))
        return;
    memcpy(n->mac, mac, 6);
    ip->epoch++;
}

/* ---- packets that wait ---- */

void neighbour_queue(struct ip *ip, struct neighbour *n, struct packet *frame, const struct base_flow *flow,
                     uint32_t seq)
{
    assert(n->state == IP_NEIGHBOUR_INCOMPLETE);
    struct waiting *w = n->waiting < ip->config.queued_each ? base_slab_alloc(&ip->waitings) : NULL;
    if (w == NULL) {
        drop(ip, frame, STATS_DROP_NEIGHBOUR_QUEUE_FULL);
        return;
    }
    *w = (struct waiting){.packet = frame, .flow = *flow, .seq = seq, .port = n->port, .tcp = true};
    base_list_push_back(&n->queue, &w->link);
    n->waiting++;
}

static void queue_release(struct ip *ip, struct neighbour *n)
{
    base_list_each (it, &n->queue)
        memcpy(packet_data(base_container(it, struct waiting, link)->packet), n->mac, 6);
    base_list_splice_back(&ip->out, &n->queue);
    n->waiting = 0;
}

/* report: their flows are told; else they are lost as on a wire. */
static void queue_drop(struct ip *ip, struct neighbour *n, bool report)
{
    for (struct base_list *l; (l = base_list_pop_front(&n->queue)) != NULL;) {
        struct waiting *w = base_container(l, struct waiting, link);
        drop(ip, w->packet, STATS_DROP_NEIGHBOUR_UNRESOLVED);
        w->packet = NULL;
        if (report)
            base_list_push_back(&ip->failed, &w->link);
        else
            base_slab_free(&ip->waitings, w);
    }
    n->waiting = 0;
}

/* ---- the table ---- */

static void forget(struct ip *ip, struct neighbour *n)
{
    queue_drop(ip, n, false);
    become(ip, n, IP_NEIGHBOUR_NONE);
    base_wheel_cancel(&ip->wheel, &n->timer);
    base_list_remove(&n->bucket);
    base_list_remove(&n->age);
    base_slab_free(&ip->neighbours, n);
}

static struct neighbour *oldest_stale(struct ip *ip)
{
    int looked = 0;
    base_list_each (it, &ip->known) {
        struct neighbour *n = base_container(it, struct neighbour, age);
        if (n->state == IP_NEIGHBOUR_STALE)
            return n;
        if (++looked == LOOK_FOR_STALE)
            break;
    }
    return NULL;
}

/* Whom the table does without: while unknown entries fill more than half of it the oldest of them, else one that is not
 * in use. */
static bool make_room(struct ip *ip)
{
    struct neighbour *victim = NULL;
    if (ip->unknown_count <= ip->neighbours.capacity / 2)
        victim = oldest_stale(ip);
    if (victim == NULL && !base_list_empty(&ip->unknown))
        victim = base_container(ip->unknown.next, struct neighbour, age);
    if (victim != NULL)
        forget(ip, victim);
    return victim != NULL;
}

static struct neighbour *make(struct ip *ip, uint16_t port, const struct base_addr *addr, enum ip_neighbour_state state)
{
    struct neighbour *n = base_slab_alloc(&ip->neighbours);
    if (n == NULL && make_room(ip))
        n = base_slab_alloc(&ip->neighbours);
    if (n == NULL) {
        stats_drop(ip->stats, STATS_DROP_NEIGHBOUR_TABLE_FULL);
        return NULL;
    }
    *n = (struct neighbour){.addr = *addr, .port = port, .state = IP_NEIGHBOUR_NONE};
    base_list_init(&n->queue);
    base_list_init(&n->age);
    base_timer_init(&n->timer);
    base_list_push_front(&ip->buckets[bucket_of(ip, port, addr)], &n->bucket);
    become(ip, n, state);
    return n;
}

void neighbour_flush(struct ip *ip, uint16_t port)
{
    struct base_list *const lists[] = {&ip->known, &ip->unknown};
    for (int i = 0; i < 2; i++)
        base_list_each_safe (it, lists[i]) {
            struct neighbour *n = base_container(it, struct neighbour, age);
            if (n->port == port)
                forget(ip, n);
        }
    ip->epoch++;
}

/* ---- states ---- */

static void solicit(struct ip *ip, struct neighbour *n, uint64_t now)
{
    const uint8_t *to = n->state == IP_NEIGHBOUR_PROBE ? n->mac : NULL;
    n->probes++;
    if (base_addr_is_v4(&n->addr))
        arp_solicit(ip, n->port, &n->addr, to);
    else
        nd_solicit(ip, n->port, &n->addr, to);
    base_wheel_arm(&ip->wheel, &n->timer, now + ip->config.solicit_ns);
}

static void reachable(struct ip *ip, struct neighbour *n, uint64_t now)
{
    become(ip, n, IP_NEIGHBOUR_REACHABLE);
    /* RFC 4861 section 6.3.2: between MIN_RANDOM_FACTOR 0.5 and MAX_RANDOM_FACTOR 1.5. */
    uint64_t base = ip->config.reachable_ns;
    base_wheel_arm(&ip->wheel, &n->timer, now + base / 2 + ip_draw(ip) % (base + 1));
    queue_release(ip, n);
}

static void stale(struct ip *ip, struct neighbour *n)
{
    become(ip, n, IP_NEIGHBOUR_STALE);
    base_wheel_cancel(&ip->wheel, &n->timer);
}

static void unreachable(struct ip *ip, struct neighbour *n, uint64_t now)
{
    become(ip, n, IP_NEIGHBOUR_UNREACHABLE);
    queue_drop(ip, n, true);
    base_wheel_arm(&ip->wheel, &n->timer, now + ip->config.unreachable_ns);
}

struct neighbour *neighbour_get(struct ip *ip, uint16_t port, const struct base_addr *addr, uint64_t now)
{
    struct neighbour *n = neighbour_find(ip, port, addr);
    if (n != NULL)
        return n;
    n = make(ip, port, addr, IP_NEIGHBOUR_INCOMPLETE);
    if (n != NULL)
        solicit(ip, n, now);
    return n;
}

void neighbour_used(struct ip *ip, struct neighbour *n, uint64_t now)
{
    if (n->state == IP_NEIGHBOUR_STALE) {
        become(ip, n, IP_NEIGHBOUR_DELAY);
        base_wheel_arm(&ip->wheel, &n->timer, now + ip->config.delay_ns);
        return;
    }
    base_list_remove(&n->age);
    base_list_push_back(&ip->known, &n->age);
}

void neighbour_timer(struct ip *ip, struct neighbour *n, uint64_t now)
{
    switch ((enum ip_neighbour_state)n->state) {
    case IP_NEIGHBOUR_INCOMPLETE:
        if (n->probes < MULTICAST_SOLICITS)
            solicit(ip, n, now);
        else
            unreachable(ip, n, now);
        break;
    case IP_NEIGHBOUR_REACHABLE:
        stale(ip, n);
        break;
    case IP_NEIGHBOUR_DELAY:
        become(ip, n, IP_NEIGHBOUR_PROBE);
        solicit(ip, n, now);
        break;
    case IP_NEIGHBOUR_PROBE:
        /* RFC 7048 section 3: before it is given up, everybody is asked: its address may have moved to another MAC
         * address. */
        if (n->probes >= UNICAST_SOLICITS)
            become(ip, n, IP_NEIGHBOUR_INCOMPLETE);
        solicit(ip, n, now);
        break;
    case IP_NEIGHBOUR_UNREACHABLE:
        forget(ip, n); /* the next packet asks anew */
        break;
    case IP_NEIGHBOUR_NONE:
    case IP_NEIGHBOUR_STALE:
        assert(!"no timer in this state");
    }
}

void neighbour_heard(struct ip *ip, uint16_t port, const struct base_addr *addr, const uint8_t mac[6], bool create,
                     uint64_t now)
{
    (void)now;
    struct neighbour *n = neighbour_find(ip, port, addr);
    if (n == NULL) {
        if (create && (n = make(ip, port, addr, IP_NEIGHBOUR_STALE)) != NULL)
            memcpy(n->mac, mac, 6);
        return;
    }
    bool unknown = is_unknown(n->state);
    if (!unknown && mac_eq(n->mac, mac))
        return; /* nothing new, and no proof that it hears us */
    set_mac(ip, n, mac);
    stale(ip, n);
    if (unknown && n->waiting > 0) {
        queue_release(ip, n);
        neighbour_used(ip, n, now); /* they go out unconfirmed */
    }
}

void neighbour_advertised(struct ip *ip, uint16_t port, const struct base_addr *addr, const uint8_t *mac,
                          bool solicited, bool override, uint64_t now)
{
    struct neighbour *n = neighbour_find(ip, port, addr);
    if (n == NULL)
        return; /* section 7.2.5: no entry is made */
    if (is_unknown(n->state)) {
        if (mac == NULL)
            return;
        set_mac(ip, n, mac);
        if (solicited) {
            reachable(ip, n, now);
            return;
        }
        neighbour_heard(ip, port, addr, mac, false, now);
        return;
    }
    bool differs = mac != NULL && !mac_eq(n->mac, mac);
    if (differs && !override) {
        if (n->state == IP_NEIGHBOUR_REACHABLE) /* section 7.2.5 I.a: doubt, but no change */
            stale(ip, n);
        return;
    }
    if (differs)
        set_mac(ip, n, mac);
    if (solicited)
        reachable(ip, n, now);
    else if (differs)
        stale(ip, n);
}
