/* What a peer may do that costs it little, or keeps memory of ours: how much is borne, whose memory it takes, and that honest ones bear nothing of it. */
#include "one.h"

/* A request that is malformed: it gets a record alone.  False: the connection was ended. */
static bool no_request(struct http2_conn *c, uint32_t id)
{
    uint8_t frame[] = {0, 0, 1, 1, 5, 0, 0, (uint8_t)(id >> 8), (uint8_t)id, 0x88};
    struct http2_event ev;
    assert_int_equal(http2_input(c, frame, sizeof(frame), &ev), sizeof(frame));
    http2_conn_check(c);
    return ev.type != HTTP2_EVENT_FATAL;
}

/* Those who read nothing use up the records of resets: they make room, not the one who needs a few. */
static void no_resets_left(void **state)
{
    (void)state;
    struct worker w;
    struct http2_config config;
    struct http2_conn *c[6];
    uint8_t out[4096];
    worker_make_limits(&w, &(struct http2_limits){.connections = 6, .streams = 1024, .blocks = 2}); /* 512 records */
    http2_config_defaults(&config, HTTP2_SERVER);
    for (int i = 0; i < 6; i++)
        c[i] = greeted(&w, &config);
    assert_true(no_request(c[0], 1)); /* has waited for longest, but has one alone */
    for (uint32_t k = 0; k < 255; k++)
        assert_true(no_request(c[1], 2 * k + 1) && no_request(c[2], 2 * k + 1));
    assert_int_equal(http2_control_write(c[1], out, 13), 13); /* this one reads */
    assert_true(no_request(c[1], 511));
    assert_int_equal(w.h->resets.in_use, 511);
    for (uint32_t k = 0; k < 255; k++)
        assert_true(no_request(c[3], 2 * k + 1));
    assert_int_equal(w.stats->drops[STATS_DROP_H2_RESETS_EVICTED], 1);
    struct http2_conn *gone = http2_evicted_next(w.h);
    assert_true(gone == c[2] && http2_ended(gone) && gone->reset_count == 0);
    assert_string_equal(http2_evicted_why(gone), "resets of its streams were unread while others waited");
    assert_null(http2_evicted_next(w.h));
    assert_true(http2_control_write(gone, out, sizeof(out)) > 0 && out[3] == 7 && !http2_control_pending(gone)); /* GOAWAY alone */
    for (uint32_t k = 0; k < 255; k++)
        assert_true(no_request(c[4], 2 * k + 1));
    assert_ptr_equal(http2_evicted_next(w.h), c[1]);
    assert_int_equal(http2_control_write(c[0], out, sizeof(out)), 13);
    http2_conn_destroy(c[3]); /* gives its records back */
    for (uint32_t k = 0; k < 256; k++)
        assert_true(no_request(c[5], 2 * k + 1));
    assert_false(no_request(c[5], 513)); /* its own bound */
    assert_null(http2_evicted_next(w.h));
    for (int i = 0; i < 6; i++)
        if (i != 3)
            http2_conn_destroy(c[i]);
    assert_int_equal(w.h->resets.in_use, 0);
    for (uint32_t i = 0; i < w.stats->object_count; i++)
        assert_int_equal(*w.stats->objects[i].in_use, 0);
    worker_free(&w);
}

#define MANY 64

/* Responses fill the encoders' tables first; then requests of all fill the decoders': each finds its memory, and encoders do with what is left. */
static void tables_for_all(void **state)
{
    (void)state;
    static uint8_t out[1 << 14];
    static char text[401];
    struct worker w;
    struct http2_config config;
    struct http2_conn *c[MANY];
    struct http2_event ev;
    worker_make_limits(&w, &(struct http2_limits){.connections = MANY, .streams = MANY, .blocks = 2});
    http2_config_defaults(&config, HTTP2_SERVER);
    memset(text, 'v', 400);
    uint32_t large = 0;
    for (int round = 0; round < 2; round++) { /* what is given back can be had again */
        large = 0;
        for (int i = 0; i < MANY; i++) {
            uint8_t request[] = {0, 0, 3, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84};
            c[i] = greeted(&w, &config);
            assert_int_equal(http2_input(c[i], request, sizeof(request), &ev), sizeof(request));
            for (char name[] = "xa"; name[1] < 'k'; name[1]++) {
                struct base_headers h = {0};
                field_add(&h, ":status", "100"); /* as many lists as we like */
                field_add(&h, name, text);
                assert_true(http2_headers_write(ev.stream, &h, false, out, sizeof(out)) > 0);
            }
            large += c[i]->encoder.table.class == HPACK_CLASSES - 1;
            http2_conn_check(c[i]);
        }
        for (int i = 0; i < MANY; i++) {
            size_t n = big_block(3900, 0x40, 900);
            uint8_t head[9] = {0, (uint8_t)(n >> 8), (uint8_t)n, 1, 5, 0, 0, 0, 3};
            memcpy(out, head, 9);
            memcpy(out + 9, block, n);
            assert_int_equal(http2_input(c[i], out, n + 9, &ev), n + 9);
            assert_true(ev.type == HTTP2_EVENT_FULL && c[i]->decoder.table.class == HPACK_CLASSES - 1);
            http2_conn_check(c[i]);
        }
        for (int i = 0; i < MANY; i++)
            http2_conn_destroy(c[i]);
    }
    assert_int_equal(large, MANY / 2 + 8);
    for (int k = 0; k < HPACK_CLASSES; k++)
        assert_int_equal(w.h->hpack.encoders[k] + w.h->hpack.slabs[k].in_use, 0);
    worker_free(&w);
}

/* Refused for want of objects, or under a limit that was lowered while requests were under way: it is not the client's doing, and does not count. */
static void refused_for_our_sake(void **state)
{
    (void)state;
    struct worker w;
    struct http2_config config;
    struct http2_event ev;
    uint8_t out[512], frame[] = {0, 0, 3, 1, 5, 0, 0, 0, 0, 0x82, 0x86, 0x84};
    worker_make_limits(&w, &(struct http2_limits){.connections = 2, .streams = 4, .blocks = 2});
    http2_config_defaults(&config, HTTP2_SERVER);
    struct http2_conn *c = greeted(&w, &config);
    for (uint32_t k = 0; k < 10000; k++) {
        frame[7] = (uint8_t)((2 * k + 1) >> 8), frame[8] = (uint8_t)(2 * k + 1);
        assert_int_equal(http2_input(c, frame, sizeof(frame), &ev), sizeof(frame));
        assert_int_equal(ev.type, k < 4 ? HTTP2_EVENT_HEADERS : HTTP2_EVENT_FULL);
        assert_int_equal(http2_control_write(c, out, sizeof(out)), k < 4 ? 0 : 13);
    }
    assert_int_equal(c->flood[HTTP2_RATE_RESETS], 0);
    http2_conn_destroy(c);
    worker_free(&w);

    begin(false); /* three may be open */
    script_run(&sc, "request 1\n> limit 1\nrequest 3\nrequest 5", true);
    assert_int_equal(sc.conn->flood[HTTP2_RATE_RESETS], 0);
    sc.traced = 0;
    script_run(&sc, "request 7", true);
    assert_int_equal(sc.conn->flood[HTTP2_RATE_RESETS], 1);
    script_run(&sc, "> limit 3\n> write\n> limit 1\nrequest 9\nrequest 11\nrequest 13", true);
    assert_int_equal(sc.conn->flood[HTTP2_RATE_RESETS], 2);
    end();
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

/* Lines of the peer until the n-th or until it is told off, answers written as they fill. `look`: with every one. */
static uint32_t lines(const char *line, uint32_t n, uint64_t step_ns, bool look)
{
    uint32_t i = 0;
    for (; i < n && !sc.fatal; i++) {
        sc.traced = 0;
        http2_tick(sc.w.h, sc.w.h->now_ns + step_ns);
        line_peer(&sc, line);
        script_feed(&sc);
        if (i % 16 == 15)
            script_write(&sc, false);
        if (look)
            http2_suspect(sc.conn);
    }
    script_write(&sc, false);
    sc.traced = 0;
    return i;
}

static void suspects(void **state)
{
    (void)state;
    uint32_t eighth = http2_bounds_default.rate[HTTP2_RATE_PINGS] / 8 / 16 * 16;
    begin(false);
    lines("ping", eighth, 0, true);
    assert_false(http2_suspect(sc.conn));
    lines("ping", 16, 0, false);
    assert_true(http2_suspect(sc.conn) && http2_suspect(sc.conn));
    http2_tick(sc.w.h, sc.w.h->now_ns + 1000000); /* a ping is forgiven: still more than an eighth */
    assert_true(http2_suspect(sc.conn));
    http2_tick(sc.w.h, sc.w.h->now_ns + 100000000);
    assert_false(http2_suspect(sc.conn));
    lines("ping", 16, 0, false); /* 144, of which 101 are forgiven */
    assert_false(http2_suspect(sc.conn));
    end();

    begin(false); /* what goes with useful frames is no reason */
    lines("request 1", 1, 0, false);
    lines("data 1 1", 10, 0, false);
    lines("ping", eighth + 16, 0, false);
    assert_false(http2_suspect(sc.conn));
    lines("ping", 48, 0, false);
    assert_true(http2_suspect(sc.conn));
    lines("data 1 1", 20, 0, false); /* and what comes behind redeems */
    assert_false(http2_suspect(sc.conn));
    end();
}

/* Resets are made good by answers alone. */
static void suspect_resets(void **state)
{
    (void)state;
    for (int answers = 0; answers < 2; answers++) {
        char line[64];
        begin(false);
        for (uint32_t id = 1; id < 2 * 264; id += 2) {
            snprintf(line, sizeof(line), "request %u", id);
            lines(line, 1, 0, false);
            if (answers && id < 40) {
                snprintf(line, sizeof(line), "> respond %u", id);
                line_ours(&sc, line);
            }
            snprintf(line, sizeof(line), "window %u 0", id);
            lines(line, 1, 0, false);
        }
        assert_int_equal(http2_suspect(sc.conn), !answers);
        end();
    }
}

/* To be looked at changes nothing of what is borne. */
static void suspects_bear_as_much(void **state)
{
    (void)state;
    for (uint64_t step = 0; step < 800000; step += 210000) {
        uint32_t borne[2];
        for (int look = 0; look < 2; look++) {
            begin(false);
            lines("request 1", 1, 0, false);
            borne[look] = 0;
            for (int round = 0; round < 40 && !sc.fatal; round++) {
                lines("data 1 1", 3, 0, look);
                borne[look] += lines("ping", 200, step, look);
            }
            assert_true(sc.fatal);
            end();
        }
        assert_int_equal(borne[0], borne[1]);
        assert_true(borne[0] > http2_bounds_default.rate[HTTP2_RATE_PINGS]);
    }
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

static bool input_all(uint64_t now)
{
    bool fatal = false;
    http2_tick(sc.w.h, now);
    for (size_t done = 0; done < sc.in.len;) {
        struct http2_event ev;
        done += http2_input(sc.conn, sc.in.bytes + done, sc.in.len - done, &ev);
        fatal |= ev.type == HTTP2_EVENT_FATAL;
        if (ev.type == HTTP2_EVENT_RESET)
            http2_stream_release(ev.stream);
    }
    sc.in.len = 0;
    return !fatal;
}

/* A backend hangs, and all of a client's calls run into their deadlines: so much later it resets as many as it may have at once (or says what makes us do
 * it), again and again. */
static bool deadlines(uint64_t age_ns, bool twin)
{
    begin(false);
    struct http2_bounds bounds = http2_bounds_default;
    bounds.rate[HTTP2_RATE_RESETS] = 10;
    sc.conn->config.bounds = &bounds;
    uint64_t now = 1000000000;
    bool borne = true;
    for (uint32_t id = 1; id < 1200 && borne; id += 6) {
        uint8_t request[] = {0x82, 0x86, 0x84};
        for (uint32_t k = 0; k < 3; k++)
            put_frame(&sc.in, 1, 4, id + 2 * k, request, 3);
        borne &= input_all(now);
        now += age_ns;
        for (uint32_t k = 0; k < 3; k++)
            put_word(&sc.in, twin ? 8 : 3, id + 2 * k, twin ? 0 : 8);
        borne &= input_all(now);
        script_write(&sc, false);
    }
    script_write(&sc, true);
    end();
    return borne;
}

static void deadlines_of_many(void **state)
{
    (void)state;
    for (int twin = 0; twin < 2; twin++) {
        assert_true(deadlines(60000000, twin));
        assert_true(deadlines(1ull << 51, twin));
        assert_false(deadlines(40000000, twin));
        assert_false(deadlines(1, twin));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_resets_left),
        cmocka_unit_test(tables_for_all),
        cmocka_unit_test(refused_for_our_sake),
        cmocka_unit_test(floods),
        cmocka_unit_test(suspects),
        cmocka_unit_test(suspect_resets),
        cmocka_unit_test(suspects_bear_as_much),
        cmocka_unit_test(late_windows),
        cmocka_unit_test(rapid_reset),
        cmocka_unit_test(deadlines_of_many),
        cmocka_unit_test(resets_never_read),
        cmocka_unit_test(honest_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
