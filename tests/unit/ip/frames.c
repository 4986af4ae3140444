#include "frames.h"

const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 2}, peer_mac[6] = {2, 0, 0, 0, 0, 1}, other_mac[6] = {2, 0, 0, 0, 0, 9},
              broadcast_mac[6] = {255, 255, 255, 255, 255, 255};

static struct packet_pool *exact[2049]; /* pools whose buffers hold that many bytes */

struct base_addr addr(const char *text)
{
    struct base_addr a;
    assert_true(base_addr_parse(text, &a));
    return a;
}

uint16_t naive_sum(const uint8_t *p, size_t n, uint32_t start)
{
    uint32_t sum = start;
    for (size_t i = 0; i < n; i++) {
        sum += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

void host_configure(struct host *h)
{
    ip_configure(h->ip, 0, &h->port, h->now);
}

void host_open(struct host *h, uint32_t neighbours, uint32_t queued)
{
    memset(h, 0, sizeof(*h));
    h->now = 1000 * SECOND;
    h->pool = packet_pool_create("own", 4096, PACKET_ROOM, 0);
    struct ip_config c;
    ip_config_defaults(&c);
    c.ports = 1;
    c.neighbours = neighbours;
    c.queued = queued;
    c.queued_each = queued / 2;
    c.key = (struct base_hash_key){{3, 4}};
    size_t n = ip_footprint(&c) + stats_footprint(1, 1);
    h->memory = aligned_alloc(64, base_align(n));
    memset(h->memory, 0, n);
    struct base_arena a;
    base_arena_init(&a, h->memory, n);
    h->stats = stats_create(&a, 1, 1);
    h->ip = ip_create(&a, &c, h->stats, h->pool, h->now);
    assert_int_equal(a.used, a.size); /* the footprint is exact */
    h->port = (struct ip_port_config){.mtu = 1500, .addresses = 2};
    memcpy(h->port.mac, our_mac, 6);
    h->port.address[0] = (struct ip_prefix){addr("198.18.0.2"), 24};
    h->port.address[1] = (struct ip_prefix){addr("2001:db8::2"), 64};
    h->port.gateway4 = addr("198.18.0.1");
    h->port.gateway6 = addr("2001:db8::1");
    host_configure(h);
    host_discard(h);
}

void host_close(struct host *h)
{
    ip_check(h->ip);
    if (h->segment != NULL)
        packet_free(h->segment);
    ip_destroy(h->ip);
    ip_check(h->ip);
    assert_int_equal(packet_pool_in_use(h->pool), 0);
    packet_pool_destroy(h->pool);
    for (size_t i = 0; i < sizeof(exact) / sizeof(*exact); i++)
        if (exact[i] != NULL) {
            assert_int_equal(packet_pool_in_use(exact[i]), 0);
            packet_pool_destroy(exact[i]);
            exact[i] = NULL;
        }
    base_unpoison(h->memory, 1);
    free(h->memory);
}

uint32_t host_discard(struct host *h)
{
    uint16_t port;
    uint32_t n = 0;
    for (struct packet *p; (p = ip_output_next(h->ip, &port)) != NULL; n++)
        packet_free(p);
    return n;
}

/* As an odd number of workers would have it, so that a wrong tuple is hardly ever right by chance. */
struct ip_owners owners = {.workers = 61, .port_low = 40000, .port_high = 49999, .port_mask = 63, .key = {{0x1234567890abcdef, 0xfedcba0987654321}}};

enum ip_verdict feed(struct host *h, const void *bytes, uint32_t n)
{
    if (exact[n] == NULL)
        exact[n] = packet_pool_create("exact", 4096, n, 0);
    struct packet *p = packet_alloc(exact[n]);
    assert_non_null(p);
    memcpy(packet_append(p, n), bytes, n);
    if (h->segment != NULL)
        packet_free(h->segment);
    h->segment = NULL;
    uint32_t owner = ip_owner(&owners, 0, p);
    enum ip_verdict v = ip_input(h->ip, 0, p, h->now, &h->result);
    if (v == IP_WHOLE) {
        h->wholes++;
        p = h->result.whole;
        owner = ip_owner(&owners, 0, p);
        v = ip_input(h->ip, 0, p, h->now, &h->result);
        assert_int_not_equal(v, IP_WHOLE);
    }
    /* Whatever comes of it is its owner's. */
    if (v != IP_DONE)
        assert_int_equal(owner, ip_owner_flow(&owners, &h->result.flow));
    if (v == IP_TCP)
        h->segment = p;
    ip_check(h->ip);
    return v;
}

enum ip_verdict feed_frame(struct host *h, const struct frame_bytes *f)
{
    return feed(h, f->b, f->n);
}

void next_frame(struct host *h, struct frame_bytes *f)
{
    uint16_t port = 99;
    struct packet *p = ip_output_next(h->ip, &port);
    assert_non_null(p);
    assert_int_equal(port, 0);
    f->n = packet_len(p);
    memcpy(f->b, packet_data(p), f->n);
    packet_free(p);
}

uint64_t drops(const struct host *h, enum stats_drop why)
{
    return stats_read(&h->stats->drops[why]);
}

uint64_t all_drops(const struct host *h)
{
    uint64_t sum = 0;
    for (int i = 0; i < STATS_DROP_COUNT; i++)
        sum += drops(h, (enum stats_drop)i);
    return sum;
}

/* ---- writing ---- */

void put(struct frame_bytes *f, const void *bytes, uint32_t n)
{
    memcpy(f->b + f->n, bytes, n);
    f->n += n;
}

void put16(struct frame_bytes *f, uint16_t v)
{
    put(f, (uint8_t[2]){(uint8_t)(v >> 8), (uint8_t)v}, 2);
}

void put32(struct frame_bytes *f, uint32_t v)
{
    put16(f, (uint16_t)(v >> 16));
    put16(f, (uint16_t)v);
}

void put_eth(struct frame_bytes *f, const uint8_t to[6], const uint8_t from[6], uint16_t type)
{
    f->n = 0;
    put(f, to, 6);
    put(f, from, 6);
    put16(f, type);
}

static void put_addr(struct frame_bytes *f, const char *text)
{
    struct base_addr a = addr(text);
    if (base_addr_is_v4(&a))
        put(f, a.b + 12, 4);
    else
        put(f, a.b, 16);
}

void reseal_ip4(struct frame_bytes *f, uint32_t at)
{
    f->b[at + 10] = f->b[at + 11] = 0;
    uint16_t sum = (uint16_t)~naive_sum(f->b + at, (f->b[at] & 15) * 4u, 0);
    f->b[at + 10] = (uint8_t)(sum >> 8);
    f->b[at + 11] = (uint8_t)sum;
}

void put_ip4(struct frame_bytes *f, const char *from, const char *to, uint8_t protocol, uint32_t payload)
{
    uint32_t at = f->n;
    put16(f, 0x4500);
    put16(f, (uint16_t)(20 + payload));
    put32(f, 0x12344000);
    put(f, (uint8_t[4]){64, protocol, 0, 0}, 4);
    put_addr(f, from);
    put_addr(f, to);
    reseal_ip4(f, at);
}

void put_ip6(struct frame_bytes *f, const char *from, const char *to, uint8_t next, uint8_t hops, uint32_t payload)
{
    put32(f, 0x60000000);
    put16(f, (uint16_t)payload);
    put(f, (uint8_t[2]){next, hops}, 2);
    put_addr(f, from);
    put_addr(f, to);
}

static uint32_t pseudo(const uint8_t *ip, uint32_t len, uint8_t protocol)
{
    bool v6 = ip[0] >> 4 == 6;
    uint32_t sum = naive_sum(ip + (v6 ? 8 : 12), v6 ? 32 : 8, 0);
    return sum + len + protocol;
}

static uint32_t csum_at(uint8_t protocol)
{
    return protocol == 6 ? 16 : 2;
}

void seal(struct frame_bytes *f, uint32_t ip, uint32_t at, uint8_t protocol)
{
    uint32_t c = at + csum_at(protocol), len = f->n - at;
    f->b[c] = f->b[c + 1] = 0;
    uint16_t sum = (uint16_t)~naive_sum(f->b + at, len, protocol == 1 ? 0 : pseudo(f->b + ip, len, protocol));
    f->b[c] = (uint8_t)(sum >> 8);
    f->b[c + 1] = (uint8_t)sum;
}

bool sealed(const uint8_t *frame, uint32_t ip, uint32_t at, uint32_t end, uint8_t protocol)
{
    return naive_sum(frame + at, end - at, protocol == 1 ? 0 : pseudo(frame + ip, end - at, protocol)) == 0xffff;
}

static void put_tcp(struct frame_bytes *f, uint32_t data)
{
    put16(f, 2000);
    put16(f, 1000);
    put32(f, 0x01020304);
    put32(f, 0x05060708);
    put32(f, 0x50101000);
    put32(f, 0);
    for (uint32_t i = 0; i < data; i++)
        put(f, (uint8_t[1]){(uint8_t)(i * 7 + 1)}, 1);
}

void frame_tcp4(struct frame_bytes *f, uint32_t data)
{
    put_eth(f, our_mac, peer_mac, 0x0800);
    put_ip4(f, "198.18.0.1", "198.18.0.2", 6, 20 + data);
    put_tcp(f, data);
    seal(f, 14, 34, 6);
}

void frame_tcp6(struct frame_bytes *f, uint32_t data)
{
    put_eth(f, our_mac, peer_mac, 0x86dd);
    put_ip6(f, "2001:db8::1", "2001:db8::2", 6, 64, 20 + data);
    put_tcp(f, data);
    seal(f, 14, 54, 6);
}

void frame_arp(struct frame_bytes *f, uint16_t op, const uint8_t sender_mac[6], const char *sender, const char *target,
               const uint8_t to[6])
{
    put_eth(f, to, sender_mac, 0x0806);
    put32(f, 0x00010800);
    put16(f, 0x0604);
    put16(f, op);
    put(f, sender_mac, 6);
    put_addr(f, sender);
    put(f, op == 2 ? our_mac : (const uint8_t[6]){0}, 6);
    put_addr(f, target);
}

void frame_echo4(struct frame_bytes *f, uint32_t data)
{
    put_eth(f, our_mac, peer_mac, 0x0800);
    put_ip4(f, "198.18.0.1", "198.18.0.2", 1, 8 + data);
    put32(f, 0x08000000);
    put32(f, 0x77770001);
    for (uint32_t i = 0; i < data; i++)
        put(f, (uint8_t[1]){(uint8_t)i}, 1);
    seal(f, 14, 34, 1);
}

void frame_echo6(struct frame_bytes *f, uint32_t data)
{
    put_eth(f, our_mac, peer_mac, 0x86dd);
    put_ip6(f, "2001:db8::1", "2001:db8::2", 58, 64, 8 + data);
    put32(f, 0x80000000);
    put32(f, 0x77770001);
    for (uint32_t i = 0; i < data; i++)
        put(f, (uint8_t[1]){(uint8_t)i}, 1);
    seal(f, 14, 54, 58);
}

void frame_ns(struct frame_bytes *f, const char *from, const char *target, const uint8_t *mac)
{
    struct base_addr t = addr(target);
    uint8_t to[6] = {0x33, 0x33, 0xff, t.b[13], t.b[14], t.b[15]};
    put_eth(f, to, peer_mac, 0x86dd);
    put_ip6(f, from, "ff02::1:ff00:0", 58, 255, mac != NULL ? 32 : 24);
    memcpy(f->b + 14 + 24 + 13, t.b + 13, 3);
    put32(f, 0x87000000);
    put32(f, 0);
    put_addr(f, target);
    if (mac != NULL) {
        put16(f, 0x0101);
        put(f, mac, 6);
    }
    seal(f, 14, 54, 58);
}

void frame_na(struct frame_bytes *f, const char *target, const uint8_t *mac, uint32_t flags)
{
    put_eth(f, our_mac, mac != NULL ? mac : peer_mac, 0x86dd);
    put_ip6(f, target, "2001:db8::2", 58, 255, mac != NULL ? 32 : 24);
    put32(f, 0x88000000);
    put32(f, flags);
    put_addr(f, target);
    if (mac != NULL) {
        put16(f, 0x0201);
        put(f, mac, 6);
    }
    seal(f, 14, 54, 58);
}

/* About a segment from 198.18.0.2:1000 to 198.19.0.7:2000. */
void frame_error4(struct frame_bytes *f, uint8_t type, uint8_t code, uint16_t mtu)
{
    put_eth(f, our_mac, peer_mac, 0x0800);
    put_ip4(f, "198.18.0.1", "198.18.0.2", 1, 8 + 28);
    put(f, (uint8_t[4]){type, code}, 4);
    put32(f, mtu);
    put_ip4(f, "198.18.0.2", "198.19.0.7", 6, 1480);
    put16(f, 1000);
    put16(f, 2000);
    put32(f, 0xabcdef01);
    seal(f, 14, 34, 1);
}

void frame_error6(struct frame_bytes *f, uint8_t type, uint8_t code, uint32_t mtu)
{
    put_eth(f, our_mac, peer_mac, 0x86dd);
    put_ip6(f, "2001:db8::1", "2001:db8::2", 58, 64, 8 + 48);
    put(f, (uint8_t[4]){type, code}, 4);
    put32(f, mtu);
    put_ip6(f, "2001:db8::2", "2001:db8:1::7", 6, 60, 1440);
    put16(f, 1000);
    put16(f, 2000);
    put32(f, 0xabcdef01);
    seal(f, 14, 54, 58);
}

/* ---- sending ---- */

struct packet *segment_make(struct host *h, uint32_t data)
{
    struct packet *p = packet_alloc(h->pool);
    assert_non_null(p);
    struct frame_bytes f = {.n = 0};
    put_tcp(&f, data);
    f.b[0] = 1000 >> 8;
    f.b[1] = 1000 & 255;
    f.b[2] = 2000 >> 8;
    f.b[3] = 2000 & 255;
    memcpy(packet_append(p, f.n), f.b, f.n);
    return p;
}

struct base_flow flow_to(const char *local, const char *remote)
{
    return (struct base_flow){.local = addr(local), .remote = addr(remote), .local_port = 1000, .remote_port = 2000};
}

bool send_to(struct host *h, const char *local, const char *remote, uint32_t data, struct packet **p)
{
    struct base_flow f = flow_to(local, remote);
    *p = segment_make(h, data);
    bool ready = ip_output(h->ip, &f, *p, h->now);
    ip_check(h->ip);
    return ready;
}

void host_resolve(struct host *h)
{
    struct frame_bytes f;
    frame_arp(&f, 1, peer_mac, "198.18.0.1", "198.18.0.2", broadcast_mac);
    feed_frame(h, &f);
    frame_ns(&f, "2001:db8::1", "2001:db8::2", peer_mac);
    feed_frame(h, &f);
    host_discard(h);
}
