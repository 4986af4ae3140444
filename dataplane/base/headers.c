#include "headers.h"

static const struct {
    const char *name;
    uint8_t len;
} names[BASE_HEADER_TOKEN_COUNT] = {
    {"", 0},
#define X(token, text) {text, sizeof(text) - 1},
    BASE_HEADER_TOKENS(X)
#undef X
};

enum base_header_token base_header_token(const uint8_t *name, size_t n)
{
    for (int t = 1; t < BASE_HEADER_TOKEN_COUNT; t++)
        if (names[t].len == n && memcmp(names[t].name, name, n) == 0)
            return (enum base_header_token)t;
    return BASE_HEADER_OTHER;
}

const char *base_header_name(enum base_header_token token)
{
    return names[token].name;
}

bool base_headers_add(struct base_headers *h, enum base_header_token token, const void *value, size_t n)
{
    if (h->count == BASE_HEADERS_MAX)
        return false;
    struct base_header *f = &h->field[h->count++];
    f->name = (const uint8_t *)names[token].name;
    f->name_len = names[token].len;
    f->value = value;
    f->value_len = (uint32_t)n;
    f->token = (uint16_t)token;
    f->flags = 0;
    h->size += f->name_len + f->value_len + 32;
    return true;
}
