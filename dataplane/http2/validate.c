/* RFC 9113 section 8: what makes a message malformed. */
#include "internal.h"

/* Section 8.2.1: neither controls, space, upper case, DEL nor anything above; a colon only in front (pseudo-headers). */
bool hpack_name_valid(const uint8_t *name, size_t n)
{
    if (n == 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        uint8_t b = name[i];
        if (b <= 0x20 || (b >= 'A' && b <= 'Z') || b >= 0x7f || (b == ':' && i > 0))
            return false;
    }
    return true;
}

/* A high bit for each octet of w that equals the octets of x. */
static uint64_t equals(uint64_t w, uint64_t x)
{
    w ^= x;
    return ~(((w & 0x7f7f7f7f7f7f7f7full) + 0x7f7f7f7f7f7f7f7full) | w | 0x7f7f7f7f7f7f7f7full);
}

static bool word_valid(uint64_t w)
{
    return (equals(w, 0) | equals(w, 0x0a0a0a0a0a0a0a0aull) | equals(w, 0x0d0d0d0d0d0d0d0dull)) == 0;
}

/* Section 8.2.1: no NUL, CR or LF.  The rest is the application's.
 * DEVIATION: white space at either end passes, though the section calls it malformed: gRPC's libraries send such values (a grpc-message that
 * begins with a space is one), their peers take them, and a proxy that resets the stream would lose the status. */
bool hpack_value_valid(const uint8_t *value, size_t n)
{
    uint64_t w;
    for (; n >= 8; n -= 8, value += 8) {
        memcpy(&w, value, 8);
        if (!word_valid(w))
            return false;
    }
    for (size_t i = 0; i < n; i++)
        if (value[i] == 0 || value[i] == '\n' || value[i] == '\r')
            return false;
    return true;
}

static bool length_parse(const struct base_header *f, struct message *m)
{
    uint64_t v = 0;
    if (f->value_len == 0 || f->value_len > 18)
        return false;
    for (uint32_t i = 0; i < f->value_len; i++) {
        if (f->value[i] < '0' || f->value[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(f->value[i] - '0');
    }
    if (m->has_length && m->length != v) /* RFC 9110 section 8.6: repeated and different */
        return false;
    m->has_length = true;
    m->length = v;
    return true;
}

struct pseudo {
    const struct base_header *by_token[BASE_HEADER_PROTOCOL + 1];
    const struct base_header *host; /* the first; no pseudo-header, but judged with :authority */
};

/* Octets of an authority without a port that its scheme has anyway, or that is empty (RFC 3986 section 6.2.3). */
static uint32_t entity_len(const struct base_header *f, const char *port, uint32_t port_len)
{
    uint32_t n = f->value_len;
    if (n > 0 && f->value[n - 1] == ':')
        return n - 1;
    return n > port_len && memcmp(f->value + n - port_len, port, port_len) == 0 ? n - port_len : n;
}

static uint8_t lower_case(uint8_t b)
{
    return b >= 'A' && b <= 'Z' ? (uint8_t)(b | 0x20) : b;
}

static bool same_entity(const struct base_header *a, const struct base_header *b, const struct base_header *scheme)
{
    bool tls = scheme != NULL && base_header_value_is(scheme, "https");
    const char *port = tls ? ":443" : ":80";
    uint32_t n = entity_len(a, port, tls ? 4 : 3);
    if (n != entity_len(b, port, tls ? 4 : 3))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (lower_case(a->value[i]) != lower_case(b->value[i]))
            return false;
    return true;
}

/* A field that is no pseudo-header. */
static bool field_valid(const struct base_header *f, struct pseudo *p, struct message *m)
{
    switch (f->token) {
    case BASE_HEADER_CONNECTION: /* section 8.2.2 */
    case BASE_HEADER_KEEP_ALIVE:
    case BASE_HEADER_PROXY_CONNECTION:
    case BASE_HEADER_TRANSFER_ENCODING:
    case BASE_HEADER_UPGRADE:
        return false;
    case BASE_HEADER_TE:
        return base_header_value_is(f, "trailers");
    case BASE_HEADER_CONTENT_LENGTH:
        return length_parse(f, m);
    case BASE_HEADER_HOST: /* RFC 9110 section 7.2: there is one */
        if (p->host != NULL)
            return false;
        p->host = f;
        return true;
    default:
        return f->name[0] != ':'; /* section 8.3: a pseudo-header that nobody defined */
    }
}

static bool request_valid(const struct pseudo *p, struct message *m)
{
    const struct base_header *method = p->by_token[BASE_HEADER_METHOD], *path = p->by_token[BASE_HEADER_PATH];
    const struct base_header *scheme = p->by_token[BASE_HEADER_SCHEME];
    if (p->by_token[BASE_HEADER_STATUS] != NULL || p->by_token[BASE_HEADER_PROTOCOL] != NULL)
        return false; /* extended CONNECT (RFC 8441) was not announced */
    if (method == NULL || method->value_len == 0)
        return false;
    const struct base_header *authority = p->by_token[BASE_HEADER_AUTHORITY];
    if (p->host != NULL && authority != NULL && !same_entity(p->host, authority, scheme))
        return false; /* section 8.3.1: routed by the one, it might be served by the other */
    m->head = base_header_value_is(method, "HEAD");
    if (base_header_value_is(method, "CONNECT")) /* section 8.5 */
        return path == NULL && scheme == NULL && authority != NULL;
    if (path == NULL || scheme == NULL || scheme->value_len == 0 || path->value_len == 0)
        return false;
    return path->value[0] == '/' || (base_header_value_is(path, "*") && base_header_value_is(method, "OPTIONS")) ||
           !(base_header_value_is(scheme, "http") || base_header_value_is(scheme, "https")); /* section 8.3.1 */
}

static bool response_valid(const struct pseudo *p, struct message *m)
{
    const struct base_header *status = p->by_token[BASE_HEADER_STATUS];
    for (int t = BASE_HEADER_AUTHORITY; t <= BASE_HEADER_PROTOCOL; t++)
        if (t != BASE_HEADER_STATUS && p->by_token[t] != NULL)
            return false;
    if (status == NULL || status->value_len != 3)
        return false;
    for (int i = 0; i < 3; i++) {
        if (status->value[i] < '0' || status->value[i] > '9')
            return false;
        m->status = m->status * 10 + (uint32_t)(status->value[i] - '0');
    }
    return m->status >= 100 && m->status != 101; /* section 8.6: no upgrade */
}

bool http2_validate(const struct base_headers *h, enum section section, struct message *m)
{
    struct pseudo p = {0};
    bool regular = false;
    *m = (struct message){0};
    for (uint32_t i = 0; i < h->count; i++) {
        const struct base_header *f = &h->field[i];
        if (f->token >= BASE_HEADER_AUTHORITY && f->token <= BASE_HEADER_PROTOCOL) {
            if (regular || section == SECTION_TRAILERS || p.by_token[f->token] != NULL) /* section 8.3 */
                return false;
            p.by_token[f->token] = f;
            continue;
        }
        regular = true;
        if (!field_valid(f, &p, m))
            return false;
    }
    if (section == SECTION_REQUEST)
        return request_valid(&p, m);
    return section == SECTION_TRAILERS || response_valid(&p, m);
}
