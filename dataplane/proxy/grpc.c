/* What gRPC puts on HTTP/2 (grpc/doc/PROTOCOL-HTTP2.md), read without any state. */
#include "internal.h"

static bool begins(const struct base_header *h, const char *with, size_t n)
{
    return h != NULL && h->value_len >= n && memcmp(h->value, with, n) == 0;
}

bool grpc_is_content_type(const struct base_header *h)
{
    return begins(h, "application/grpc", 16);
}

bool grpc_is_web(const struct base_header *h)
{
    return begins(h, "application/grpc-web", 20);
}

bool grpc_timeout_parse(const struct base_header *h, uint64_t *ns)
{
    if (h == NULL || h->value_len < 2 || h->value_len > 9)
        return false;
    uint64_t v = 0;
    for (uint32_t i = 0; i + 1 < h->value_len; i++) {
        if (h->value[i] < '0' || h->value[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(h->value[i] - '0');
    }
    uint64_t unit;
    switch (h->value[h->value_len - 1]) {
    case 'H':
        unit = 3600000000000ull;
        break;
    case 'M':
        unit = 60000000000ull;
        break;
    case 'S':
        unit = 1000000000ull;
        break;
    case 'm':
        unit = 1000000ull;
        break;
    case 'u':
        unit = 1000ull;
        break;
    case 'n':
        unit = 1ull;
        break;
    default:
        return false;
    }
    /* 99,999,999 hours overflow 64 bits of nanoseconds: anything beyond a century is the same. */
    *ns = v > UINT64_MAX / 4 / unit ? UINT64_MAX / 4 : v * unit;
    return true;
}

uint32_t grpc_timeout_format(uint64_t ns, char out[GRPC_TIMEOUT_TEXT])
{
    static const struct {
        uint64_t ns;
        char unit;
    } units[] = {{1, 'n'}, {1000, 'u'}, {1000000, 'm'}, {1000000000, 'S'}, {60000000000, 'M'}, {3600000000000, 'H'}};
    unsigned i = 0;
    while (i < 5 && ns / units[i].ns > 99999999)
        i++;
    uint64_t v = ns / units[i].ns;
    v = v > 99999999 ? 99999999 : v == 0 ? 1 : v;
    uint32_t n = 1;
    for (uint64_t x = v; x >= 10; x /= 10)
        n++;
    for (uint32_t k = n; k-- > 0; v /= 10)
        out[k] = (char)('0' + v % 10);
    out[n] = units[i].unit;
    return n + 1;
}

enum grpc_code grpc_status_parse(const struct base_header *h)
{
    if (h == NULL || h->value_len < 1 || h->value_len > 2)
        return GRPC_UNKNOWN;
    unsigned v = 0;
    for (uint32_t i = 0; i < h->value_len; i++) {
        if (h->value[i] < '0' || h->value[i] > '9')
            return GRPC_UNKNOWN;
        v = v * 10 + (unsigned)(h->value[i] - '0');
    }
    return v < STATS_GRPC_CODES ? (enum grpc_code)v : GRPC_UNKNOWN;
}

enum grpc_code grpc_status_of_http(const struct base_header *status)
{
    unsigned v = 0;
    for (uint32_t i = 0; i < status->value_len && i < 3; i++)
        v = v * 10 + (unsigned)(status->value[i] - '0');
    switch (v) {
    case 400:
        return GRPC_INTERNAL;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
        return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return GRPC_UNKNOWN;
    }
}

enum grpc_code grpc_status_of_reset(uint32_t code)
{
    switch (code) {
    case HTTP2_REFUSED_STREAM:
        return GRPC_UNAVAILABLE;
    case HTTP2_CANCEL:
        return GRPC_CANCELLED;
    case HTTP2_ENHANCE_YOUR_CALM:
        return GRPC_RESOURCE_EXHAUSTED;
    case HTTP2_INADEQUATE_SECURITY:
        return GRPC_PERMISSION_DENIED;
    default:
        return GRPC_INTERNAL;
    }
}

const char *grpc_reset_words(uint32_t code)
{
    static const char *const words[] = {
#define RESET(name) [HTTP2_##name] = "the backend reset the stream with " #name
        RESET(NO_ERROR), RESET(PROTOCOL_ERROR), RESET(INTERNAL_ERROR), RESET(FLOW_CONTROL_ERROR), RESET(SETTINGS_TIMEOUT), RESET(STREAM_CLOSED),
        RESET(FRAME_SIZE_ERROR), RESET(REFUSED_STREAM), RESET(CANCEL), RESET(COMPRESSION_ERROR), RESET(CONNECT_ERROR), RESET(ENHANCE_YOUR_CALM),
        RESET(INADEQUATE_SECURITY), RESET(HTTP_1_1_REQUIRED),
#undef RESET
    };
    return code < sizeof(words) / sizeof(words[0]) ? words[code] : "the backend reset the stream with a code that HTTP/2 does not know";
}

unsigned grpc_http_status(enum stats_reason reason)
{
    switch (reason) {
    case STATS_REASON_NO_ROUTE:
        return 404;
    case STATS_REASON_DEADLINE:
        return 504;
    case STATS_REASON_HEADERS_TOO_LARGE:
        return 431;
    case STATS_REASON_BAD_REQUEST:
        return 400;
    case STATS_REASON_UPSTREAM_RESET:
    case STATS_REASON_UPSTREAM_LOST:
    case STATS_REASON_UPSTREAM_PROTOCOL:
        return 502;
    default:
        return 503;
    }
}
