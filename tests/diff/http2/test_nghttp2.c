/* Do we agree with libnghttp2?  Its sessions against our connections, both ways: what one says the other must take without a complaint,
 * and every octet of every body, header and trailer must come out at the other end. */
#include "../../lib/http2/app.h"

#include <nghttp2/nghttp2.h>

struct peer_stream {
    int32_t id;
    struct peer_stream *next;
    uint32_t seed, send_len, sent, want_len, received, fields, got_fields;
    bool trailers, answered, got_status, got_trailers, ended, closed;
};

struct peer {
    nghttp2_session *session;
    bool client;
    struct peer_stream *streams;
    uint32_t finished, bad, errors;
    uint32_t last_error;
};

static struct peer_stream *peer_find(struct peer *p, int32_t id)
{
    struct peer_stream *s = p->streams;
    while (s != NULL && s->id != id)
        s = s->next;
    return s;
}

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static size_t peer_extra(nghttp2_nv *to, const struct peer_stream *s, app_text *text)
{
    struct base_headers h = {0};
    extra_fields(&h, s->fields, s->seed, text);
    for (uint32_t i = 0; i < h.count; i++)
        to[i] = nv((const char *)h.field[i].name, (const char *)h.field[i].value);
    return h.count;
}

static ssize_t peer_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t room, uint32_t *flags, nghttp2_data_source *source,
                         void *user)
{
    struct peer *p = user;
    struct peer_stream *s = source->ptr;
    uint32_t n = s->send_len - s->sent;
    if (n > room)
        n = (uint32_t)room;
    for (uint32_t i = 0; i < n; i++)
        buf[i] = body_byte(s->seed + p->client, s->sent + i);
    s->sent += n;
    if (s->sent < s->send_len)
        return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!p->client && s->trailers) {
        app_text text[160];
        nghttp2_nv fields[80] = {nv("grpc-status", "0")};
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        assert_int_equal(nghttp2_submit_trailer(session, id, fields, 1 + peer_extra(fields + 1, s, text)), 0);
    }
    return (ssize_t)n;
}

static void peer_answer(struct peer *p, struct peer_stream *s)
{
    app_text text[160];
    nghttp2_nv fields[80] = {nv(":status", "200"), nv("content-type", "application/grpc")};
    nghttp2_data_provider data = {{.ptr = s}, peer_read};
    assert_int_equal(nghttp2_submit_response(p->session, s->id, fields, 2 + peer_extra(fields + 2, s, text), &data), 0);
}

static void peer_call(struct peer *p, uint32_t seed, uint32_t send_len, uint32_t want_len, bool trailers, uint32_t n_fields)
{
    struct peer_stream *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    *s = (struct peer_stream){.next = p->streams, .seed = seed, .send_len = send_len, .want_len = want_len, .trailers = trailers,
                              .fields = n_fields};
    p->streams = s;
    app_text text[160], own[5];
    snprintf(own[0], 64, "%u", seed);
    snprintf(own[1], 64, "%u", send_len);
    snprintf(own[2], 64, "%u", want_len);
    snprintf(own[3], 64, "%u", n_fields);
    nghttp2_nv fields[100] = {nv(":method", "POST"),
                              nv(":scheme", "http"),
                              nv(":path", seed % 2 ? "/a.Service/Method" : "/b"),
                              nv(":authority", "example.org"),
                              nv("te", "trailers"),
                              nv("x-seed", own[0]),
                              nv("x-length", own[1]),
                              nv("x-answer", own[2]),
                              nv("x-fields", own[3]),
                              nv("x-trailers", trailers ? "1" : "0")};
    if (seed % 3 == 0)
        fields[9].flags |= NGHTTP2_NV_FLAG_NO_INDEX;
    nghttp2_data_provider data = {{.ptr = s}, peer_read};
    nghttp2_priority_spec spec;
    nghttp2_priority_spec_init(&spec, 0, 17, 1);
    s->id = nghttp2_submit_request(p->session, seed % 4 == 0 ? &spec : NULL, fields, 10 + peer_extra(fields + 10, s, text),
                                   send_len > 0 ? &data : NULL, NULL);
    assert_true(s->id > 0);
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct peer *p = user;
    (void)session;
    struct peer_stream *s = peer_find(p, frame->hd.stream_id);
    if (s == NULL) {
        s = calloc(1, sizeof(*s));
        assert_non_null(s);
        s->id = frame->hd.stream_id;
        s->next = p->streams;
        p->streams = s;
    }
    s->got_fields = 0;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len, const uint8_t *value,
                     size_t value_len, uint8_t flags, void *user)
{
    struct peer_stream *s = peer_find(user, frame->hd.stream_id);
    const char *n = (const char *)name, *v = (const char *)value;
    (void)session, (void)flags;
    if (strcmp(n, "x-seed") == 0)
        s->seed = (uint32_t)atoi(v);
    else if (strcmp(n, "x-length") == 0)
        s->want_len = (uint32_t)atoi(v);
    else if (strcmp(n, "x-answer") == 0)
        s->send_len = (uint32_t)atoi(v);
    else if (strcmp(n, "x-fields") == 0)
        s->fields = (uint32_t)atoi(v);
    else if (strcmp(n, "x-trailers") == 0)
        s->trailers = atoi(v) != 0;
    else if (strcmp(n, ":status") == 0)
        s->got_status = strcmp(v, "200") == 0;
    else if (strcmp(n, "grpc-status") == 0)
        s->got_trailers = true;
    else if (strncmp(n, "x-extra-", 8) == 0) {
        struct base_headers want = {0};
        app_text text[160];
        extra_fields(&want, s->fields, s->seed, text);
        const struct base_header *f = &want.field[s->got_fields++];
        assert_int_equal(f->name_len, name_len);
        assert_memory_equal(f->name, name, name_len);
        assert_int_equal(f->value_len, value_len);
        assert_memory_equal(f->value, value, value_len);
    }
    return 0;
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n, void *user)
{
    struct peer *p = user;
    struct peer_stream *s = peer_find(p, id);
    (void)session, (void)flags;
    for (size_t i = 0; i < n; i++)
        assert_int_equal(data[i], body_byte(s->seed + !p->client, s->received + (uint32_t)i));
    s->received += (uint32_t)n;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct peer *p = user;
    (void)session;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        p->errors++;
        p->last_error = frame->goaway.error_code;
    }
    if (frame->hd.type == NGHTTP2_HEADERS)
        assert_int_equal(peer_find(p, frame->hd.stream_id)->got_fields, peer_find(p, frame->hd.stream_id)->fields);
    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        struct peer_stream *s = peer_find(p, frame->hd.stream_id);
        s->ended = true;
        assert_int_equal(s->received, s->want_len);
        if (!p->client)
            peer_answer(p, s);
    }
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct peer *p = user;
    struct peer_stream *s = peer_find(p, id);
    (void)session;
    p->bad += code != 0;
    if (code == 0) {
        assert_true(s->ended && s->sent == s->send_len);
        if (p->client)
            assert_true(s->got_status && s->got_trailers == s->trailers);
        p->finished++;
    }
    struct peer_stream **link = &p->streams;
    while (*link != s)
        link = &(*link)->next;
    *link = s->next;
    free(s);
    return 0;
}

static int on_invalid(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user)
{
    (void)session;
    fail_msg("libnghttp2 finds frame type %d invalid: %s", frame->hd.type, nghttp2_strerror(code));
    ((struct peer *)user)->bad++;
    return 0;
}

static void peer_init(struct peer *p, bool client, uint32_t window, uint32_t table, uint64_t *seed)
{
    nghttp2_session_callbacks *cb;
    *p = (struct peer){.client = client};
    assert_int_equal(nghttp2_session_callbacks_new(&cb), 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid);
    assert_int_equal((client ? nghttp2_session_client_new : nghttp2_session_server_new)(&p->session, cb, p), 0);
    nghttp2_session_callbacks_del(cb);
    nghttp2_settings_entry entries[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1 + rnd(seed) % 20},
                                        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window},
                                        {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, table}};
    assert_int_equal(nghttp2_submit_settings(p->session, NGHTTP2_FLAG_NONE, entries, 3), 0);
}

static void peer_free(struct peer *p)
{
    nghttp2_session_del(p->session);
    while (p->streams != NULL) {
        struct peer_stream *s = p->streams;
        p->streams = s->next;
        free(s);
    }
}

/* In the midst of it: other windows, another table size, a PING. */
static void peer_whim(struct peer *p, uint64_t *seed)
{
    nghttp2_settings_entry e[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, rnd(seed) % 100000},
                                  {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, rnd(seed) % 3 == 0 ? 0 : rnd(seed) % 8000}};
    if (rnd(seed) % 10 == 0)
        assert_int_equal(nghttp2_submit_settings(p->session, NGHTTP2_FLAG_NONE, e, 1 + rnd(seed) % 2), 0);
    if (rnd(seed) % 5 == 0)
        assert_int_equal(nghttp2_submit_ping(p->session, NGHTTP2_FLAG_NONE, (const uint8_t *)"whatever"), 0);
}

static void peer_to_app(struct peer *p, struct app *a, uint32_t most)
{
    const uint8_t *bytes;
    ssize_t n;
    while ((n = nghttp2_session_mem_send(p->session, &bytes)) > 0)
        app_feed(a, bytes, (size_t)n, most);
    assert_int_equal(n, 0);
}

static void app_to_peer(struct app *a, struct peer *p)
{
    size_t done = 0;
    app_flush(a);
    while (done < a->out.len) {
        size_t piece = 1 + rnd(&a->seed) % 3000;
        piece = piece < a->out.len - done ? piece : a->out.len - done;
        assert_int_equal(nghttp2_session_mem_recv(p->session, a->out.bytes + done, piece), piece);
        done += piece;
    }
    a->out.len = 0;
}

static void meet(enum http2_role role, uint32_t calls, uint32_t most, uint64_t seed)
{
    struct worker w;
    struct http2_config config;
    struct app a;
    struct peer p;
    worker_make(&w);
    http2_config_defaults(&config, role);
    config.initial_window = 1 + rnd(&seed) % 100000;
    config.header_table_size = rnd(&seed) % 2 ? 4096 : rnd(&seed) % 4097;
    config.encoder_table_size = rnd(&seed) % 2 ? 4096 : rnd(&seed) % 4097;
    config.max_concurrent_streams = 1 + rnd(&seed) % 10;
    app_init(&a, &w, &config, seed);
    peer_init(&p, role == HTTP2_SERVER, rnd(&seed) % 100000, rnd(&seed) % 8000, &seed);
    uint32_t made = 0, *finished = role == HTTP2_SERVER ? &p.finished : &a.finished;
    for (int turn = 0; turn < 200000 && *finished < calls; turn++) {
        uint32_t up = rnd(&seed) % 4 == 0 ? 0 : rnd(&seed) % 60000, down = rnd(&seed) % 60000, fields = rnd(&seed) % 30;
        if (role == HTTP2_CLIENT)
            made += made < calls && app_call(&a, made, up, down, made & 1, fields);
        else if (made < calls && made < p.finished + 10)
            peer_call(&p, made++, up, down, rnd(&seed) & 1, fields);
        if (turn % 16 == 3)
            peer_whim(&p, &seed);
        if (turn > 1000 && turn % 16 == 5) { /* no window stays at the nothing it may have been set to */
            nghttp2_settings_entry e = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 65535};
            nghttp2_submit_settings(p.session, NGHTTP2_FLAG_NONE, &e, 1);
        }
        app_to_peer(&a, &p);
        peer_to_app(&p, &a, most);
        assert_false(a.fatal);
    }
    app_to_peer(&a, &p);
    assert_int_equal(*finished, calls);
    assert_int_equal(p.bad + p.errors + a.failed + a.goaways, 0);
    app_free(&a);
    peer_free(&p);
    worker_free(&w);
}

static void our_server(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++)
        meet(HTTP2_SERVER, 60, seed % 3 == 0 ? 0 : seed % 3 == 1 ? 1500 : 20, seed);
    meet(HTTP2_SERVER, 10, 1, 99);
}

static void our_client(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 130; seed++)
        meet(HTTP2_CLIENT, 60, seed % 3 == 0 ? 0 : seed % 3 == 1 ? 1500 : 20, seed);
    meet(HTTP2_CLIENT, 10, 1, 199);
}

static void peer_cancel(struct peer *p, uint64_t *seed)
{
    uint32_t n = 0;
    for (struct peer_stream *s = p->streams; s != NULL; s = s->next)
        n++;
    if (n == 0)
        return;
    struct peer_stream *s = p->streams;
    for (n = rnd(seed) % n; n > 0; n--)
        s = s->next;
    if (p->client && s->sent + s->received == 0 && !s->got_status)
        return; /* libnghttp2 would reset a stream whose HEADERS wait in its queue: idle for us */
    assert_int_equal(nghttp2_submit_rst_stream(p->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL), 0);
}

/* Both give up calls at random, at times with much under way. */
static void storm(enum http2_role role, uint64_t seed)
{
    struct worker w;
    struct http2_config config;
    struct app a;
    struct peer p;
    worker_make(&w);
    http2_config_defaults(&config, role);
    config.max_concurrent_streams = 10;
    app_init(&a, &w, &config, seed);
    peer_init(&p, role == HTTP2_SERVER, 20000, 4096, &seed);
    uint32_t made = 0;
    for (int turn = 0; turn < 600; turn++) {
        bool calm = turn >= 500;
        uint32_t up = rnd(&seed) % 40000, down = rnd(&seed) % 40000;
        if (!calm && role == HTTP2_CLIENT)
            made += app_call(&a, made, up, down, made & 1, 5);
        else if (!calm)
            peer_call(&p, made++, up, down, rnd(&seed) & 1, 5);
        if (!calm && turn % 3 == 0)
            rnd(&seed) % 2 ? app_cancel(&a) : peer_cancel(&p, &seed);
        if (calm || rnd(&seed) % 3)
            app_to_peer(&a, &p);
        if (calm || rnd(&seed) % 3)
            peer_to_app(&p, &a, 3000);
        assert_false(a.fatal);
    }
    assert_int_equal(p.errors + a.goaways, 0);
    assert_int_equal(http2_streams_active(a.conn), 0);
    assert_null(p.streams);
    assert_null(a.rpcs);
    uint32_t ended = role == HTTP2_SERVER ? p.finished + p.bad : a.finished + a.failed;
    assert_int_equal(ended, made);
    assert_true(p.finished > 20 && p.bad > 20);
    app_free(&a);
    peer_free(&p);
    worker_free(&w);
}

static void storms(void **state)
{
    (void)state;
    for (uint64_t seed = 300; seed < 330; seed++)
        storm(seed % 2 ? HTTP2_SERVER : HTTP2_CLIENT, seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_server),
        cmocka_unit_test(our_client),
        cmocka_unit_test(storms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
