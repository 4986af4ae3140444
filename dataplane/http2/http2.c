/* Making and unmaking: the worker's part and its connections. */
#include "internal.h"

#include <sys/random.h>

void http2_config_defaults(struct http2_config *c, enum http2_role role)
{
    *c = (struct http2_config){
        .role = role,
        .max_concurrent_streams = 100,
        .initial_window = 65535,
        .conn_window = 1 << 20,
        .max_frame_size = FRAME_SIZE_MIN,
        .max_header_list_size = HPACK_BLOCK,
        .header_table_size = HPACK_TABLE_MAX,
        .encoder_table_size = HPACK_TABLE_MAX,
        .bounds = &http2_bounds_default,
    };
}

static uint32_t bucket_count(const struct http2_limits *l)
{
    uint32_t n = 64;
    while (n < l->streams)
        n *= 2;
    return n;
}

/* RST_STREAM frames that wait: for all connections together. */
static uint32_t reset_count(const struct http2_limits *l)
{
    return RESETS_QUEUE + l->streams / 4;
}

static uint32_t known_count(const struct http2_limits *l)
{
    return l->connections < 64 ? 2 * KNOWN_WAYS : KNOWN_LISTS;
}

/* Of a block, and of the largest list. */
static uint32_t block_room(const struct http2_limits *l)
{
    return l->header_list > HPACK_BLOCK ? l->header_list : HPACK_BLOCK;
}

size_t http2_footprint(const struct http2_limits *l)
{
    return base_align(sizeof(struct http2)) + base_slab_footprint(sizeof(struct http2_conn), l->connections) +
           base_slab_footprint(sizeof(struct stream), l->streams) + base_slab_footprint(sizeof(struct block) + block_room(l), l->blocks) +
           base_slab_footprint(sizeof(struct reset), reset_count(l)) + base_align(bucket_count(l) * sizeof(uint32_t)) +
           base_align(known_count(l) * sizeof(struct known)) +
           hpack_footprint(l->connections, block_room(l));
}

struct http2 *http2_create(struct base_arena *arena, const struct http2_limits *l, struct stats *stats)
{
    struct http2 *h = base_arena_take(arena, sizeof(*h));
    h->stats = stats;
    base_slab_init(&h->conns, arena, "http2_connections", sizeof(struct http2_conn), l->connections);
    base_slab_init(&h->streams, arena, "http2_streams", sizeof(struct stream), l->streams);
    base_slab_init(&h->blocks, arena, "http2_blocks", sizeof(struct block) + block_room(l), l->blocks);
    base_slab_init(&h->resets, arena, "http2_resets", sizeof(struct reset), reset_count(l));
    h->buckets = base_arena_take(arena, bucket_count(l) * sizeof(uint32_t));
    h->known = base_arena_take(arena, known_count(l) * sizeof(struct known));
    h->known_sets = known_count(l) / KNOWN_WAYS;
    base_list_init(&h->holders);
    base_list_init(&h->resetting);
    base_list_init(&h->evicted);
    h->bucket_mask = bucket_count(l) - 1;
    hpack_context_init(&h->hpack, arena, l->connections, block_room(l));
    if (getrandom(&h->key, sizeof(h->key), 0) != sizeof(h->key)) /* no entropy yet: where the loader put us is better than nothing */
        h->key.k[0] = base_mix64((uintptr_t)arena->base ^ (uintptr_t)&h);
    stats_object_add(stats, h->conns.name, &h->conns.in_use, h->conns.capacity);
    stats_object_add(stats, h->streams.name, &h->streams.in_use, h->streams.capacity);
    stats_object_add(stats, h->blocks.name, &h->blocks.in_use, h->blocks.capacity);
    for (int i = 0; i < HPACK_CLASSES; i++)
        stats_object_add(stats, h->hpack.slabs[i].name, &h->hpack.slabs[i].in_use, h->hpack.slabs[i].capacity);
    return h;
}

static uint32_t clamp(uint32_t v, uint32_t low, uint32_t high)
{
    return v < low ? low : v > high ? high : v;
}

static void config_take(struct http2_conn *c, const struct http2_config *config)
{
    c->config = *config;
    c->config.initial_window = clamp(config->initial_window, 1, WINDOW_MAX);
    c->config.conn_window = clamp(config->conn_window, WINDOW_DEFAULT, WINDOW_MAX);
    c->config.max_frame_size = clamp(config->max_frame_size, FRAME_SIZE_MIN, 0xffffff);
    c->config.max_header_list_size = clamp(config->max_header_list_size, 1, c->h->hpack.block);
    if (config->bounds == NULL)
        c->config.bounds = &http2_bounds_default;
    c->config.header_table_size = clamp(config->header_table_size, 0, HPACK_TABLE_MAX);
    c->config.encoder_table_size = clamp(config->encoder_table_size, 0, HPACK_TABLE_MAX);
}

struct http2_conn *http2_conn_create(struct http2 *h, const struct http2_config *config, void *user)
{
    struct http2_conn *c = base_slab_alloc(&h->conns);
    if (c == NULL)
        return NULL;
    memset(c, 0, sizeof(*c));
    c->h = h;
    c->index = base_slab_index(&h->conns, c);
    c->user = user;
    base_list_init(&c->streams);
    base_list_init(&c->control);
    base_list_init(&c->holding);
    base_list_init(&c->resetting);
    config_take(c, config);
    c->client = config->role == HTTP2_CLIENT;
    c->phase = c->client ? PHASE_HEADER : PHASE_PREFACE;
    c->next_id = 1;
    if (c->client)
        c->goaway_left = UINT32_MAX;
    c->preface_pending = true;
    c->send_window = c->recv_window = WINDOW_DEFAULT;
    c->recv_credit = c->config.conn_window - WINDOW_DEFAULT;
    c->credit_pending = c->recv_credit > 0;
    c->recv_target = c->config.conn_window;
    c->recv_initial = c->config.initial_window > WINDOW_DEFAULT ? c->config.initial_window : WINDOW_DEFAULT;
    c->peer_max_streams = STREAMS_UNTIL_SETTINGS;
    c->peer_initial = WINDOW_DEFAULT;
    c->peer_max_frame = FRAME_SIZE_MIN;
    c->peer_max_list = UINT32_MAX;
    c->flood_ns = h->now_ns;
    hpack_decoder_init(&c->decoder, c->config.header_table_size);
    hpack_encoder_init(&c->encoder, c->config.encoder_table_size);
    return c;
}

void http2_conn_destroy(struct http2_conn *c)
{
    struct http2 *h = c->h;
    base_list_each_safe (l, &c->control) { /* first: the released ones are in this list alone */
        struct stream *s = base_container(l, struct stream, control);
        http2_stream_free(s);
    }
    while (!base_list_empty(&c->streams))
        http2_stream_free(base_container(c->streams.next, struct stream, link));
    http2_resets_drop(c);
    base_list_remove(&c->holding);
    if (c->block != NULL)
        base_slab_free(&h->blocks, c->block);
    hpack_table_destroy(&c->decoder.table, &h->hpack, true);
    hpack_table_destroy(&c->encoder.table, &h->hpack, false);
    base_slab_free(&h->conns, c);
}

/* The input machine's, the streams', windows, and the blocks seen last. */
void http2_expect(const struct http2_conn *c)
{
    const uint8_t *at = (const uint8_t *)c;
    for (uint32_t line = 0; line < 5; line++)
        __builtin_prefetch(at + line * BASE_CACHE_LINE, 1);
    __builtin_prefetch(&c->flood, 1);
    __builtin_prefetch(&c->decoder, 1);
    __builtin_prefetch(c->decoder.seen, 1);
}

void http2_expect_out(const struct http2_conn *c)
{
    __builtin_prefetch(c, 1);
    __builtin_prefetch(&c->next_id, 1);
    __builtin_prefetch(&c->send_window, 1);
    __builtin_prefetch(&c->credit_pending, 1);
    __builtin_prefetch(&c->peer_initial, 1);
    __builtin_prefetch(&c->flood, 1);
    __builtin_prefetch(&c->encoder, 1);
    __builtin_prefetch(c->encoder.seen, 1);
}

void *http2_conn_user(const struct http2_conn *c)
{
    return c->user;
}

bool http2_opened(const struct http2_conn *c)
{
    return c->last_seen > 0;
}

uint32_t http2_last_id(const struct http2_conn *c)
{
    return c->client ? 0 : c->last_let;
}

void http2_conn_windows(const struct http2_conn *c, int32_t *send, int32_t *receive)
{
    *send = c->send_window;
    *receive = c->recv_window;
}

uint32_t http2_peer_header_list(const struct http2_conn *c)
{
    return c->peer_max_list;
}

bool http2_conn_sendable(const struct http2_conn *c)
{
    return c->send_window > 0;
}

uint32_t http2_streams_active(const struct http2_conn *c)
{
    return c->active;
}

bool http2_goaway_received(const struct http2_conn *c)
{
    return c->goaway_received;
}

bool http2_goaway_sent(const struct http2_conn *c)
{
    return c->goaway_sent;
}

bool http2_settings_received(const struct http2_conn *c)
{
    return c->peer_settings;
}

bool http2_ended(const struct http2_conn *c)
{
    return c->phase == PHASE_DEAD;
}

uint32_t http2_block_id(const struct http2_conn *c)
{
    return c->phase == PHASE_DEAD ? 0 : c->block_id;
}
