#include "one.h"
#include "cases.h"

/* Two of our own: requests, answers, trailers, flow control, in pieces of every size. */
static void talk(uint32_t calls, uint32_t most, uint32_t window, uint64_t seed)
{
    struct worker w;
    worker_make(&w);
    struct http2_config cc, scfg;
    http2_config_defaults(&cc, HTTP2_CLIENT);
    http2_config_defaults(&scfg, HTTP2_SERVER);
    cc.initial_window = scfg.initial_window = window;
    scfg.max_concurrent_streams = 7;
    struct app client, server;
    app_init(&client, &w, &cc, seed);
    app_init(&server, &w, &scfg, seed + 1);
    uint32_t made = 0;
    for (int turn = 0; turn < 100000 && client.finished < calls; turn++) {
        while (made < calls && http2_streams_active(client.conn) < 7 &&
               app_call(&client, made, rnd(&seed) % 3 == 0 ? 0 : rnd(&seed) % 40000, rnd(&seed) % 40000, made & 1, rnd(&seed) % 40))
            made++;
        app_flush(&client);
        app_feed(&server, client.out.bytes, client.out.len, most);
        client.out.len = 0;
        app_flush(&server);
        app_feed(&client, server.out.bytes, server.out.len, most);
        server.out.len = 0;
        app_flush(&client);
        assert_false(client.fatal || server.fatal);
    }
    app_flush(&server);
    assert_int_equal(client.finished, calls);
    assert_int_equal(server.finished, calls);
    assert_int_equal(client.failed + server.failed, 0);
    app_free(&client);
    app_free(&server);
    worker_free(&w);
}

static void two_of_us(void **state)
{
    (void)state;
    talk(100, 0, 65535, 1);
    talk(100, 1500, 65535, 2);
    talk(100, 50, 1000, 3);
    talk(20, 1, 100000, 4);
}

/* Both give up calls at random: whatever is under way then must not disturb the others. */
static void storm(void **state)
{
    (void)state;
    for (uint64_t run = 0; run < 6; run++) {
        uint64_t seed = run;
        struct worker w;
        struct http2_config cc, scfg;
        struct app client, server;
        worker_make(&w);
        http2_config_defaults(&cc, HTTP2_CLIENT);
        http2_config_defaults(&scfg, HTTP2_SERVER);
        scfg.max_concurrent_streams = 20;
        scfg.initial_window = 20000;
        app_init(&client, &w, &cc, run + 50);
        app_init(&server, &w, &scfg, run + 90);
        uint32_t made = 0;
        for (int turn = 0; turn < 1500; turn++) {
            for (int k = 0; k < 3 && turn < 1400; k++)
                made += app_call(&client, made, rnd(&seed) % 50000, rnd(&seed) % 50000, true, 3);
            if (turn < 1400) {
                rnd(&seed) % 2 ? app_cancel(&client) : app_cancel(&server);
                if (rnd(&seed) % 3 == 0)
                    http2_max_streams_set(server.conn, 1 + rnd(&seed) % 30);
            }
            app_flush(&client);
            size_t n = client.out.len > 0 && turn < 1400 ? rnd(&seed) % client.out.len : client.out.len; /* the rest is on its way */
            app_feed(&server, client.out.bytes, n, 5000);
            pipe_drop(&client.out, n);
            app_flush(&server);
            n = server.out.len > 0 && turn < 1400 ? rnd(&seed) % server.out.len : server.out.len;
            app_feed(&client, server.out.bytes, n, 5000);
            pipe_drop(&server.out, n);
            assert_false(client.fatal || server.fatal);
        }
        assert_true(made > 200 && client.finished > 50 && client.failed > 50);
        assert_int_equal(client.finished + client.failed, made);
        assert_int_equal(http2_streams_active(client.conn) + http2_streams_active(server.conn), 0);
        app_free(&client);
        app_free(&server);
        worker_free(&w);
    }
}

static int failures;

static size_t longest(const char *script)
{
    return 80 + 40 * strlen(script) / 20;
}

static void run_case(struct script *s, const struct script_case *c, bool client, bool raw, enum feed feed, size_t split)
{
    script_begin(s, client, feed, split);
    const char *got = script_run(s, c->script, raw);
    if (strcmp(got, c->trace) != 0) {
        print_error("%s %s (feed %d at %zu):\n   expected %s\n   got      %s\n", client ? "client:" : "server:", c->name, feed, split, c->trace, got);
        failures++;
    }
    script_end(s);
}

static void run_cases(const struct script_case *cases, size_t n, bool client, bool raw)
{
    static struct script s;
    guard_make(&s);
    failures = 0;
    for (size_t i = 0; i < n; i++) {
        int before = failures;
        run_case(&s, &cases[i], client, raw, FEED_WHOLE, 0);
        run_case(&s, &cases[i], client, raw, FEED_BYTES, 0);
        for (size_t split = 1; split < longest(cases[i].script) && failures == before; split++)
            run_case(&s, &cases[i], client, raw, FEED_SPLIT, split);
    }
    munmap(s.page, GUARDED + 4096);
    assert_int_equal(failures, 0);
}

static void server_scripts(void **state)
{
    (void)state;
    run_cases(server_cases, sizeof(server_cases) / sizeof(server_cases[0]), false, false);
    run_cases(raw_server_cases, sizeof(raw_server_cases) / sizeof(raw_server_cases[0]), false, true);
}

static void client_scripts(void **state)
{
    (void)state;
    run_cases(client_cases, sizeof(client_cases) / sizeof(client_cases[0]), true, false);
    run_cases(raw_client_cases, sizeof(raw_client_cases) / sizeof(raw_client_cases[0]), true, true);
}

static void large_lists(void **state)
{
    (void)state;
    begin(false);
    put_block(1, block, big_block(14500, 0, 1000), 16384);
    expect("H1oe(18)"); /* 15 fields of 1034 octets */
    put_block(3, block, big_block(17000, 0, 1000), 16384);
    expect("H3oeL(0)");
    put_block(5, block, big_block(100, 0x40, 50), 100); /* the table is in step before ... */
    expect("H5oe(5)");
    pipe_put(&sc.in, "", 0);
    line_ours(&sc, "> reset 1 8"), line_ours(&sc, "> release 1");
    line_ours(&sc, "> reset 3 8"), line_ours(&sc, "> release 3");
    line_ours(&sc, "> reset 5 8"), line_ours(&sc, "> release 5");
    expect("rst:1:8 rst:3:8 rst:5:8");
    /* ... during a block of 60 KiB that fills it again and again, in frames that end anywhere ... */
    put_block(7, block, big_block(60000, 0x40, 100), 3001);
    expect("H7oeL(0)");
    /* ... and after: what is newest is a field of it. */
    line_peer(&sc, "block 9 end 828684be");
    expect("H9oe(4)");
    line_ours(&sc, "> reset 7 8"), line_ours(&sc, "> release 7");
    expect("rst:7:8");
    end();
}

/* The same where 64 and 128 KiB are taken: each block is put together from frames that end anywhere, those above are spilled, their CONTINUATIONs bounded. */
static void larger_lists(void **state)
{
    (void)state;
    static const uint32_t limits[] = {65536, 131072};
    for (int i = 0; i < 2; i++) {
        uint32_t limit = limits[i], value = limit / 64;
        for (size_t size = 16384; size > 16300; size -= 41) {
            guard_make(&sc);
            script_begin_large(&sc, false, FEED_WHOLE, 0, limit);
            assert_string_equal(script_run(&sc, "", false), "");
            put_block(1, block, big_block(limit / 64 * 60, 0, value - 100), size);
            expect(i == 0 ? "H1oe(69)" : "H1oe(66)");
            put_block(3, block, big_block(limit, 0, value), size);
            expect("H3oeL(0)");
            line_ours(&sc, "> reset 1 8"), line_ours(&sc, "> release 1");
            expect("rst:1:8");
            put_block(5, block, big_block(limit + 100000, 0x40, 1000), size); /* spilled */
            expect("H5oeL(0)");
            line_peer(&sc, "block 7 end 828684be");
            line_ours(&sc, "> reset 3 8"), line_ours(&sc, "> release 3");
            expect("H7oe(4) rst:3:8");
            end();
        }
    }
}

/* A single value larger than a block, indexed or not: the list is too large, the table is empty if it was to be indexed. */
static void giant_fields(void **state)
{
    (void)state;
    for (uint32_t indexing = 0; indexing < 2; indexing++) {
        for (size_t size = 1000; size < 16384; size += 777) {
            begin(false);
            line_peer(&sc, "block 1 end 82868440 0161 0162");
            expect("H1oe(4)");
            put_block(3, block, big_block(20000, indexing ? 0x40 : 0, 30000), size);
            expect("H3oeL(0)");
            line_peer(&sc, "block 5 end 828684be");
            expect(indexing ? "!9 goaway:3:9" : "H5oe(4)");
            end();
        }
    }
    begin(false); /* its end is missing */
    size_t n = big_block(20000, 0, 30000);
    put_block(1, block, n - 1, 5000);
    expect("!9 goaway:0:9");
    end();
}

static uint8_t *put_string(uint8_t *out, uint8_t octet, size_t n)
{
    *out++ = (uint8_t)(n < 127 ? n : 127);
    if (n >= 127) {
        size_t v = n - 127;
        for (; v >= 128; v >>= 7)
            *out++ = (uint8_t)(v | 128);
        *out++ = (uint8_t)v;
    }
    memset(out, octet, n);
    return out + n;
}

/* A name, a value or both that a block does not hold, cut anywhere: the list is too large, the table in step. */
static void giant_names(void **state)
{
    (void)state;
    static const size_t values[] = {0, 5, 300, 16384, 40000};
    for (size_t name = 16300; name < 60000; name += name < 16400 ? 1 : 9973) {
        for (int i = 0; i < 10; i++) {
            bool indexing = i & 1;
            begin(false);
            line_peer(&sc, "block 1 end 82868440 0161 0162");
            expect("H1oe(4)");
            uint8_t *out = block;
            *out++ = 0x82, *out++ = 0x86, *out++ = 0x84, *out++ = indexing ? 0x40 : 0x10;
            out = put_string(put_string(out, 'n', name), 'v', values[i / 2]);
            *out++ = 0x84;
            put_block(3, block, (size_t)(out - block), 16384 - name % 1999);
            expect("H3oeL(0)");
            line_peer(&sc, "block 5 end 828684be");
            expect(indexing ? "!9 goaway:3:9" : "H5oe(4)");
            end();
        }
    }
    begin(false); /* its value is missing */
    uint8_t *out = block;
    *out++ = 0x00;
    put_block(1, block, (size_t)(put_string(out, 'n', 20000) - block), 16384);
    expect("!9 goaway:0:9");
    end();
}

/* What of a list fitted stays good, and scratch does not run out, whatever the rest does to the table that it came from. */
static void list_full(void **state)
{
    (void)state;
    for (size_t i = 0; i < 8; i++) {
        size_t name = 1 + i / 2 * 1015, last;
        begin(false);
        uint8_t *out = block;
        *out++ = 0x82, *out++ = 0x86, *out++ = 0x84, *out++ = 0x40;
        out = put_string(put_string(out, 'n', name), 'v', 3);
        put_block(1, block, (size_t)(out - block), 16384);
        expect("H1oe(4)");
        out = block;
        *out++ = 0x82, *out++ = 0x86, *out++ = 0x84, *out++ = 0xbe;
        for (int k = 0; k < BASE_HEADERS_MAX && i & 1; k++) /* full before the table is touched */
            *out++ = 0x84;
        for (int k = 0; k < 4000; k++)
            *out++ = 0x7e, *out++ = 0;
        for (int k = 0; k < 1000; k++, out += 7)
            memcpy(out, (const uint8_t[]){0x40, 2, 'z', 'z', 2, 'z', 'z'}, 7);
        put_frame(&sc.in, 1, 5, 3, block, (size_t)(out - block));
        struct http2_event ev;
        assert_int_equal(http2_input(sc.conn, sc.in.bytes, sc.in.len, &ev), sc.in.len);
        sc.in.len = 0;
        assert_true(ev.type == HTTP2_EVENT_HEADERS && ev.too_large && ev.headers->count > 4 && ev.headers->count <= BASE_HEADERS_MAX);
        assert_true(ev.headers->field[2].token == BASE_HEADER_PATH && ev.headers->field[3].value_len == 3);
        last = i & 1 ? 4 : ev.headers->count;
        for (uint32_t k = 3; k < last; k++) {
            const struct base_header *f = &ev.headers->field[k];
            assert_true(f->name_len == name && f->name[0] == 'n' && f->name[name - 1] == 'n' && (k == 3 || f->value_len == 0));
        }
        assert_memory_equal(ev.headers->field[3].value, "vvv", 3);
        http2_stream_release(ev.stream);
        line_peer(&sc, "block 5 end 828684be");
        script_feed(&sc);
        assert_false(sc.fatal);
        end();
    }
}

/* What is wrong with a name is found out once, when its entry is made: who borrows it has it read no more. */
static void bad_names(void **state)
{
    (void)state;
    for (int indexing = 0; indexing < 2; indexing++) {
        begin(false);
        line_peer(&sc, "block 1 end 828684 40014101 62");
        expect("rst:1:1");
        const struct hpack_table *t = &sc.conn->decoder.table;
        *hpack_entry_name(hpack_table_at(t, 0)) = 'a';
        line_peer(&sc, indexing ? "block 3 end 828684 7e0163" : "block 3 end 828684 0f2f0163");
        expect("rst:3:1");
        assert_int_equal(t->count, 1 + indexing);
        line_peer(&sc, "block 5 end 828684 be"); /* what it was borrowed for is malformed, too */
        expect("rst:5:1");
        end();
    }
    begin(false); /* a bad value says nothing of its name */
    line_peer(&sc, "block 1 end 828684 40016101 00");
    expect("rst:1:1");
    line_peer(&sc, "block 3 end 828684 7e0163");
    line_peer(&sc, "block 5 end 828684 be");
    expect("H3oe(4) H5oe(4)");
    end();
}

/* A list above every limit that is malformed in one of its pieces, whichever, is no request that would be answered: it counts. */
static void malformed_pieces(void **state)
{
    (void)state;
    for (size_t at = 0; at < 60000; at += 9000) {
        begin(false);
        size_t n = big_block(60000, 0, 100), field = 3 + at / 105 * 105;
        assert_int_equal(block[field + 2], 'x');
        block[field + 2] = 'X';
        put_block(1, block, n, 16384);
        expect("rst:1:1");
        assert_int_equal(sc.conn->flood[HTTP2_RATE_RESETS], 1);
        put_block(3, block, big_block(60000, 0, 100), 16384); /* and says nothing of the next */
        expect("H3oeL(0)");
        end();
    }
}

static void too_many_continuations(void **state)
{
    (void)state;
    begin(false);
    put_block(1, block, big_block(300, 0, 1000), 32);
    expect("H1oe(4)");
    put_block(3, block, big_block(300, 0, 1000), 30); /* 34 CONTINUATIONs */
    expect("!11 goaway:1:11");
    end();
    begin(false); /* CVE-2024-27316: never an end */
    for (int i = 0; i < 100; i++)
        put_frame(&sc.in, i == 0 ? 1 : 9, 0, 1, "", 0);
    expect("!11 goaway:0:11");
    end();
    begin(false);
    put_block(1, block, big_block(140000, 0, 1000), 16384);
    expect("!11 goaway:0:11");
    end();
}

/* Who holds a block longest gives it up to the one who needs it. */
/* Each with its own octets, in the order in which they came; and once around the queue. */
static void pings_are_answered_in_order(void **state)
{
    (void)state;
    struct worker w;
    worker_make(&w);
    struct http2_config config;
    http2_config_defaults(&config, HTTP2_SERVER);
    struct http2_conn *c = http2_conn_create(w.h, &config, NULL);
    struct http2_event ev;
    uint8_t out[512], hello[24 + 9] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    memcpy(hello + 24, (const uint8_t[9]){0, 0, 0, 4}, 9);
    for (size_t done = 0; done < sizeof(hello);)
        done += http2_input(c, hello + done, sizeof(hello) - done, &ev);
    while (http2_control_write(c, out, sizeof(out)) > 0)
        ;
    uint8_t asked = 0, answered = 0;
    for (int round = 1; round < 12; round++) {
        for (int i = 0; i < round % 5 + 1; i++) {
            uint8_t ping[17] = {0, 0, 8, 6, 0, 0, 0, 0, 0, 'p', 'i', 'n', 'g', 0, 0, 0, ++asked};
            assert_int_equal(http2_input(c, ping, sizeof(ping), &ev), sizeof(ping));
            assert_int_equal(ev.type, HTTP2_EVENT_PING);
        }
        size_t n = http2_control_write(c, out, sizeof(out));
        assert_int_equal(n, 17 * (round % 5 + 1));
        for (size_t at = 0; at < n; at += 17) {
            assert_int_equal(out[at + 4], 1);
            assert_memory_equal(out + at + 9, "ping\0\0\0", 7);
            assert_int_equal(out[at + 16], ++answered);
        }
    }
    http2_conn_destroy(c);
    worker_free(&w);
}

static void no_blocks_left(void **state)
{
    (void)state;
    static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0}, half[] = {0, 0, 9, 1, 4, 0, 0, 0, 1, 0x82};
    struct worker w;
    struct http2_config config;
    struct http2_conn *c[4];
    struct http2_event ev;
    worker_make_limits(&w, &(struct http2_limits){.connections = 3, .streams = 4, .blocks = 2});
    http2_config_defaults(&config, HTTP2_SERVER);
    for (int i = 0; i < 3; i++) {
        c[i] = http2_conn_create(w.h, &config, NULL);
        assert_non_null(c[i]);
        assert_int_equal(http2_input(c[i], (const uint8_t *)"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, &ev), 24);
        assert_int_equal(http2_input(c[i], settings, sizeof(settings), &ev), sizeof(settings));
        http2_input(c[i], half, sizeof(half), &ev);
        assert_int_equal(ev.type, HTTP2_EVENT_NONE);
        assert_int_equal(http2_block_id(c[i]), 1);
        http2_conn_check(c[i]);
    }
    assert_int_equal(w.stats->drops[STATS_DROP_H2_BLOCK_EVICTED], 1);
    assert_ptr_equal(http2_evicted_next(w.h), c[0]);
    assert_null(http2_evicted_next(w.h));
    assert_true(http2_control_pending(c[0]) && !http2_goaway_sent(c[1]) && http2_block_id(c[0]) == 0);
    assert_null(http2_conn_create(w.h, &config, NULL));
    http2_conn_destroy(c[0]); /* gives its block back */
    c[3] = http2_conn_create(w.h, &config, NULL);
    assert_non_null(c[3]);
    for (int i = 1; i < 4; i++)
        http2_conn_destroy(c[i]);
    for (uint32_t i = 0; i < w.stats->object_count; i++)
        assert_int_equal(*w.stats->objects[i].in_use, 0);
    worker_free(&w);
}

/* A list of ours that takes HEADERS and two CONTINUATIONs. */
static void large_list_out(void **state)
{
    (void)state;
    static char text[31][1400];
    static uint8_t out[1 << 16];
    struct base_headers h = {0};
    struct http2_config config;
    struct http2_event ev;
    uint64_t seed = 5;
    begin(false);
    http2_config_defaults(&config, HTTP2_CLIENT);
    struct http2_conn *c = http2_conn_create(sc.w.h, &config, NULL);
    struct http2_stream *s = http2_stream_open(c, NULL);
    field_add(&h, ":method", "POST");
    field_add(&h, ":scheme", "http");
    field_add(&h, ":path", "/");
    for (int i = 0; i < 30; i++) {
        for (int k = 0; k < 1399; k++)
            text[i][k] = (char)(128 + rnd(&seed) % 127); /* such octets Huffman makes longer */
        field_add(&h, "x", text[i]);
    }
    size_t n = http2_headers_write(s, &h, true, out, http2_headers_bound(&h));
    assert_true(n > 30 * 1400 && n <= http2_headers_bound(&h));
    script_frames(&sc, out, n);
    pipe_put(&sc.in, out, n);
    expect("h:1e c:1 c:1 H1oeL(0)");
    line_peer(&sc, "block 3 end 828684");
    expect("H3oe(3)");
    /* as libnghttp2 would find it: END_HEADERS on the last alone, all but the last full */
    assert_int_equal(out[4], 1);
    assert_int_equal(out[HTTP2_FRAME_HEADER + 16384 + 4], 0);
    assert_int_equal(out[2 * (HTTP2_FRAME_HEADER + 16384) + 4], 4);
    http2_input(c, out, 0, &ev);
    http2_conn_destroy(c);
    end();
}

/* Bytes that a connection holds after one RPC as grpc-go makes it. */
static void idle_connection(void **state)
{
    (void)state;
    struct worker w;
    worker_make(&w);
    struct http2_config cc, scfg;
    http2_config_defaults(&cc, HTTP2_CLIENT);
    http2_config_defaults(&scfg, HTTP2_SERVER);
    struct app client, server;
    app_init(&client, &w, &cc, 1);
    app_init(&server, &w, &scfg, 2);
    for (int turn = 0; turn < 5; turn++) {
        if (turn == 0)
            assert_true(app_call(&client, 1, 100, 100, true, 0));
        app_flush(&client);
        app_feed(&server, client.out.bytes, client.out.len, 0);
        client.out.len = 0;
        app_flush(&server);
        app_feed(&client, server.out.bytes, server.out.len, 0);
        server.out.len = 0;
    }
    assert_int_equal(client.finished + server.finished, 2);
    size_t bytes = (size_t)w.h->conns.in_use * w.h->conns.size + (size_t)w.h->streams.in_use * w.h->streams.size +
                   (size_t)w.h->blocks.in_use * w.h->blocks.size;
    for (int i = 0; i < HPACK_CLASSES; i++)
        bytes += (size_t)w.h->hpack.slabs[i].in_use * w.h->hpack.slabs[i].size;
    print_message("idle connection after one RPC: %zu octets; a stream: %u\n", bytes / 2, w.h->streams.size);
    assert_true(bytes / 2 <= 2176 && w.h->streams.size <= 128);
    app_free(&client);
    app_free(&server);
    for (uint32_t i = 0; i < w.stats->object_count; i++)
        assert_int_equal(*w.stats->objects[i].in_use, 0);
    worker_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_of_us),
        cmocka_unit_test(storm),
        cmocka_unit_test(server_scripts),
        cmocka_unit_test(client_scripts),
        cmocka_unit_test(large_lists),
        cmocka_unit_test(larger_lists),
        cmocka_unit_test(giant_fields),
        cmocka_unit_test(giant_names),
        cmocka_unit_test(list_full),
        cmocka_unit_test(bad_names),
        cmocka_unit_test(malformed_pieces),
        cmocka_unit_test(too_many_continuations),
        cmocka_unit_test(pings_are_answered_in_order),
        cmocka_unit_test(no_blocks_left),
        cmocka_unit_test(large_list_out),
        cmocka_unit_test(idle_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
