/* grpc-timeout as it is passed on: what is left of the client's, or of the route's cap where that is shorter. */
#include "internal.h"

const struct base_headers *proxy_timeout(struct proxy *p, const struct base_headers *h, uint64_t left_ns)
{
    struct base_headers *out = &p->fields;
    uint32_t n = grpc_timeout_format(left_ns, p->timeout);
    if (h != out) {
        out->count = h->count;
        out->size = h->size;
        memcpy(out->field, h->field, h->count * sizeof(*h->field));
    }
    for (uint32_t i = 0; i < out->count; i++) {
        struct base_header *f = &out->field[i];
        if (f->token != BASE_HEADER_GRPC_TIMEOUT)
            continue;
        out->size += n - f->value_len;
        f->value = (const uint8_t *)p->timeout;
        f->value_len = n;
        return out;
    }
    base_headers_add(out, BASE_HEADER_GRPC_TIMEOUT, p->timeout, n); /* no room for another field: the cap holds here alone */
    return out;
}
