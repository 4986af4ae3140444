/* Fragments become datagrams.
 *
 * One buffer a datagram, of our own pool: a fragment's data is copied to where it belongs and the fragment is freed, so no receive buffer
 * is held beyond the turn, and what comes out is linear as every frame is.  In front of the data stands the head of the first fragment.
 * A bitmap says which blocks of eight bytes are here, another one where fragments began: together they tell a fragment that came twice from
 * one that overlaps, in bounded time and without a list of holes (RFC 815 keeps that).
 *
 *     got     1 1 1 1 1 1 . . . . 1 1        complete: the first and the last are here, and as many blocks as the last one's end says
 *     starts  1 . . 1 . . . . . . 1 .
 *
 * Overlaps: the whole datagram is refused, with what is still to come of it (RFC 5722 section 4, RFC 8200 section 4.5); the same for IPv4,
 * where RFC 791 would let the later one win: nobody sends such but to confuse (RFC 1858, 3128).
 *
 * Bounds: `reassemblies` datagrams; at the limit the oldest goes.  All live equally long, so the list by age is the only clock. */
#include "internal.h"

#define LIFETIME_NS 60000000000ull /* RFC 8200 section 4.5; RFC 1122 section 3.3.2 */
#define BLOCK       8u

struct reassembly {
    struct base_list bucket, age;
    struct base_addr source, target;
    uint32_t id;
    uint16_t port;
    uint8_t from[6];        /* the station that sent the first one that came */
    struct packet *packet;  /* its data begins where the datagram's does; NULL: refused, so is what is still to come */
    uint32_t room;
    uint32_t head_len;      /* of the first fragment, in front of the data; 0: not here */
    uint32_t first_len;     /* data in it */
    uint32_t seen, end;     /* bytes: the farthest that is here; where the last fragment ends, 0: not here */
    uint32_t blocks;
    uint64_t since_ns;
    uint64_t bits[];        /* got, then starts */
};

static uint32_t words(const struct ip_config *c)
{
    return (c->datagram + 64 * BLOCK - 1) / (64 * BLOCK);
}

static size_t entry_size(const struct ip_config *c)
{
    return sizeof(struct reassembly) + 2 * words(c) * sizeof(uint64_t);
}

static uint32_t buckets(const struct ip_config *c)
{
    uint32_t n = 16;
    while (n < c->reassemblies && n < 1u << 24)
        n *= 2;
    return n;
}

size_t ip_reassembly_footprint(const struct ip_config *c)
{
    return base_align(buckets(c) * sizeof(struct base_list)) + base_slab_footprint(entry_size(c), c->reassemblies);
}

void reassembly_create(struct ip *ip, struct base_arena *arena)
{
    struct reassembler *a = &ip->reassembler;
    const struct ip_config *c = &ip->config;
    assert(c->reassemblies >= 1 && c->datagram >= 8 && c->datagram <= UINT16_MAX);
    a->words = words(c);
    a->bucket_mask = buckets(c) - 1;
    a->buckets = base_arena_take(arena, buckets(c) * sizeof(struct base_list));
    for (uint32_t i = 0; i <= a->bucket_mask; i++)
        base_list_init(&a->buckets[i]);
    base_slab_init(&a->slab, arena, "reassemblies", entry_size(c), c->reassemblies);
    base_list_init(&a->age);
    stats_object_add(ip->stats, a->slab.name, &a->slab.in_use, c->reassemblies);
}

/* ---- bits [from, to) ---- */

static uint64_t mask(uint32_t word, uint32_t from, uint32_t to)
{
    uint32_t low = from > 64 * word ? from - 64 * word : 0, high = to < 64 * (word + 1) ? to - 64 * word : 64;
    return (~0ull >> (64 - (high - low))) << low;
}

static uint32_t count(const uint64_t *bits, uint32_t from, uint32_t to)
{
    uint32_t n = 0;
    for (uint32_t w = from / 64; from < to && 64 * w < to; w++)
        n += (uint32_t)__builtin_popcountll(bits[w] & mask(w, from, to));
    return n;
}

static void set(uint64_t *bits, uint32_t from, uint32_t to)
{
    for (uint32_t w = from / 64; 64 * w < to; w++)
        bits[w] |= mask(w, from, to);
}

/* ---- the table ---- */

static struct base_list *bucket_of(const struct ip *ip, const struct ip_fragment *x)
{
    struct base_flow by = {.local = x->target, .remote = x->source, .local_port = (uint16_t)(x->id >> 16), .remote_port = (uint16_t)x->id};
    return &ip->reassembler.buckets[base_flow_hash(&ip->config.key, &by) & ip->reassembler.bucket_mask];
}

static struct reassembly *find(const struct ip *ip, uint16_t port, const struct ip_fragment *x)
{
    base_list_each (it, bucket_of(ip, x)) {
        struct reassembly *r = base_container(it, struct reassembly, bucket);
        if (r->id == x->id && r->port == port && base_addr_eq(&r->source, &x->source) && base_addr_eq(&r->target, &x->target))
            return r;
    }
    return NULL;
}

static void refuse(struct reassembly *r)
{
    if (r->packet != NULL)
        packet_free(r->packet);
    r->packet = NULL;
}

static void forget(struct ip *ip, struct reassembly *r)
{
    refuse(r);
    base_list_remove(&r->bucket);
    base_list_remove(&r->age);
    base_slab_free(&ip->reassembler.slab, r);
}

static struct reassembly *oldest(const struct ip *ip)
{
    const struct base_list *age = &ip->reassembler.age;
    return base_list_empty(age) ? NULL : base_container(age->next, struct reassembly, age);
}

/* NULL: no buffer; counted. */
static struct reassembly *make(struct ip *ip, const struct frame *f, const struct ip_fragment *x)
{
    struct reassembler *a = &ip->reassembler;
    struct packet *p = ip_own_packet(ip);
    if (p == NULL)
        return NULL;
    struct reassembly *r = base_slab_alloc(&a->slab);
    if (r == NULL) {
        stats_drop(ip->stats, STATS_DROP_FRAGMENT_EVICTED);
        forget(ip, oldest(ip));
        r = base_slab_alloc(&a->slab);
    }
    memset(r, 0, entry_size(&ip->config));
    r->source = x->source;
    r->target = x->target;
    r->id = x->id;
    r->port = f->index;
    memcpy(r->from, f->source, 6);
    r->packet = p;
    r->room = packet_tailroom(p) < ip->config.datagram ? packet_tailroom(p) : ip->config.datagram;
    r->since_ns = f->now;
    base_list_push_back(bucket_of(ip, x), &r->bucket);
    base_list_push_back(&a->age, &r->age);
    return r;
}

/* ---- a fragment ---- */

/* Of blocks that are here already: is it one of the fragments that brought them, byte for byte?  The network may double one (RFC 8200 section
 * 4.5). */
static bool is_again(const struct ip *ip, const struct reassembly *r, const struct ip_fragment *x, uint32_t from, uint32_t to)
{
    uint32_t last = 64 * ip->reassembler.words;
    const uint64_t *got = r->bits, *starts = r->bits + ip->reassembler.words;
    bool begins = count(starts, from, from + 1) == 1 && count(starts, from + 1, to) == 0;
    bool ends = to == last || count(got, to, to + 1) == 0 || count(starts, to, to + 1) == 1;
    return begins && ends && count(got, from, to) == to - from && x->more == (r->end != x->offset + x->len) &&
           memcmp(packet_data(r->packet) + x->offset, x->data, x->len) == 0;
}

/* STATS_DROP_COUNT: nothing speaks against it. */
static enum stats_drop judge(const struct ip *ip, const struct reassembly *r, const struct ip_fragment *x)
{
    uint32_t stop = x->offset + x->len, from = x->offset / BLOCK, to = (stop + BLOCK - 1) / BLOCK;
    if (stop > r->room)
        return STATS_DROP_FRAGMENT_TOO_LARGE;
    /* beyond the end that another one has set, or an end before what another one has brought */
    if ((r->end != 0 && stop > r->end) || (!x->more && stop < r->seen))
        return STATS_DROP_FRAGMENT_OVERLAP;
    if (count(r->bits, from, to) == 0)
        return STATS_DROP_COUNT;
    return is_again(ip, r, x, from, to) ? STATS_DROP_FRAGMENT_DUPLICATE : STATS_DROP_FRAGMENT_OVERLAP;
}

static void take(struct ip *ip, struct reassembly *r, const struct ip_fragment *x)
{
    uint32_t stop = x->offset + x->len, from = x->offset / BLOCK, to = (stop + BLOCK - 1) / BLOCK;
    uint8_t *data = packet_data(r->packet);
    memcpy(data + x->offset, x->data, x->len);
    set(r->bits, from, to);
    set(r->bits + ip->reassembler.words, from, from + 1);
    r->blocks += to - from;
    r->seen = stop > r->seen ? stop : r->seen;
    if (!x->more)
        r->end = stop;
    if (x->offset == 0) {
        memcpy(data - x->head_len, x->head, x->head_len);
        r->head_len = x->head_len;
        r->first_len = x->len;
    }
}

/* ---- a datagram ---- */

static void head4(uint8_t *h, uint32_t head_len, uint32_t total)
{
    store16(h + 2, (uint16_t)total);
    store16(h + 6, 0);
    store16(h + 10, 0);
    store16_raw(h + 10, (uint16_t)~ip_sum_fold(ip_sum_short(h, head_len)));
}

/* RFC 8200 section 4.5: the fragment header goes, and what pointed at it points at what followed it. */
static uint8_t *head6(uint8_t *h, uint32_t head_len, uint32_t data)
{
    uint32_t keep = head_len - FRAGMENT_LEN;
    h[ip_next_field(h, keep)] = h[keep];
    store16(h + 4, (uint16_t)(keep - IP6_LEN + data));
    memmove(h + FRAGMENT_LEN, h, keep);
    return h + FRAGMENT_LEN;
}

/* RFC 6980 section 5: neighbour discovery is never fragmented.  The first fragment held all headers (fragment.c). */
static bool is_nd(const uint8_t *h, uint32_t len)
{
    uint8_t next = h[6];
    uint32_t at = IP6_LEN;
    enum stats_drop why;
    return ip_skip_extensions(h, len, &next, &at, &why) && next == PROTO_ICMP6 && len > at && h[at] >= ICMP6_ROUTER_SOLICIT &&
           h[at] <= ICMP6_REDIRECT;
}

/* It is a frame again, as the port would have received it in one piece: it may go to another worker. */
static enum ip_verdict finish(struct ip *ip, struct frame *f, struct reassembly *r)
{
    struct packet *p = r->packet;
    bool v6 = !base_addr_is_v4(&r->source);
    uint32_t head_len = r->head_len;
    packet_append(p, r->end);
    uint8_t *h = packet_prepend(p, head_len);
    r->packet = NULL;
    forget(ip, r);
    if (packet_len(p) > UINT16_MAX)
        return drop(ip, p, STATS_DROP_FRAGMENT_TOO_LARGE);
    if (v6) {
        h = head6(h, head_len, packet_len(p) - head_len);
        packet_adj(p, FRAGMENT_LEN);
        if (is_nd(h, packet_len(p)))
            return drop(ip, p, STATS_DROP_ND_MALFORMED);
    } else {
        head4(h, head_len, packet_len(p));
    }
    ip_ethernet(packet_prepend(p, f->port->l2_len), f->port, f->port->c.mac, f->source, v6 ? ETH_TYPE_IP6 : ETH_TYPE_IP4);
    stats_count(ip->stats, STATS_IP_REASSEMBLED, 1);
    *f->result = (struct ip_result){.whole = p};
    return IP_WHOLE;
}

enum ip_verdict reassembly_input(struct ip *ip, struct frame *f, const struct ip_fragment *x)
{
    struct reassembly *r = find(ip, f->index, x);
    if (r != NULL && r->packet == NULL)
        return drop(ip, f->packet, STATS_DROP_FRAGMENT_REFUSED);
    if (r == NULL)
        r = make(ip, f, x);
    if (r == NULL) {
        packet_free(f->packet);
        return IP_DONE;
    }
    enum stats_drop why = judge(ip, r, x);
    if (why != STATS_DROP_COUNT) {
        if (why != STATS_DROP_FRAGMENT_DUPLICATE)
            refuse(r);
        return drop(ip, f->packet, why);
    }
    take(ip, r, x);
    packet_free(f->packet);
    if (r->head_len == 0 || r->end == 0 || r->blocks != (r->end + BLOCK - 1) / BLOCK)
        return IP_DONE;
    return finish(ip, f, r);
}

/* ---- time, and the end ---- */

/* RFC 1122 section 3.3.2, RFC 8200 section 4.5: told to the sender, if the first fragment is here. */
static void tell(struct ip *ip, struct reassembly *r, uint64_t now)
{
    if (r->packet == NULL || r->head_len == 0)
        return;
    packet_append(r->packet, r->first_len);
    struct icmp_offence o = {.source = r->source, .target = r->target, .packet = packet_prepend(r->packet, r->head_len),
                             .len = r->head_len + r->first_len, .port = r->port, .to = r->from};
    icmp_error_out(ip, &o, base_addr_is_v4(&r->source) ? ICMP_TIME_EXCEEDED : ICMP6_TIME_EXCEEDED, ICMP_REASSEMBLY_TIME, 0, now);
}

void reassembly_tick(struct ip *ip, uint64_t now)
{
    for (struct reassembly *r; (r = oldest(ip)) != NULL && now - r->since_ns >= LIFETIME_NS;) {
        if (r->packet != NULL)
            stats_drop(ip->stats, STATS_DROP_FRAGMENT_TIMEOUT);
        tell(ip, r, now);
        forget(ip, r);
    }
}

void reassembly_destroy(struct ip *ip)
{
    for (struct reassembly *r; (r = oldest(ip)) != NULL;)
        forget(ip, r);
}

void reassembly_check(const struct ip *ip)
{
    const struct reassembler *a = &ip->reassembler;
    uint32_t n = 0;
    uint64_t before = 0;
    base_list_each (it, &a->age) {
        const struct reassembly *r = base_container(it, struct reassembly, age);
        n++;
        assert(r->since_ns >= before);
        before = r->since_ns;
        assert(r->packet == NULL || (packet_len(r->packet) == 0 && r->seen <= r->room && r->room <= 64 * BLOCK * a->words));
        assert(count(r->bits, 0, 64 * a->words) == r->blocks && r->blocks <= (r->seen + BLOCK - 1) / BLOCK);
        assert(r->end == 0 || r->end == r->seen);
        assert((r->head_len != 0) == ((r->bits[0] & 1) != 0));
    }
    assert(n == a->slab.in_use);
    (void)n, (void)before;
}
