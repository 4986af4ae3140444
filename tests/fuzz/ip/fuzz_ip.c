/* ip_input() and what follows from it, fed by a stranger.
 *
 * The input is a list of deeds: time passes, we send, or a frame comes in, whole or in fragments; for frames the fuzzer may have the headers'
 * addresses and checksums made right, as it would not guess them.  After each deed ip_check() must hold; a segment must
 * have the checksum that a byte-wise twin computes. */
#include "ip/ip.h"

#define FRAME_MAX 400

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 2};

struct world {
    struct ip *ip;
    struct stats *stats;
    struct packet_pool *pool;
    uint64_t now;
};

static uint16_t naive_sum(const uint8_t *p, size_t n, uint32_t sum)
{
    for (size_t i = 0; i < n; i++) {
        sum += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

static void store_sum(uint8_t *at, const uint8_t *p, size_t n, uint32_t sum)
{
    at[0] = at[1] = 0;
    uint16_t c = (uint16_t)~naive_sum(p, n, sum);
    at[0] = (uint8_t)(c >> 8);
    at[1] = (uint8_t)c;
}

static void repair_upper(uint8_t *up, uint32_t n, uint8_t protocol, uint32_t pseudo)
{
    uint32_t at = protocol == 6 ? 16 : protocol == 1 || protocol == 58 ? 2 : n;
    if (at + 2 <= n)
        store_sum(up + at, up, n, protocol == 1 ? 0 : pseudo + protocol + n);
}

static void repair4(uint8_t *h, uint32_t n)
{
    uint32_t head = (h[0] & 15) * 4u;
    h[16] = 198, h[17] = 18, h[18] = 0, h[19] = 2;
    if (head < 20 || head > n)
        return;
    store_sum(h + 10, h, head, 0);
    uint32_t total = (uint32_t)h[2] << 8 | h[3];
    if (total >= head && total <= n)
        repair_upper(h + head, total - head, h[9], naive_sum(h + 12, 8, 0));
}

static void repair6(uint8_t *h, uint32_t n, bool group)
{
    struct base_addr a;
    (void)base_addr_parse(group ? "ff02::1:ff00:2" : "2001:db8::2", &a);
    memcpy(h + 24, a.b, 16);
    uint32_t len = (uint32_t)h[4] << 8 | h[5];
    if (len + 40 <= n)
        repair_upper(h + 40, len, h[6], naive_sum(h + 8, 32, 0));
}

static void repair(uint8_t *f, uint32_t n, bool group)
{
    static const uint8_t group_mac[6] = {0x33, 0x33, 0xff, 0, 0, 2};
    if (n < 14)
        return;
    memcpy(f, group ? group_mac : our_mac, 6);
    if (f[12] == 8 && f[13] == 0 && n >= 34)
        repair4(f + 14, n - 14);
    else if (f[12] == 0x86 && f[13] == 0xdd && n >= 54)
        repair6(f + 14, n - 14, group);
}

static void believe(const struct ip_result *r, struct packet *p)
{
    bool v4 = base_addr_is_v4(&r->flow.local);
    uint32_t n = packet_len(p), sum = 6 + n;
    sum += naive_sum(r->flow.local.b + (v4 ? 12 : 0), v4 ? 4 : 16, 0) +
           naive_sum(r->flow.remote.b + (v4 ? 12 : 0), v4 ? 4 : 16, 0);
    if (n < 20 || naive_sum(packet_data(p), n, sum) != 0xffff)
        __builtin_trap();
}

static void frame_in(struct world *w, const uint8_t *bytes, uint32_t n, unsigned how)
{
    struct packet_pool *exact = packet_pool_create("exact", 1, n, 0);
    struct packet *p = packet_alloc(exact);
    memcpy(packet_append(p, n), bytes, n);
    if (how & 1)
        repair(packet_data(p), n, (how & 2) != 0);
    static const struct ip_owners owners = {.workers = 61, .port_low = 40000, .port_high = 49999, .port_mask = 63, .key = {{0x1234567890abcdef, 0xfedcba0987654321}}};
    struct ip_result r;
    uint32_t owner = ip_owner(&owners, p);
    enum ip_verdict v = ip_input(w->ip, 0, p, w->now, &r);
    if (v == IP_WHOLE) {
        p = r.whole;
        owner = ip_owner(&owners, p);
        v = ip_input(w->ip, 0, p, w->now, &r);
        if (v == IP_WHOLE)
            __builtin_trap();
    }
    if (v != IP_DONE && owner != ip_owner_flow(&owners, &r.flow))
        __builtin_trap();
    if (v == IP_TCP) {
        believe(&r, p);
        packet_free(p);
    }
    uint16_t port;
    for (struct packet *out; (out = ip_output_next(w->ip, &port)) != NULL;)
        packet_free(out);
    packet_pool_destroy(exact);
}

/* Bytes [offset, offset + len) behind the IP header of a frame, as a fragment. */
static void piece_in(struct world *w, const uint8_t *frame, uint32_t n, uint32_t offset, uint32_t len)
{
    uint8_t f[FRAME_MAX + 8];
    bool v6 = frame[12] == 0x86;
    uint32_t head = v6 ? 54 : 14 + (frame[14] & 15) * 4u, put = head;
    if (head > n || head < 34 || offset >= n - head)
        return;
    len = len < n - head - offset ? len : n - head - offset;
    bool more = offset + len < n - head;
    memcpy(f, frame, head);
    if (v6) {
        memcpy(f + put, (uint8_t[8]){frame[20], 0, (uint8_t)(offset >> 8), (uint8_t)(offset | more)}, 8);
        f[20] = 44;
        put += 8;
    } else {
        f[20] = (uint8_t)((more ? 0x20 : 0) | offset >> 11);
        f[21] = (uint8_t)(offset >> 3);
    }
    memcpy(f + put, frame + head + offset, len);
    put += len;
    uint32_t total = put - (v6 ? 54 : 14);
    f[v6 ? 18 : 16] = (uint8_t)(total >> 8);
    f[v6 ? 19 : 17] = (uint8_t)total;
    if (!v6)
        store_sum(f + 24, f + 14, head - 14, 0);
    frame_in(w, f, put, 0);
}

/* A frame of n bytes, made right, then pairs of offset and length up to a pair of zeros.  Returns what was used. */
static size_t pieces_in(struct world *w, const uint8_t *bytes, size_t size, uint32_t n)
{
    uint8_t frame[FRAME_MAX];
    n = n < FRAME_MAX ? n : FRAME_MAX;
    n = n < size ? n : (uint32_t)size;
    memcpy(frame, bytes, n);
    repair(frame, n, false);
    size_t at = n;
    for (int i = 0; i < 16 && at + 2 <= size && (bytes[at] | bytes[at + 1]) != 0; i++, at += 2) {
        if (n > 34)
            piece_in(w, frame, n, bytes[at] * 8u, bytes[at + 1] * 8u);
        ip_check(w->ip);
    }
    return at + 2 <= size ? at + 2 : size;
}

static void segment_out(struct world *w, uint8_t last, bool v6)
{
    struct base_flow f = {.local_port = 1, .remote_port = 2};
    (void)base_addr_parse(v6 ? "2001:db8::2" : "198.18.0.2", &f.local);
    (void)base_addr_parse(v6 ? "2001:db8::9" : "198.18.0.9", &f.remote);
    f.remote.b[15] = last;
    struct packet *p = packet_alloc(w->pool);
    if (p == NULL)
        return;
    memset(packet_append(p, 24), 0, 24);
    if (ip_output(w->ip, &f, p, w->now))
        packet_free(p);
}

static void deed(struct world *w, const uint8_t **data, size_t *size)
{
    const uint8_t *d = *data;
    unsigned what = d[0] & 7;
    size_t used = 2;
    if (what == 0) {
        w->now += (uint64_t)d[1] << (d[0] & 8 ? 28 : 20); /* up to 0.27 s, or to 68 s */
        ip_tick(w->ip, w->now);
    } else if (what == 1) {
        segment_out(w, d[1], (d[0] & 8) != 0);
    } else if (what == 7) {
        used += pieces_in(w, d + 2, *size - 2, (uint32_t)d[1] * 2);
    } else {
        uint32_t n = (uint32_t)d[1] * 2;
        n = n > *size - 2 ? (uint32_t)(*size - 2) : n;
        frame_in(w, d + 2, n < FRAME_MAX ? n : FRAME_MAX, d[0] >> 3);
        used += n;
    }
    *data += used;
    *size -= used;
}

static void open_world(struct world *w, void *memory, size_t n, const struct ip_config *c)
{
    struct base_arena a;
    memset(memory, 0, n);
    base_arena_init(&a, memory, n);
    w->now = 1000000000;
    w->stats = stats_create(&a, 1, 1);
    w->ip = ip_create(&a, c, w->stats, w->pool, w->now);
    struct ip_port_config port = {.mtu = 1500, .addresses = 2, .vlan = 0};
    memcpy(port.mac, our_mac, 6);
    (void)base_addr_parse("198.18.0.2", &port.address[0].addr);
    (void)base_addr_parse("2001:db8::2", &port.address[1].addr);
    port.address[0].bits = 24;
    port.address[1].bits = 64;
    ip_configure(w->ip, 0, &port, w->now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ip_config c;
    ip_config_defaults(&c);
    c.ports = 1;
    c.neighbours = 8;
    c.queued = 16;
    c.queued_each = 4;
    c.reassemblies = 4;
    c.datagram = 512;
    c.error_rate = 5;
    /* a life in little time: the wheel turns tick by tick */
    c.solicit_ns = 50000000;
    c.delay_ns = 200000000;
    c.reachable_ns = 600000000;
    c.unreachable_ns = 200000000;
    size_t n = ip_footprint(&c) + stats_footprint(1, 1);
    static void *memory; /* the fuzzer's, not the room's */
    if (memory == NULL)
        memory = aligned_alloc(64, base_align(n));
    base_unpoison(memory, n);
    struct world w = {.pool = packet_pool_create("own", 64, 512, 0)};
    open_world(&w, memory, n, &c);
    while (size >= 2) {
        deed(&w, &data, &size);
        ip_check(w.ip);
    }
    ip_destroy(w.ip);
    if (packet_pool_in_use(w.pool) != 0)
        __builtin_trap();
    packet_pool_destroy(w.pool);
    return 0;
}
