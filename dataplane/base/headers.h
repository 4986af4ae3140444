/* A header field as every room above the codec sees it: a token for the names that somebody asks about, and the
 * bytes.  Names are lower case (RFC 9113 section 8.2).  Values are bytes, never assumed to be text. */
#ifndef BASE_HEADERS_H
#define BASE_HEADERS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* X(token, name): the pseudo-headers first. */
#define BASE_HEADER_TOKENS(X)                                                                                          \
    X(AUTHORITY, ":authority")                                                                                         \
    X(METHOD, ":method")                                                                                               \
    X(PATH, ":path")                                                                                                   \
    X(SCHEME, ":scheme")                                                                                               \
    X(STATUS, ":status")                                                                                               \
    X(PROTOCOL, ":protocol")                                                                                           \
    X(CONTENT_TYPE, "content-type")                                                                                    \
    X(CONTENT_LENGTH, "content-length")                                                                                \
    X(TE, "te")                                                                                                        \
    X(HOST, "host")                                                                                                    \
    X(CONNECTION, "connection")                                                                                        \
    X(KEEP_ALIVE, "keep-alive")                                                                                        \
    X(PROXY_CONNECTION, "proxy-connection")                                                                            \
    X(TRANSFER_ENCODING, "transfer-encoding")                                                                          \
    X(UPGRADE, "upgrade")                                                                                              \
    X(USER_AGENT, "user-agent")                                                                                        \
    X(X_FORWARDED_FOR, "x-forwarded-for")                                                                              \
    X(TRACEPARENT, "traceparent")                                                                                      \
    X(GRPC_STATUS, "grpc-status")                                                                                      \
    X(GRPC_MESSAGE, "grpc-message")                                                                                    \
    X(GRPC_STATUS_DETAILS, "grpc-status-details-bin")                                                                  \
    X(GRPC_TIMEOUT, "grpc-timeout")                                                                                    \
    X(GRPC_ENCODING, "grpc-encoding")                                                                                  \
    X(GRPC_ACCEPT_ENCODING, "grpc-accept-encoding")                                                                    \
    X(GRPC_PREVIOUS_RPC_ATTEMPTS, "grpc-previous-rpc-attempts")                                                        \
    X(GRPC_RETRY_PUSHBACK_MS, "grpc-retry-pushback-ms")                                                                \
    X(ENDPOINT_LOAD_METRICS, "endpoint-load-metrics-bin")                                                              \
    X(PENSTOCK_REASON, "penstock-reason")

enum base_header_token {
    BASE_HEADER_OTHER = 0,
#define X(token, name) BASE_HEADER_##token,
    BASE_HEADER_TOKENS(X)
#undef X
        BASE_HEADER_TOKEN_COUNT
};

enum {
    BASE_HEADER_SENSITIVE = 1, /* never indexed (RFC 7541 section 7.1.3): passed on as such */
    BASE_HEADER_INDEX = 2,     /* always indexed if it fits: who plays another encoder (a generator) sets it; never received */
};

struct base_header {
    const uint8_t *name;
    const uint8_t *value;
    uint32_t name_len;
    uint32_t value_len;
    uint16_t token; /* enum base_header_token */
    uint16_t flags;
};

#define BASE_HEADERS_MAX 128 /* fields in one block */

struct base_headers {
    uint32_t count;
    uint32_t size; /* RFC 9113 section 6.5.2: sum of name + value + 32 */
    uint64_t id;   /* not 0: the same number, the same fields, as long as the worker lives (http2_list_hold()). Who builds or changes a list leaves 0 */
    struct base_header field[BASE_HEADERS_MAX];
};

static inline const struct base_header *base_headers_find(const struct base_headers *h, enum base_header_token token)
{
    for (uint32_t i = 0; i < h->count; i++)
        if (h->field[i].token == token)
            return &h->field[i];
    return NULL;
}

static inline bool base_header_value_is(const struct base_header *h, const char *text)
{
    size_t n = strlen(text);
    return h->value_len == n && memcmp(h->value, text, n) == 0;
}

enum base_header_token base_header_token(const uint8_t *name, size_t n);
const char *base_header_name(enum base_header_token token);
/* False: no room left. The bytes are not copied. */
bool base_headers_add(struct base_headers *h, enum base_header_token token, const void *value, size_t n);

#endif
