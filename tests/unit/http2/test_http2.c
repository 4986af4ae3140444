#include "../../lib/http2/script.h"
#include "cases.h"
#include "http2/internal.h"

/* Two of our own: requests, answers, trailers, flow control, in pieces of every size. */
static void talk(uint32_t calls, uint32_t most, uint32_t window, uint64_t seed)
{
    struct worker w;
    worker_make(&w);
    struct http2_config cc, sc;
    http2_config_defaults(&cc, HTTP2_CLIENT);
    http2_config_defaults(&sc, HTTP2_SERVER);
    cc.initial_window = sc.initial_window = window;
    sc.max_concurrent_streams = 7;
    struct app client, server;
    app_init(&client, &w, &cc, seed);
    app_init(&server, &w, &sc, seed + 1);
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
        struct http2_config cc, sc;
        struct app client, server;
        worker_make(&w);
        http2_config_defaults(&cc, HTTP2_CLIENT);
        http2_config_defaults(&sc, HTTP2_SERVER);
        sc.max_concurrent_streams = 20;
        sc.initial_window = 20000;
        app_init(&client, &w, &cc, run + 50);
        app_init(&server, &w, &sc, run + 90);
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

static struct script sc;

static void begin(bool client)
{
    guard_make(&sc);
    script_begin(&sc, client, FEED_WHOLE, 0);
    assert_string_equal(script_run(&sc, "", false), "");
}

static void end(void)
{
    script_end(&sc);
    munmap(sc.page, GUARDED + 4096);
}

/* What came of it since the last time. */
static void expect(const char *trace)
{
    script_feed(&sc);
    trace_data(&sc);
    script_write(&sc, true);
    sc.trace[sc.traced] = 0;
    assert_string_equal(sc.trace, trace);
    sc.traced = 0;
}

static uint8_t block[1 << 19];

/* A block of n octets or a little more: a request and fields of `value` octets each. first: kind of literal. */
static size_t big_block(size_t n, uint8_t first, size_t value)
{
    static char text[1 << 17];
    uint8_t *out = block;
    *out++ = 0x82, *out++ = 0x86, *out++ = 0x84;
    memset(text, 'v', sizeof(text));
    for (char name[8] = "x0"; (size_t)(out - block) < n; name[1] = (char)(name[1] == '9' ? '0' : name[1] + 1))
        out = put_literal(out, first, name, 2, text, value);
    return (size_t)(out - block);
}

/* In frames of at most `size` octets. */
static void put_block(uint32_t id, const uint8_t *bytes, size_t n, size_t size)
{
    for (size_t at = 0; at == 0 || at < n; at += size) {
        size_t len = n - at < size ? n - at : size;
        put_frame(&sc.in, at == 0 ? 1 : 9, (at == 0 ? 1 : 0) | (at + len >= n ? 4 : 0), id, bytes + at, len);
    }
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

/* kind of flood -> line, how many are borne at least, how many never, in no time; and at the same rate over time none is too many. */
static void flood(const char *before, const char *line, enum stats_drop why, uint32_t borne, uint32_t never)
{
    begin(false);
    script_run(&sc, before, true);
    sc.traced = 0;
    for (uint32_t i = 0; i < never && !sc.fatal; i++) {
        line_peer(&sc, line);
        if (i % 16 == 15)
            script_feed(&sc), script_write(&sc, false);
        if (i < borne)
            assert_false(sc.fatal);
        sc.traced = 0;
    }
    script_feed(&sc);
    if (!sc.fatal)
        fail_msg("\"%s\" goes on for ever", line);
    assert_true(sc.w.stats->drops[why] == 1);
    end();
    begin(false);
    script_run(&sc, before, true);
    for (uint32_t i = 0; i < 5 * borne; i++) {
        sc.traced = 0;
        http2_tick(sc.w.h, 1000000000ull + i * (1000000000ull / borne));
        line_peer(&sc, line);
        if (i % 16 == 15)
            script_feed(&sc), script_write(&sc, false);
        assert_false(sc.fatal);
    }
    end();
}

static void floods(void **state)
{
    (void)state;
    flood("", "ping", STATS_DROP_H2_FLOOD_PINGS, 900, 4000);
    flood("", "settings 4=1000", STATS_DROP_H2_FLOOD_SETTINGS, 150, 1000);
    flood("", "frame 2 0 1 00000003 10", STATS_DROP_H2_FLOOD_PRIORITY, 1500, 4000);
    flood("request 1", "data 1 0", STATS_DROP_H2_FLOOD_EMPTY, 900, 4000);
    flood("request 1", "frame 0 8 1 0400000000", STATS_DROP_H2_FLOOD_EMPTY, 900, 4000);
    flood("", "frame 99 0 1 00", STATS_DROP_H2_FLOOD_OTHER, 4000, 20000);
    flood("request 1\n> reset 1 8", "data 1 0", STATS_DROP_H2_FLOOD_OTHER, 4000, 20000);
    flood("", "window 0 1", STATS_DROP_H2_FLOOD_WINDOW, 19000, 40000);
}

/* Frames of an octet on a stream that is over for us alone: the window bears as many as it has octets, and what comes then is a flood. */
static void late_data(bool client, const char *before, uint32_t id, uint32_t allowed)
{
    char line[64];
    begin(client);
    script_run(&sc, before, true);
    sc.traced = 0;
    snprintf(line, sizeof(line), "data %u 1", id);
    uint32_t n = 0, rate = http2_bounds_default.rate[HTTP2_RATE_OTHER];
    for (; n < allowed + 2 * rate && !sc.fatal; n++) {
        line_peer(&sc, line);
        script_feed(&sc);
        if (n % 1024 == 0)
            script_write(&sc, false);
        sc.traced = 0;
        if (n < allowed)
            assert_int_equal(sc.conn->flood[HTTP2_RATE_OTHER], 0);
    }
    assert_true(sc.fatal && n > allowed + rate);
    end();
}

static void late_windows(void **state)
{
    (void)state;
    late_data(false, "request 1\n> reset 1 8\n> release 1\n> write", 1, 65535);
    late_data(false, "request 1\n> respond 1 end\n> reset 1 0\n> write", 1, 65535); /* answered before it was whole */
    late_data(false, "request 1\ndata 1 15000\n> reset 1 8", 1, 50535);
    late_data(false, "request 1\nrequest 3\nrequest 5\nrequest 7", 7, 65535); /* one too many */
    late_data(false, "headers 1 | :method=GET", 1, 65535);
    late_data(false, "> goaway 0 0\n> write\nrequest 1", 1, 65535);
    late_data(false, "request 1 end\n> reset 1 8\n> write", 1, 0); /* it had ended: nothing can have been on its way */
    late_data(true, "> open\n> request 1 end\nresponse 1\ndata 1 1000\n> reset 1 8\n> release 1\n> write", 1, 64535);
    late_data(true, "> open\n> request 1 end\n> open\n> request 3 end\n> reset 1 8\n> reset 3 8\n> write", 3, 2 * 65535);
}

/* CVE-2023-44487, and its twin that makes us send the resets. */
static void rapid_reset(void **state)
{
    (void)state;
    for (int twin = 0; twin < 2; twin++) {
        begin(false);
        uint32_t id = 1;
        for (; id < 40000 && !sc.fatal; id += 2) {
            uint8_t request[] = {0x82, 0x86, 0x84};
            put_frame(&sc.in, 1, 4, id, request, 3);
            put_word(&sc.in, twin ? 8 : 3, id, twin ? 0 : 8);
            struct http2_stream *keep[1] = {NULL};
            (void)keep;
            for (size_t done = 0; done < sc.in.len;) {
                struct http2_event ev;
                done += http2_input(sc.conn, sc.in.bytes + done, sc.in.len - done, &ev);
                sc.fatal |= ev.type == HTTP2_EVENT_FATAL;
                if (ev.type == HTTP2_EVENT_RESET)
                    http2_stream_release(ev.stream);
            }
            sc.in.len = 0;
            if (id % 32 == 31)
                script_write(&sc, false);
        }
        assert_true(sc.fatal && id > 2000 && id < 20000);
        script_write(&sc, true);
        end();
    }
}

static uint32_t stream_objects(void)
{
    return sc.w.h->streams.in_use;
}

/* Who makes us reset its streams and does not read that has no more objects than streams, and is told off soon. `refused`: by the user, which counts no flood. */
static void resets_unread(bool refused)
{
    begin(false);
    uint32_t id = 1;
    for (; id < 2000 && !sc.fatal; id += 2) {
        uint8_t request[] = {0x82, 0x86, 0x84};
        put_frame(&sc.in, 1, 4, id, request, 3);
        if (!refused)
            put_word(&sc.in, 8, id, 0);
        for (size_t done = 0; done < sc.in.len;) {
            struct http2_event ev;
            done += http2_input(sc.conn, sc.in.bytes + done, sc.in.len - done, &ev);
            sc.fatal |= ev.type == HTTP2_EVENT_FATAL;
            if (ev.type == HTTP2_EVENT_RESET || (refused && ev.opened)) {
                http2_stream_reset(ev.stream, HTTP2_REFUSED_STREAM);
                http2_stream_release(ev.stream);
            }
            http2_conn_check(sc.conn);
        }
        sc.in.len = 0;
        assert_true(stream_objects() <= sc.conn->config.max_concurrent_streams);
    }
    assert_true(sc.fatal);
    assert_int_equal(id / 2, 3 + RESETS_QUEUE + 1); /* objects, records */
    script_write(&sc, false);
    assert_int_equal(stream_objects(), 0);
    end();
}

static void resets_never_read(void **state)
{
    (void)state;
    resets_unread(false);
    resets_unread(true);
}

/* An honest gRPC client: a PING and WINDOW_UPDATEs for every DATA, and every other call cancelled, for a long time. */
static void honest_client(void **state)
{
    (void)state;
    begin(false);
    for (uint32_t id = 1; id < 100000 && !sc.fatal; id += 2) {
        uint8_t request[] = {0x82, 0x86, 0x84};
        put_frame(&sc.in, 1, 4, id, request, 3);
        put_frame(&sc.in, 0, 0, id, "xxxxx", 5);
        put_frame(&sc.in, 6, 0, 0, "12345678", 8);
        put_word(&sc.in, 8, 0, 5);
        put_word(&sc.in, 8, id, 5);
        struct http2_stream *s = NULL;
        for (size_t done = 0; done < sc.in.len;) {
            struct http2_event ev;
            done += http2_input(sc.conn, sc.in.bytes + done, sc.in.len - done, &ev);
            sc.fatal |= ev.type == HTTP2_EVENT_FATAL;
            s = ev.opened ? ev.stream : s;
            if (ev.flow > 0)
                http2_conn_credit(sc.conn, ev.flow);
        }
        assert_non_null(s);
        sc.in.len = 0;
        if (id % 4 == 1) {
            put_word(&sc.in, 3, id, 8);
        } else {
            sc.streams[1] = s;
            line_ours(&sc, "> respond 1 end");
        }
        for (size_t done = 0; done < sc.in.len;) {
            struct http2_event ev;
            done += http2_input(sc.conn, sc.in.bytes + done, sc.in.len - done, &ev);
        }
        sc.in.len = 0;
        http2_stream_release(s);
        script_write(&sc, false);
    }
    assert_false(sc.fatal);
    end();
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
        cmocka_unit_test(bad_names),
        cmocka_unit_test(malformed_pieces),
        cmocka_unit_test(too_many_continuations),
        cmocka_unit_test(pings_are_answered_in_order),
        cmocka_unit_test(no_blocks_left),
        cmocka_unit_test(floods),
        cmocka_unit_test(late_windows),
        cmocka_unit_test(rapid_reset),
        cmocka_unit_test(resets_never_read),
        cmocka_unit_test(honest_client),
        cmocka_unit_test(large_list_out),
        cmocka_unit_test(idle_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
