/* The object: made, configured, asked for routes, ticked. */
#include "internal.h"

#define ANNOUNCEMENTS 2             /* RFC 5227 section 1.1: ANNOUNCE_NUM */
#define ANNOUNCE_NS   2000000000ull /* ANNOUNCE_INTERVAL */
#define VERIFY_FIRST  64

void ip_config_defaults(struct ip_config *c)
{
    *c = (struct ip_config){
        .neighbours = 4096,
        .queued = 4096,
        .queued_each = 512,
        .echo_rate = 1000,
        .error_rate = 100,
        .reassemblies = 512,
        .datagram = PACKET_ROOM,
        /* DEVIATION: RFC 4861 section 10 has RETRANS_TIMER 1 s. A lost answer must not outlast a backend's connect
           timeout. */
        .solicit_ns = 300000000ull,
        .reachable_ns = 30000000000ull,
        .delay_ns = 5000000000ull,
        .unreachable_ns = 1000000000ull,
    };
}

static uint32_t buckets_for(uint32_t neighbours)
{
    uint32_t n = 16;
    while (n < neighbours && n < 1u << 24)
        n *= 2;
    return n;
}

size_t ip_footprint(const struct ip_config *c)
{
    return base_align(sizeof(struct ip)) + base_align(IP_PATHS * sizeof(struct path)) +
           base_align(buckets_for(c->neighbours) * sizeof(struct base_list)) +
           base_slab_footprint(sizeof(struct neighbour), c->neighbours) +
           base_slab_footprint(sizeof(struct waiting), c->queued) + ip_reassembly_footprint(c);
}

struct ip *ip_create(struct base_arena *arena, const struct ip_config *config, struct stats *stats,
                     struct packet_pool *pool, uint64_t now)
{
    assert(config->ports >= 1 && config->ports <= IP_PORTS_MAX && config->neighbours >= 2 && config->queued >= 2);
    struct ip *ip = base_arena_take(arena, sizeof(*ip));
    ip->stats = stats;
    ip->pool = pool;
    ip->config = *config;
    ip->epoch = 1; /* an unused path has 0 */
    ip->paths = base_arena_take(arena, IP_PATHS * sizeof(struct path));
    ip->bucket_mask = buckets_for(config->neighbours) - 1;
    ip->buckets = base_arena_take(arena, (ip->bucket_mask + 1) * sizeof(struct base_list));
    for (uint32_t i = 0; i <= ip->bucket_mask; i++)
        base_list_init(&ip->buckets[i]);
    base_slab_init(&ip->neighbours, arena, "neighbours", sizeof(struct neighbour), config->neighbours);
    base_slab_init(&ip->waitings, arena, "neighbour_queue", sizeof(struct waiting), config->queued);
    stats_object_add(stats, ip->neighbours.name, &ip->neighbours.in_use, config->neighbours);
    stats_object_add(stats, ip->waitings.name, &ip->waitings.in_use, config->queued);
    base_list_init(&ip->known);
    base_list_init(&ip->unknown);
    base_list_init(&ip->out);
    base_list_init(&ip->failed);
    base_wheel_init(&ip->wheel, now);
    ip->echoes = (struct icmp_bucket){(uint64_t)config->echo_rate * 1000000000ull, now};
    ip->errors = (struct icmp_bucket){(uint64_t)config->error_rate * 1000000000ull, now};
    reassembly_create(ip, arena);
    for (int i = 0; i < IP_PORTS_MAX; i++)
        base_timer_init(&ip->ports[i].announce);
    return ip;
}

void ip_destroy(struct ip *ip)
{
    for (uint16_t i = 0; i < ip->config.ports; i++)
        neighbour_flush(ip, i);
    reassembly_destroy(ip);
    uint16_t port;
    for (struct packet *p; (p = ip_output_next(ip, &port)) != NULL;)
        packet_free(p);
}

uint64_t ip_draw(struct ip *ip)
{
    return base_mix64(ip->config.key.k[0] ^ ++ip->draws) ^ ip->config.key.k[1];
}

/* ---- ports ---- */

static struct base_addr mask_of(const struct ip_prefix *p)
{
    unsigned bits = p->bits + (base_addr_is_v4(&p->addr) ? 96u : 0u);
    struct base_addr m = {0};
    for (unsigned i = 0; i < 16; i++)
        m.b[i] = bits >= 8 * (i + 1) ? 0xff : bits <= 8 * i ? 0 : (uint8_t)(0xff00 >> (bits - 8 * i));
    return m;
}

struct base_addr ip_link_local(const uint8_t mac[6])
{
    struct base_addr a = {.b = {0xfe, 0x80, [8] = mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}};
    return a;
}

bool ip_port_owns(const struct port_state *port, const struct base_addr *a)
{
    for (uint32_t i = 0; i < port->c.addresses; i++)
        if (base_addr_eq(&port->c.address[i].addr, a))
            return true;
    return base_addr_eq(&port->link_local, a);
}

bool ip_is_local(const struct ip *ip, const struct base_addr *addr)
{
    for (uint16_t i = 0; i < ip->config.ports; i++)
        if (ip->ports[i].configured && ip_port_owns(&ip->ports[i], addr))
            return true;
    return false;
}

static bool has_v6(const struct port_state *port)
{
    for (uint32_t i = 0; i < port->c.addresses; i++)
        if (!base_addr_is_v4(&port->c.address[i].addr))
            return true;
    return false;
}

static void announce(struct ip *ip, uint16_t index, const struct base_addr *a)
{
    if (base_addr_is_v4(a))
        arp_announce(ip, index, a);
    else
        nd_announce(ip, index, a);
}

static void announce_fresh(struct ip *ip, uint16_t index, uint64_t now)
{
    struct port_state *port = &ip->ports[index];
    for (uint32_t i = 0; i < port->c.addresses; i++)
        if (port->fresh & 1u << i)
            announce(ip, index, &port->c.address[i].addr);
    if (port->fresh & ANNOUNCE_LINK_LOCAL)
        announce(ip, index, &port->link_local);
    if (--port->announcements > 0)
        base_wheel_arm(&ip->wheel, &port->announce, now + ANNOUNCE_NS);
    else
        port->fresh = 0;
}

/* Which addresses of `now` nobody has been told of: not in `before`, or there but announced only in part. */
static uint32_t fresh_of(const struct port_state *before, const struct port_state *now)
{
    uint32_t fresh =
        has_v6(now) && (!has_v6(before) || (before->fresh & ANNOUNCE_LINK_LOCAL)) ? ANNOUNCE_LINK_LOCAL : 0;
    for (uint32_t i = 0; i < now->c.addresses; i++) {
        bool told = false;
        for (uint32_t k = 0; k < before->c.addresses; k++)
            told |= base_addr_eq(&before->c.address[k].addr, &now->c.address[i].addr) && !(before->fresh & 1u << k);
        fresh |= told ? 0 : 1u << i;
    }
    return fresh;
}

static void port_set(struct port_state *port, const struct ip_port_config *config)
{
    uint32_t was = port->configured ? port->c.flags : 0;
    port->c = *config;
    port->configured = true;
    if (((was ^ config->flags) & (IP_TX_TCP_CSUM | IP_TX_TRIAL)) != 0)
        trial_begin(port);
    port->l2_len = config->vlan != 0 ? ETH_LEN + VLAN_LEN : ETH_LEN;
    port->unverified = VERIFY_FIRST;
    /* Without an IPv6 address of the operator's there is no IPv6 here: a group matches no destination of a host. */
    port->link_local = has_v6(port) ? ip_link_local(config->mac) : (struct base_addr){.b = {0xff, 0xff}};
    for (uint32_t i = 0; i < config->addresses; i++)
        port->mask[i] = mask_of(&config->address[i]);
}

void ip_configure(struct ip *ip, uint16_t index, const struct ip_port_config *config, uint64_t now)
{
    assert(index < ip->config.ports && config->addresses <= IP_ADDRESSES_MAX);
    struct port_state *port = &ip->ports[index], before = *port;
    bool moved = !port->configured || !mac_eq(port->c.mac, config->mac) || port->c.vlan != config->vlan;
    if (moved) /* another station, or another link: nobody there knows us */
        before.c.addresses = 0;
    port_set(port, config);
    if (moved)
        neighbour_flush(ip, index);
    ip->epoch++;
    port->fresh = fresh_of(&before, port);
    base_wheel_cancel(&ip->wheel, &port->announce);
    port->announcements = ANNOUNCEMENTS;
    if (port->fresh != 0 && !ip->config.silent)
        announce_fresh(ip, index, now);
}

/* ---- routes ---- */

/* The all-ones and all-zeros hosts of an IPv4 prefix are no stations (RFC 1122 section 3.2.1.3; RFC 3021 excepts /31).
 */
static bool is_broadcast(const struct port_state *port, uint32_t i, const struct base_addr *a)
{
    if (!base_addr_is_v4(a) || port->c.address[i].bits > 30)
        return false;
    uint32_t host = a->w[3] & ~port->mask[i].w[3];
    return host == 0 || host == ~port->mask[i].w[3];
}

static bool is_unicast(const struct base_addr *a)
{
    if (base_addr_is_v4(a))
        return a->b[12] != 0 && a->b[12] != 127 && a->b[12] < 224;
    return !is_multicast6(a) && a->q[0] != 0;
}

bool ip_is_station(const struct port_state *port, const struct base_addr *a)
{
    bool broadcast = false;
    for (uint32_t i = 0; i < port->c.addresses; i++)
        broadcast |= prefix_covers(&port->c.address[i].addr, &port->mask[i], a) && is_broadcast(port, i, a);
    return is_unicast(a) && !broadcast && !ip_port_owns(port, a);
}

/* The operator's gateway is on the link even where no prefix covers it: clouds give a host /32 and a gateway outside of
 * it. */
static bool is_gateway(const struct port_state *port, const struct base_addr *a)
{
    return base_addr_eq(a, &port->c.gateway4) || base_addr_eq(a, &port->c.gateway6);
}

static const struct base_addr *first_of_family(const struct port_state *port, const struct base_addr *like)
{
    for (uint32_t i = 0; i < port->c.addresses; i++)
        if (base_addr_is_v4(&port->c.address[i].addr) == base_addr_is_v4(like))
            return &port->c.address[i].addr;
    return NULL;
}

const struct base_addr *ip_port_source(const struct port_state *port, const struct base_addr *neighbour)
{
    if (!is_unicast(neighbour))
        return NULL;
    if (is_link_local(neighbour) && !base_addr_is_v4(neighbour))
        return &port->link_local;
    for (uint32_t i = 0; i < port->c.addresses; i++)
        if (prefix_covers(&port->c.address[i].addr, &port->mask[i], neighbour))
            return is_broadcast(port, i, neighbour) ? NULL : &port->c.address[i].addr;
    return is_gateway(port, neighbour) ? first_of_family(port, neighbour) : NULL;
}

static const struct base_addr *gateway_for(const struct port_state *port, const struct base_addr *remote)
{
    const struct base_addr *g = base_addr_is_v4(remote) ? &port->c.gateway4 : &port->c.gateway6;
    return base_addr_is_zero(g) || !is_unicast(remote) ? NULL : g;
}

static bool on_link(const struct port_state *port, const struct base_addr *a)
{
    for (uint32_t i = 0; i < port->c.addresses; i++)
        if (prefix_covers(&port->c.address[i].addr, &port->mask[i], a))
            return true;
    return is_gateway(port, a) || (!base_addr_is_v4(a) && is_link_local(a));
}

bool ip_port_next_hop(const struct port_state *port, const struct base_addr *remote, struct base_addr *hop)
{
    if (on_link(port, remote)) {
        *hop = *remote;
        return ip_port_source(port, remote) != NULL && !ip_port_owns(port, remote);
    }
    const struct base_addr *gateway = gateway_for(port, remote);
    if (gateway == NULL || ip_port_source(port, gateway) == NULL)
        return false;
    *hop = *gateway;
    return true;
}

/* The address to speak from through a gateway: of its prefix; a link-local gateway leaves the choice: the first of the
 * family. */
static const struct base_addr *source_via(const struct port_state *port, const struct base_addr *gateway)
{
    const struct base_addr *source = ip_port_source(port, gateway);
    return source == &port->link_local ? first_of_family(port, gateway) : source;
}

bool ip_source_for(const struct ip *ip, const struct base_addr *remote, struct base_addr *local, uint16_t *port)
{
    if (ip_is_local(ip, remote))
        return false;
    for (int via_gateway = 0; via_gateway < 2; via_gateway++) /* a port on whose link it is comes before any gateway */
        for (uint16_t i = 0; i < ip->config.ports; i++) {
            const struct port_state *s = &ip->ports[i];
            if (!s->configured || on_link(s, remote) == (via_gateway != 0))
                continue;
            const struct base_addr *g = via_gateway ? gateway_for(s, remote) : NULL;
            const struct base_addr *source = g != NULL     ? source_via(s, g)
                                             : via_gateway ? NULL
                                                           : ip_port_source(s, remote);
            if (source == NULL)
                continue;
            *local = *source;
            *port = i;
            return true;
        }
    return false;
}

/* ---- time ---- */

void ip_tick(struct ip *ip, uint64_t now)
{
    for (struct base_timer *t; (t = base_wheel_expire(&ip->wheel, now)) != NULL;) {
        size_t at = (size_t)((uintptr_t)t -
                             (uintptr_t)ip->ports); /* a port's timer lies in the object, a neighbour's elsewhere */
        if (at < sizeof(ip->ports))
            announce_fresh(ip, (uint16_t)(at / sizeof(ip->ports[0])), now);
        else
            neighbour_timer(ip, base_container(t, struct neighbour, timer), now);
    }
    reassembly_tick(ip, now);
}

/* ---- looking at it ---- */

enum ip_neighbour_state ip_neighbour(const struct ip *ip, uint16_t port, const struct base_addr *addr, uint8_t mac[6])
{
    const struct neighbour *n = neighbour_find(ip, port, addr);
    if (n == NULL)
        return IP_NEIGHBOUR_NONE;
    if (mac != NULL && n->state != IP_NEIGHBOUR_INCOMPLETE && n->state != IP_NEIGHBOUR_UNREACHABLE)
        memcpy(mac, n->mac, 6);
    return (enum ip_neighbour_state)n->state;
}

uint32_t ip_neighbours(const struct ip *ip)
{
    return ip->neighbours.in_use;
}

bool ip_idle(const struct ip *ip)
{
    return base_list_empty(&ip->out) && base_list_empty(&ip->failed);
}

static uint32_t check_entry(const struct ip *ip, const struct neighbour *n, bool unknown)
{
    uint32_t waiting = 0;
    bool is = n->state == IP_NEIGHBOUR_INCOMPLETE || n->state == IP_NEIGHBOUR_UNREACHABLE;
    base_list_each (it, &n->queue)
        waiting++;
    assert(is == unknown && n->state != IP_NEIGHBOUR_NONE);
    assert(waiting == n->waiting && waiting <= ip->config.queued_each);
    assert(waiting == 0 || n->state == IP_NEIGHBOUR_INCOMPLETE);
    assert(base_timer_armed(&n->timer) == (n->state != IP_NEIGHBOUR_STALE));
    assert(neighbour_find(ip, n->port, &n->addr) == n);
    (void)ip, (void)is, (void)unknown;
    return waiting;
}

void ip_check(const struct ip *ip)
{
    uint32_t known = 0, unknown = 0, waiting = 0;
    base_list_each (it, &ip->known) {
        known++;
        waiting += check_entry(ip, base_container(it, struct neighbour, age), false);
    }
    base_list_each (it, &ip->unknown) {
        unknown++;
        waiting += check_entry(ip, base_container(it, struct neighbour, age), true);
    }
    base_list_each (it, &ip->out)
        waiting++;
    base_list_each (it, &ip->failed)
        waiting++;
    assert(known + unknown == ip->neighbours.in_use && unknown == ip->unknown_count);
    assert(waiting == ip->waitings.in_use);
    reassembly_check(ip);
    (void)known, (void)unknown, (void)waiting;
}
