/* Fragments, beside a naive twin: in every order, twice, overlapping, too many, too late. */
#include "frames.h"

/* One datagram as the twin sees it: a list of what was taken, bytes with an owner. */
struct twin {
    struct {
        uint32_t offset, len;
        bool more;
    } taken[600];
    uint32_t count, end, room;
    bool dead;
    int owner[4096];
    uint8_t data[4096];
};

enum outcome { HELD, WHOLE, AGAIN, OVERLAP, LARGE, REFUSED };

static void twin_reset(struct twin *t, uint32_t room)
{
    memset(t, 0, sizeof(*t));
    t->room = room;
    for (size_t i = 0; i < 4096; i++)
        t->owner[i] = -1;
}

static bool twin_full(const struct twin *t)
{
    if (t->end == 0)
        return false;
    for (uint32_t i = 0; i < t->end; i++)
        if (t->owner[i] < 0)
            return false;
    return true;
}

static enum outcome twin_feed(struct twin *t, uint32_t offset, uint32_t len, bool more, const uint8_t *data)
{
    if (t->dead)
        return REFUSED;
    if (offset + len > t->room) {
        t->dead = true;
        return LARGE;
    }
    for (uint32_t i = 0; i < t->count; i++)
        if (t->taken[i].offset == offset && t->taken[i].len == len && t->taken[i].more == more && memcmp(t->data + offset, data, len) == 0)
            return AGAIN;
    bool clash = t->end != 0 && (offset + len > t->end || !more);
    for (uint32_t i = 0; i < 4096; i++)
        clash |= t->owner[i] >= 0 && ((i >= offset && i < offset + len) || (!more && i >= offset + len));
    if (clash) {
        t->dead = true;
        return OVERLAP;
    }
    for (uint32_t i = 0; i < len; i++) {
        t->owner[offset + i] = (int)t->count;
        t->data[offset + i] = data[i];
    }
    t->taken[t->count].offset = offset;
    t->taken[t->count].len = len;
    t->taken[t->count++].more = more;
    if (!more)
        t->end = offset + len;
    return twin_full(t) ? WHOLE : HELD;
}

/* ---- fragments of a frame ---- */

/* Bytes [offset, offset + len) of what lies behind the IP header of `whole`. */
static void piece(struct frame_bytes *f, const struct frame_bytes *whole, uint32_t offset, uint32_t len, bool more, uint32_t id)
{
    bool v6 = whole->b[12] == 0x86;
    uint32_t head = v6 ? 54 : 34;
    f->n = 0;
    put(f, whole->b, head);
    if (v6) {
        put(f, (uint8_t[2]){whole->b[20], 0}, 2);
        put16(f, (uint16_t)(offset | more));
        put32(f, id);
        f->b[20] = 44;
    }
    put(f, whole->b + head + offset, len);
    uint32_t size = f->n - (v6 ? 54 : 14);
    f->b[v6 ? 18 : 16] = (uint8_t)(size >> 8);
    f->b[v6 ? 19 : 17] = (uint8_t)size;
    if (!v6) {
        f->b[18] = (uint8_t)(id >> 8);
        f->b[19] = (uint8_t)id;
        f->b[20] = (uint8_t)((more ? 0x20 : 0) | offset >> 11);
        f->b[21] = (uint8_t)(offset >> 3);
        reseal_ip4(f, 14);
    }
}

static enum outcome outcome_of(struct host *h, const struct frame_bytes *f, enum ip_verdict *verdict)
{
    static const enum stats_drop reason[] = {[AGAIN] = STATS_DROP_FRAGMENT_DUPLICATE, [OVERLAP] = STATS_DROP_FRAGMENT_OVERLAP,
                                             [LARGE] = STATS_DROP_FRAGMENT_TOO_LARGE, [REFUSED] = STATS_DROP_FRAGMENT_REFUSED};
    uint64_t before[6] = {0}, all = all_drops(h);
    uint32_t wholes = h->wholes;
    for (int i = AGAIN; i <= REFUSED; i++)
        before[i] = drops(h, reason[i]);
    *verdict = feed_frame(h, f);
    if (h->wholes > wholes)
        return WHOLE;
    assert_int_equal(*verdict, IP_DONE);
    for (int i = AGAIN; i <= REFUSED; i++)
        if (drops(h, reason[i]) != before[i])
            return (enum outcome)i;
    assert_int_equal(all_drops(h), all);
    return HELD;
}

static void same_segment(const struct host *h, const struct frame_bytes *whole)
{
    uint32_t at = whole->b[12] == 0x86 ? 54 : 34;
    assert_int_equal(packet_len(h->segment), whole->n - at);
    assert_memory_equal(packet_data(h->segment), whole->b + at, whole->n - at);
    struct base_flow want = flow_to(at == 54 ? "2001:db8::2" : "198.18.0.2", at == 54 ? "2001:db8::1" : "198.18.0.1");
    assert_true(base_flow_eq(&h->result.flow, &want));
}

static uint32_t held(const struct host *h)
{
    return packet_pool_in_use(h->pool) - (h->segment != NULL && packet_pool_of(h->segment) == h->pool);
}

/* ---- every split in every order ---- */

struct cut {
    uint32_t offset, len;
};

static void one_order(struct host *h, const struct frame_bytes *whole, const struct cut *cuts, const uint32_t *order, uint32_t n, uint32_t id)
{
    uint32_t size = whole->n - (whole->b[12] == 0x86 ? 54 : 34);
    for (uint32_t i = 0; i < n; i++) {
        struct frame_bytes f;
        const struct cut *c = &cuts[order[i]];
        enum ip_verdict v;
        piece(&f, whole, c->offset, c->len, c->offset + c->len < size, id);
        enum outcome got = outcome_of(h, &f, &v);
        assert_int_equal(got, i + 1 < n ? HELD : WHOLE);
        assert_int_equal(v, i + 1 < n ? IP_DONE : IP_TCP);
        assert_int_equal(held(h), i + 1 < n);
    }
    same_segment(h, whole);
}

static void all_orders(struct host *h, const struct frame_bytes *whole, const struct cut *cuts, uint32_t *order, uint32_t n, uint32_t k, uint32_t *id)
{
    if (k == n) {
        one_order(h, whole, cuts, order, n, ++*id);
        return;
    }
    for (uint32_t i = k; i < n; i++) {
        uint32_t x = order[k];
        order[k] = order[i];
        order[i] = x;
        all_orders(h, whole, cuts, order, n, k + 1, id);
        order[i] = order[k];
        order[k] = x;
    }
}

static void every_split_in_every_order_comes_out_whole(void **state)
{
    (void)state;
    struct host h;
    host_open(&h, 16, 16);
    uint32_t id = 0;
    for (int v6 = 0; v6 < 2; v6++)
        for (uint32_t data = 30; data <= 37; data++) { /* 50 to 57 bytes of TCP: the end on and off a boundary */
            struct frame_bytes whole;
            (v6 ? frame_tcp6 : frame_tcp4)(&whole, data);
            uint32_t size = 20 + data, blocks = (size + 7) / 8, inner = blocks - 3; /* cuts behind block 3, 4, … */
            for (uint32_t set = 1; set < 1u << inner; set++) {
                struct cut cuts[16];
                uint32_t order[16], n = 0, from = 0;
                for (uint32_t b = 3; b <= blocks; b++)
                    if (b == blocks || set >> (b - 3) & 1) {
                        uint32_t to = b == blocks ? size : b * 8;
                        order[n] = n;
                        cuts[n++] = (struct cut){from, to - from};
                        from = to;
                    }
                all_orders(&h, &whole, cuts, order, n, 0, &id);
            }
        }
    assert_int_equal(h.wholes, id);
    assert_int_equal(stats_read(&h.stats->counters[STATS_IP_REASSEMBLED]), id);
    assert_int_equal(all_drops(&h), 0);
    assert_true(id > 3000);
    host_close(&h);
}

/* ---- beside the twin ---- */

static uint64_t seed = 88172645463325252ull;

static uint32_t draw(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 33) % below;
}

/* A fragment that the network or a stranger might send: a true one, one cut anew, one with another byte. */
static bool stray(struct frame_bytes *f, struct cut *c, bool *more, const struct frame_bytes *whole, uint32_t size, uint32_t id)
{
    *c = (struct cut){draw(size / 8 + 1) * 8, 0};
    c->len = (1 + draw(12)) * 8;
    *more = draw(4) != 0;
    if (c->offset + c->len > size || !*more)
        c->len = c->offset < size ? size - c->offset : 8;
    if (*more)
        c->len &= ~7u;
    if (c->len == 0 || c->offset + c->len > size || (c->offset == 0 ? c->len < 24 || !*more : c->offset < 24))
        return false;
    piece(f, whole, c->offset, c->len, *more, id);
    return true;
}

static void twin_round(struct host *h, struct twin *t, uint32_t id, uint32_t tally[6])
{
    struct frame_bytes whole;
    bool v6 = draw(2);
    uint32_t data = 180 + draw(1250), /* two fragments at least */
              size = 20 + data, at = v6 ? 54 : 34;
    (v6 ? frame_tcp6 : frame_tcp4)(&whole, data);
    twin_reset(t, PACKET_ROOM);
    struct cut cuts[200];
    uint32_t n = 0, wild = draw(3);
    for (uint32_t from = 0; from < size; n++) {
        uint32_t len = (3 + draw(20)) * 8;
        cuts[n] = (struct cut){from, from + len < size ? len : size - from};
        from += cuts[n].len;
    }
    for (uint32_t i = n - 1; i > 0; i--) {
        uint32_t k = draw(i + 1);
        struct cut x = cuts[i];
        cuts[i] = cuts[k];
        cuts[k] = x;
    }
    for (uint32_t i = 0; i < n;) {
        struct frame_bytes f;
        struct cut c = cuts[i];
        bool more = c.offset + c.len < size, strange = wild > 0 && draw(wild == 1 ? 3 : 12) == 0;
        uint32_t what = draw(4);
        if (strange && what == 0 && i > 0)
            c = cuts[draw(i)]; /* again */
        else if (strange && what == 1 && !stray(&f, &c, &more, &whole, size, id))
            continue;
        else
            i++;
        if (!(strange && what == 1)) {
            more = c.offset + c.len < size;
            piece(&f, &whole, c.offset, c.len, more, id);
        }
        if (strange && what == 2)
            f.b[f.n - 1] ^= 0xff; /* not the same byte */
        enum ip_verdict v;
        enum outcome want = twin_feed(t, c.offset, c.len, more, f.b + f.n - c.len), got = outcome_of(h, &f, &v);
        assert_int_equal(got, want);
        tally[got]++;
        if (got == WHOLE) {
            bool true_bytes = memcmp(t->data, whole.b + at, size) == 0 && t->end == size;
            assert_int_equal(v, true_bytes ? IP_TCP : IP_DONE); /* the checksum tells */
            if (v == IP_TCP)
                same_segment(h, &whole);
            break;
        }
    }
    h->now += 61 * SECOND;
    ip_tick(h->ip, h->now);
    host_discard(h);
    assert_int_equal(held(h), 0);
}

static void a_naive_twin_agrees(void **state)
{
    (void)state;
    struct host h;
    static struct twin t;
    uint32_t tally[6] = {0};
    host_open(&h, 16, 64);
    for (uint32_t id = 1; id <= 6000; id++)
        twin_round(&h, &t, id, tally);
    assert_true(tally[WHOLE] > 2000 && tally[AGAIN] > 200 && tally[OVERLAP] > 500 && tally[REFUSED] > 500);
    host_close(&h);
}

/* Two fragments, every pair of ranges: whole, held, again or overlapping as the twin says. */
static void every_pair_of_ranges_is_judged_as_the_twin_does(void **state)
{
    (void)state;
    struct host h;
    static struct twin t;
    struct frame_bytes whole, f;
    host_open(&h, 16, 64);
    frame_tcp4(&whole, 60);
    uint32_t id = 0, size = 80;
    for (uint32_t a = 24; a < size; a += 8)
        for (uint32_t b = a + 8; b <= size; b += 8)
            for (uint32_t c = 24; c < size; c += 8)
                for (uint32_t d = c + 8; d <= size; d += 8)
                    for (unsigned more = 0; more < 4; more++) {
                        enum ip_verdict v;
                        twin_reset(&t, PACKET_ROOM);
                        id = id % 60000 + 1;
                        piece(&f, &whole, a, b - a, more & 1, id);
                        assert_int_equal(outcome_of(&h, &f, &v), twin_feed(&t, a, b - a, more & 1, f.b + 34));
                        piece(&f, &whole, c, d - c, more >> 1, id);
                        assert_int_equal(outcome_of(&h, &f, &v), twin_feed(&t, c, d - c, more >> 1, f.b + 34));
                        h.now += 61 * SECOND;
                        ip_tick(h.ip, h.now);
                    }
    host_close(&h);
}

/* ---- what is refused ---- */

static void feed_piece(struct host *h, bool v6, uint32_t data, uint32_t offset, uint32_t len, bool more, uint32_t id)
{
    struct frame_bytes whole, f;
    (v6 ? frame_tcp6 : frame_tcp4)(&whole, data);
    piece(&f, &whole, offset, len, more, id);
    feed_frame(h, &f);
}

static void malformed_and_tiny_ones_leave_nothing_behind(void **state)
{
    (void)state;
    struct host h;
    host_open(&h, 16, 16);
    for (int v6 = 0; v6 < 2; v6++) {
        uint64_t before = drops(&h, STATS_DROP_FRAGMENT_MALFORMED), tiny = drops(&h, STATS_DROP_FRAGMENT_TINY);
        for (uint32_t len = 25; len < 32; len++)
            feed_piece(&h, v6, 100, 0, len, true, 1); /* not the last, and no multiple of eight: RFC 8200 section 4.5 */
        feed_piece(&h, v6, 100, 40, 0, false, 1);
        feed_piece(&h, v6, 100, 40, 0, true, 1);
        assert_int_equal(drops(&h, STATS_DROP_FRAGMENT_MALFORMED), before + 9);
        for (uint32_t len = 8; len < 24; len += 8)
            feed_piece(&h, v6, 100, 0, len, true, 1); /* RFC 1858: the flags are in the next one */
        for (uint32_t offset = 8; offset < 24; offset += 8)
            feed_piece(&h, v6, 100, offset, 24, true, 1); /* …or overwritten by it */
        assert_int_equal(drops(&h, STATS_DROP_FRAGMENT_TINY), tiny + 4);
    }
    assert_int_equal(held(&h), 0);
    assert_int_equal(h.wholes, 0);
    host_close(&h);
}

static void datagrams_beyond_the_buffer_are_refused_once_and_for_all(void **state)
{
    (void)state;
    struct host h;
    host_open(&h, 16, 16);
    for (int v6 = 0; v6 < 2; v6++)
        for (int farthest = 0; farthest < 2; farthest++) {
            struct frame_bytes whole, f;
            uint32_t id = 7 + (uint32_t)farthest;
            uint64_t large = drops(&h, STATS_DROP_FRAGMENT_TOO_LARGE), late = drops(&h, STATS_DROP_FRAGMENT_REFUSED);
            (v6 ? frame_tcp6 : frame_tcp4)(&whole, 1000);
            piece(&f, &whole, 0, 800, true, id);
            feed_frame(&h, &f);
            assert_int_equal(held(&h), 1);
            piece(&f, &whole, 0, 800, true, id);
            uint32_t offset = farthest ? 65528 : 1256; /* 1256 + 800 > 2048; and the ping of death */
            f.b[v6 ? 56 : 20] = (uint8_t)(v6 ? offset >> 8 : offset >> 11);
            f.b[v6 ? 57 : 21] = (uint8_t)(v6 ? offset : offset >> 3);
            if (!v6)
                reseal_ip4(&f, 14);
            feed_frame(&h, &f);
            assert_int_equal(drops(&h, STATS_DROP_FRAGMENT_TOO_LARGE), large + 1);
            assert_int_equal(held(&h), farthest); /* what no datagram could hold is not believed to be of one */
            feed_piece(&h, v6, 1000, 800, 220, false, id);
            assert_int_equal(drops(&h, STATS_DROP_FRAGMENT_REFUSED), late + !farthest);
            assert_int_equal(held(&h), 0);
        }
    assert_int_equal(h.wholes, 2);
    host_close(&h);
}

/* What differs in anything that names a datagram is of another one. */
static void strangers_do_not_mix(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes whole, f;
    host_open(&h, 16, 16);
    for (int v6 = 0; v6 < 2; v6++) {
        (v6 ? frame_tcp6 : frame_tcp4)(&whole, 100);
        piece(&f, &whole, 0, 64, true, 5);
        feed_frame(&h, &f);
        uint32_t entries = held(&h);
        piece(&f, &whole, 64, 56, false, 6);
        assert_int_equal(feed_frame(&h, &f), IP_DONE);
        piece(&f, &whole, 64, 56, false, 5);
        f.b[v6 ? 14 + 23 : 14 + 15] = 77; /* another source */
        if (!v6)
            reseal_ip4(&f, 14);
        assert_int_equal(feed_frame(&h, &f), IP_DONE);
        assert_int_equal(held(&h), entries + 2);
        if (!v6) { /* identifications are a protocol's own */
            piece(&f, &whole, 64, 56, false, 5);
            f.b[23] = 1;
            reseal_ip4(&f, 14);
            assert_int_equal(feed_frame(&h, &f), IP_DONE);
            assert_int_equal(held(&h), entries + 3);
        }
        piece(&f, &whole, 64, 56, false, 5);
        assert_int_equal(feed_frame(&h, &f), IP_TCP);
        same_segment(&h, &whole);
    }
    host_close(&h);
}

static void the_oldest_goes_first_at_the_limit(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f, whole;
    struct ip_config c;
    ip_config_defaults(&c);
    host_open(&h, 16, 16);
    frame_tcp4(&whole, 100);
    for (uint32_t id = 1; id <= c.reassemblies + 3; id++) {
        piece(&f, &whole, 0, 64, true, id);
        feed_frame(&h, &f);
        h.now += MS;
    }
    assert_int_equal(held(&h), c.reassemblies);
    assert_int_equal(drops(&h, STATS_DROP_FRAGMENT_EVICTED), 3);
    piece(&f, &whole, 64, 56, false, 4); /* the oldest that is left */
    assert_int_equal(feed_frame(&h, &f), IP_TCP);
    piece(&f, &whole, 64, 56, false, 3); /* gone: a new one begins */
    assert_int_equal(feed_frame(&h, &f), IP_DONE);
    assert_int_equal(drops(&h, STATS_DROP_FRAGMENT_EVICTED), 3);
    host_close(&h);
}

static void what_stays_incomplete_ends_after_a_minute(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f, whole;
    host_open(&h, 16, 16);
    frame_tcp4(&whole, 100);
    piece(&f, &whole, 64, 56, false, 1);
    feed_frame(&h, &f);
    h.now += 59 * SECOND;
    ip_tick(h.ip, h.now);
    host_discard(&h); /* announcements */
    piece(&f, &whole, 64, 56, false, 2);
    feed_frame(&h, &f);
    assert_int_equal(held(&h), 2);
    h.now += SECOND;
    ip_tick(h.ip, h.now); /* by the first that came, whatever came later */
    assert_int_equal(held(&h), 1);
    assert_int_equal(drops(&h, STATS_DROP_FRAGMENT_TIMEOUT), 1);
    h.now += 59 * SECOND;
    ip_tick(h.ip, h.now);
    assert_int_equal(held(&h), 0);
    assert_int_equal(drops(&h, STATS_DROP_FRAGMENT_TIMEOUT), 2);
    host_close(&h);
}

static void without_a_buffer_it_is_a_refusal(void **state)
{
    (void)state;
    struct host h;
    host_open(&h, 16, 16);
    h.pool->fail_at = 0;
    feed_piece(&h, false, 100, 0, 64, true, 1);
    assert_int_equal(drops(&h, STATS_DROP_IP_NO_BUFFER), 1);
    feed_piece(&h, false, 100, 0, 64, true, 1);
    feed_piece(&h, false, 100, 64, 56, false, 1);
    assert_int_equal(h.wholes, 1);
    host_close(&h);
}

/* ---- heads ---- */

static void options_and_tags_of_the_first_are_kept(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes whole, f;
    host_open(&h, 16, 16);
    h.port.vlan = 42;
    host_configure(&h);
    host_discard(&h);
    frame_tcp4(&whole, 100);
    for (int first_last = 0; first_last < 2; first_last++) {
        for (int k = 0; k < 2; k++) {
            bool first = k == first_last;
            piece(&f, &whole, first ? 0 : 64, first ? 64 : 56, first, 9);
            if (first) { /* with options, which only the first need have */
                memmove(f.b + 34 + 40, f.b + 34, f.n - 34);
                memset(f.b + 34, 1, 40);
                f.n += 40;
                f.b[14] = 0x4f;
                f.b[17] = (uint8_t)(f.b[17] + 40);
                reseal_ip4(&f, 14);
            }
            memmove(f.b + 16, f.b + 12, f.n - 12);
            f.n += 4;
            f.b[12] = 0x81;
            f.b[13] = 0;
            f.b[14] = 0;
            f.b[15] = 42;
            assert_int_equal(feed_frame(&h, &f), k == 0 ? IP_DONE : IP_TCP);
        }
        same_segment(&h, &whole);
    }
    host_close(&h);
}

/* An IPv6 fragment with `n` bytes of extension headers before the fragment header, the first of kind 60. */
static void piece_behind(struct frame_bytes *f, const struct frame_bytes *whole, uint32_t n, uint32_t offset, uint32_t len, bool more)
{
    piece(f, whole, offset, len, more, 3);
    memmove(f->b + 54 + n, f->b + 54, f->n - 54);
    f->n += n;
    memset(f->b + 54, 0, n);
    f->b[54] = 44;
    f->b[55] = (uint8_t)(n / 8 - 1);
    f->b[20] = 60;
    f->b[19] = (uint8_t)(f->n - 54);
}

static void headers_before_the_fragment_header_are_kept_as_far_as_there_is_room(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes whole, f;
    host_open(&h, 16, 16);
    frame_tcp6(&whole, 100);
    for (uint32_t n = 8; n <= 56; n += 8) {
        piece_behind(&f, &whole, n, 64, 56, false);
        assert_int_equal(feed_frame(&h, &f), IP_DONE);
        piece_behind(&f, &whole, n, 0, 64, true);
        assert_int_equal(feed_frame(&h, &f), IP_TCP);
        same_segment(&h, &whole);
    }
    piece_behind(&f, &whole, 64, 0, 64, true);
    assert_int_equal(feed_frame(&h, &f), IP_DONE);
    assert_int_equal(drops(&h, STATS_DROP_FRAGMENT_TOO_LARGE), 1);
    host_close(&h);
}

/* RFC 8200 section 4.5, RFC 7112: all headers in the first one; and no fragments of fragments. */
static void headers_behind_the_fragment_header(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes whole, f, tcp;
    host_open(&h, 16, 16);
    frame_tcp6(&tcp, 60);
    put_eth(&whole, our_mac, peer_mac, 0x86dd);
    put(&whole, tcp.b + 14, 40);
    whole.b[20] = 60;
    put(&whole, (uint8_t[16]){6, 1, 1, 12}, 16);
    put(&whole, tcp.b + 54, tcp.n - 54);
    for (uint32_t len = 8; len < 40; len += 8) {
        piece(&f, &whole, 0, len, true, 4);
        feed_frame(&h, &f);
    }
    assert_int_equal(drops(&h, STATS_DROP_FRAGMENT_TINY), 4);
    piece(&f, &whole, 40, 56, false, 4);
    feed_frame(&h, &f);
    piece(&f, &whole, 0, 40, true, 4);
    assert_int_equal(feed_frame(&h, &f), IP_TCP);
    assert_int_equal(packet_len(h.segment), tcp.n - 54);
    assert_memory_equal(packet_data(h.segment), tcp.b + 54, tcp.n - 54);
    whole.b[20] = 44; /* a fragment of a fragment */
    memcpy(whole.b + 54, (uint8_t[16]){60, 0, 0, 1, 0, 0, 0, 9, 6, 0, 1, 4}, 16);
    piece(&f, &whole, 0, 40, true, 5);
    feed_frame(&h, &f);
    assert_int_equal(drops(&h, STATS_DROP_FRAGMENT_MALFORMED), 1);
    whole.b[54 + 3] = 0; /* an atomic one is none */
    piece(&f, &whole, 0, 40, true, 6);
    feed_frame(&h, &f);
    piece(&f, &whole, 40, 56, false, 6);
    assert_int_equal(feed_frame(&h, &f), IP_TCP);
    host_close(&h);
}

/* RFC 6980: whole, atomic or in pieces. */
static void neighbour_discovery_is_never_in_fragments(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes whole, f;
    struct base_addr peer = addr("2001:db8::1");
    host_open(&h, 16, 16);
    host_discard(&h);
    frame_na(&whole, "2001:db8::1", other_mac, NA_S | NA_O);
    piece(&f, &whole, 0, 16, true, 1);
    feed_frame(&h, &f);
    piece(&f, &whole, 16, 16, false, 1);
    feed_frame(&h, &f);
    piece(&f, &whole, 0, 32, false, 2);
    feed_frame(&h, &f);
    assert_int_equal(drops(&h, STATS_DROP_ND_MALFORMED), 2);
    frame_ns(&whole, "2001:db8::1", "2001:db8::2", peer_mac);
    piece(&f, &whole, 0, 32, false, 3);
    feed_frame(&h, &f);
    assert_int_equal(drops(&h, STATS_DROP_ND_MALFORMED), 3);
    piece(&f, &whole, 0, 16, true, 4); /* to a group: nothing so long is sent there */
    feed_frame(&h, &f);
    assert_int_equal(drops(&h, STATS_DROP_IP_FRAGMENT), 1);
    assert_int_equal(host_discard(&h), 0);
    assert_int_equal(ip_neighbour(h.ip, 0, &peer, NULL), IP_NEIGHBOUR_NONE);
    host_close(&h);
}

static void echoes_are_answered_as_far_as_a_frame_holds_them(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes whole, f;
    host_open(&h, 16, 16);
    for (int v6 = 0; v6 < 2; v6++)
        for (int beyond = 0; beyond < 2; beyond++) {
            uint32_t fits = 1500 - (v6 ? 48 : 28), data = fits + (beyond ? 100 : 0);
            (v6 ? frame_echo6 : frame_echo4)(&whole, data);
            piece(&f, &whole, 0, 1200, true, 3);
            feed_frame(&h, &f);
            piece(&f, &whole, 1200, whole.n - (v6 ? 54 : 34) - 1200, false, 3);
            feed_frame(&h, &f);
            if (v6 && beyond) { /* RFC 4443 section 4.2: all or nothing */
                assert_int_equal(drops(&h, STATS_DROP_ICMP_TOO_LARGE), 1);
                continue;
            }
            next_frame(&h, &f); /* RFC 1122 section 3.2.2.6: cut off */
            assert_int_equal(f.n, 14 + 1500);
            assert_true(sealed(f.b, 14, v6 ? 54 : 34, f.n, v6 ? 58 : 1));
            assert_memory_equal(f.b + (v6 ? 62 : 42), whole.b + (v6 ? 62 : 42), fits);
        }
    host_close(&h);
}

const struct CMUnitTest reassembly_tests[] = {
    cmocka_unit_test(every_split_in_every_order_comes_out_whole),
    cmocka_unit_test(a_naive_twin_agrees),
    cmocka_unit_test(every_pair_of_ranges_is_judged_as_the_twin_does),
    cmocka_unit_test(malformed_and_tiny_ones_leave_nothing_behind),
    cmocka_unit_test(datagrams_beyond_the_buffer_are_refused_once_and_for_all),
    cmocka_unit_test(strangers_do_not_mix),
    cmocka_unit_test(the_oldest_goes_first_at_the_limit),
    cmocka_unit_test(what_stays_incomplete_ends_after_a_minute),
    cmocka_unit_test(without_a_buffer_it_is_a_refusal),
    cmocka_unit_test(options_and_tags_of_the_first_are_kept),
    cmocka_unit_test(headers_before_the_fragment_header_are_kept_as_far_as_there_is_room),
    cmocka_unit_test(headers_behind_the_fragment_header),
    cmocka_unit_test(neighbour_discovery_is_never_in_fragments),
    cmocka_unit_test(echoes_are_answered_as_far_as_a_frame_holds_them),
};
const size_t reassembly_test_count = sizeof(reassembly_tests) / sizeof(*reassembly_tests);
