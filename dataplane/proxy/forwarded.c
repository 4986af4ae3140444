/* x-forwarded-for: the client's address behind whatever the request brought, where the listener says `forwarded = "append"`.
 *
 * The fields of a request belong to http2 and are not edited: the array is copied once, its used part alone, and the one value replaced. */
#include "internal.h"

/* As text, once a session. */
static void know_client(struct session *down)
{
    base_addr_format(&session_flow(down)->remote, down->client);
    down->client_len = (uint8_t)strlen(down->client);
}

/* The last field of that name, as later ones stand behind earlier ones (RFC 9110 section 5.3). */
static struct base_header *last_of(struct base_headers *h)
{
    for (uint32_t i = h->count; i-- > 0;)
        if (h->field[i].token == BASE_HEADER_X_FORWARDED_FOR)
            return &h->field[i];
    return NULL;
}

const struct base_headers *proxy_forwarded(struct proxy *p, struct session *down, const struct base_headers *h)
{
    struct base_headers *out = &p->fields;
    if (down->client_len == 0)
        know_client(down);
    if (h != out) {
        out->count = h->count;
        out->size = h->size;
        memcpy(out->field, h->field, h->count * sizeof(*h->field));
    }
    struct base_header *have = last_of(out);
    if (have != NULL && have->value_len + 2u + down->client_len <= sizeof(p->forwarded)) {
        memcpy(p->forwarded, have->value, have->value_len);
        memcpy(p->forwarded + have->value_len, ", ", 2);
        memcpy(p->forwarded + have->value_len + 2, down->client, down->client_len);
        have->value = p->forwarded;
        have->value_len += 2u + down->client_len;
        out->size += 2u + down->client_len;
    } else if (!base_headers_add(out, BASE_HEADER_X_FORWARDED_FOR, down->client, down->client_len) && have != NULL) {
        /* No room for another field: what the client claims goes rather than what we know. */
        have->value = (const uint8_t *)down->client;
        have->value_len = down->client_len;
    }
    return out;
}
