/* The published frame cases: what is wrong must end with one of the codes they name, what is right must be read as they say. */
#include "../../lib/http2/script.h"
#include "../../lib/http2/shared.h"

#include <glob.h>

static struct script s;

/* Some of the cases stand on streams that a server never sees: the id is changed to one that is open. */
static void stream_set(uint8_t *wire, uint32_t id)
{
    wire[5] = (uint8_t)(id >> 24), wire[6] = (uint8_t)(id >> 16), wire[7] = (uint8_t)(id >> 8), wire[8] = (uint8_t)id;
}

static void one(const char *path)
{
    cJSON *json = shared_json(path);
    assert_non_null(json);
    size_t n;
    uint8_t *wire = shared_hex(cJSON_GetObjectItem(json, "wire")->valuestring, &n);
    const cJSON *errors = cJSON_GetObjectItem(json, "error"), *code, *frame = cJSON_GetObjectItem(json, "frame");
    const cJSON *payload = cJSON_GetObjectItem(frame, "frame_payload");
    script_begin(&s, false, FEED_WHOLE, 0);
    assert_string_equal(script_run(&s, "request 1", false), "H1o(4)");
    s.traced = 0;
    const uint32_t type = wire[3];
    if (cJSON_IsNull(errors) && (type == 0 || type == 3 || type == 8 || type == 2))
        stream_set(wire, type == 8 && wire[8] == 0 ? 0 : 1);
    if (type == 0 && cJSON_IsNull(errors)) { /* our scripts know x only */
        struct http2_event ev;
        const char *text = cJSON_GetObjectItem(payload, "data")->valuestring;
        http2_input(s.conn, wire, n, &ev);
        assert_int_equal(ev.type, HTTP2_EVENT_DATA);
        assert_int_equal(ev.len, strlen(text));
        assert_memory_equal(ev.data, text, ev.len);
        assert_int_equal(ev.flow, cJSON_GetObjectItem(frame, "length")->valueint);
    } else {
        if (type == 9)
            put_frame(&s.in, 1, 0, 3, "", 0), stream_set(wire, 3);
        pipe_put(&s.in, wire, n);
        if (type == 9)
            put_frame(&s.in, 9, 4, 3, "", 0);
        script_feed(&s);
        script_write(&s, true);
    }
    s.trace[s.traced] = 0;
    bool matched = false;
    char want[200] = "";
    cJSON_ArrayForEach (code, errors) {
        snprintf(want, sizeof(want), "goaway:1:%d", code->valueint);
        matched |= strstr(s.trace, want) != NULL;
        snprintf(want, sizeof(want), "rst:1:%d", code->valueint);
        matched |= strstr(s.trace, want) != NULL;
    }
    if (!cJSON_IsNull(errors) && !matched)
        fail_msg("%s: %s", path, s.trace);
    if (cJSON_IsNull(errors)) {
        switch (type) {
        case 0: break;
        case 1: case 9: /* "this is dummy" came to HPACK as it should */
            if (strstr(s.trace, n > 9 ? "goaway:1:9" : "rst:3:1") == NULL) /* nothing: no request */
                fail_msg("%s: %s", path, s.trace);
            break;
        case 2: assert_string_equal(s.trace, ""); break;
        case 3: snprintf(want, sizeof(want), "R1:%d", cJSON_GetObjectItem(payload, "error_code")->valueint); assert_string_equal(s.trace, want); break;
        case 4: assert_string_equal(s.trace, "S ack"); break;
        case 5: assert_non_null(strstr(s.trace, "goaway:1:1")); break; /* refused whatever it holds */
        case 6: assert_string_equal(s.trace, "pong"); break;
        case 7:
            snprintf(want, sizeof(want), "G:%d:%d:%s", cJSON_GetObjectItem(payload, "last_stream_id")->valueint,
                     cJSON_GetObjectItem(payload, "error_code")->valueint, cJSON_GetObjectItem(payload, "additional_debug_data")->valuestring);
            assert_string_equal(s.trace, want);
            break;
        case 8: assert_string_equal(s.trace, ""); break;
        default: fail_msg("type %u", type);
        }
    }
    script_end(&s);
    free(wire);
    cJSON_Delete(json);
}

static void cases(void **state)
{
    char path[512];
    glob_t g;
    (void)state;
    if (!shared_path(path, sizeof(path) - 16, "http2-frame-test-case")) {
        print_message("http2-frame-test-case: not there, skipped\n");
        skip();
    }
    strcat(path, "/*/*.json");
    assert_int_equal(glob(path, 0, NULL, &g), 0);
    guard_make(&s);
    for (size_t i = 0; i < g.gl_pathc; i++)
        one(g.gl_pathv[i]);
    print_message("%zu frame cases\n", g.gl_pathc);
    munmap(s.page, GUARDED + 4096);
    globfree(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
