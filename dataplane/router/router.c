/* Routes are tried in order.  Most fail on a length, nearly all others on the last eight bytes of the pattern: service names share
 * their beginnings, not their ends. */
#include "router.h"

#define ONES 0x0101010101010101ull

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof(x));
    return x;
}

/* The n < 8 bytes at p, and zeros. */
static inline uint64_t load_short(const uint8_t *p, size_t n)
{
    uint64_t x = 0;
    for (size_t i = 0; i < n; i++)
        x |= (uint64_t)p[i] << (8 * i);
    return x;
}

/* ASCII capitals in eight bytes at once; every other byte stands. */
static inline uint64_t fold(uint64_t x)
{
    uint64_t seven = x & (0x7f * ONES);
    uint64_t from_a = seven + (0x80 - 'A') * ONES, beyond_z = seven + (0x7f - 'Z') * ONES;
    uint64_t capital = (from_a ^ beyond_z) & ~x & (0x80 * ONES);
    return x | capital >> 2;
}

static inline bool same(const uint8_t *a, const uint8_t *b, size_t n)
{
    if (n < 8)
        return load_short(a, n) == load_short(b, n);
    if (load64(a + n - 8) != load64(b + n - 8))
        return false;
    for (size_t i = 0; i + 8 < n; i += 8)
        if (load64(a + i) != load64(b + i))
            return false;
    return true;
}

static inline bool same_folded(const uint8_t *a, const uint8_t *b, size_t n)
{
    if (n < 8)
        return fold(load_short(a, n)) == fold(load_short(b, n));
    if (fold(load64(a + n - 8)) != fold(load64(b + n - 8)))
        return false;
    for (size_t i = 0; i + 8 < n; i += 8)
        if (fold(load64(a + i)) != fold(load64(b + i)))
            return false;
    return true;
}

/* Bytes of the authority that are its host: "host", "host:port", "[v6]", "[v6]:port" (RFC 3986 section 3.2.3: the port may be empty).
 * Whatever is none of these counts in full, and matches only a route that accepts any. */
static size_t host_length(const uint8_t *authority, size_t n)
{
    size_t digits = 0;
    while (digits < n && digits < 6 && (uint8_t)(authority[n - 1 - digits] - '0') < 10)
        digits++;
    if (digits == n || digits == 6 || authority[n - 1 - digits] != ':')
        return n;
    return n - 1 - digits;
}

static inline bool authority_matches(const struct snapshot_route *r, const uint8_t *host, size_t n)
{
    const uint8_t *pattern = (const uint8_t *)r->authority;
    switch ((enum snapshot_match)r->authority_match) {
    case SNAPSHOT_ANY:
        return true;
    case SNAPSHOT_EXACT:
        return n == r->authority_len && same_folded(host, pattern, n);
    case SNAPSHOT_SUFFIX: /* ".example.com": at least one byte stands before it */
        return n > r->authority_len && same_folded(host + n - r->authority_len, pattern, r->authority_len);
    case SNAPSHOT_PREFIX:
        break;
    }
    return false;
}

static inline bool path_matches(const struct snapshot_route *r, const uint8_t *path, size_t n)
{
    const uint8_t *pattern = (const uint8_t *)r->path;
    switch ((enum snapshot_match)r->path_match) {
    case SNAPSHOT_ANY:
        return true;
    case SNAPSHOT_EXACT:
        return n == r->path_len && same(path, pattern, n);
    case SNAPSHOT_PREFIX:
        return n >= r->path_len && same(path, pattern, r->path_len);
    case SNAPSHOT_SUFFIX:
        break;
    }
    return false;
}

const struct snapshot_route *router_match(const struct snapshot_listener *l, const struct router_request *request)
{
    size_t host = host_length(request->authority, request->authority_len);
    for (uint32_t i = 0; i < l->route_count; i++) {
        const struct snapshot_route *r = &l->routes[i];
        if (path_matches(r, request->path, request->path_len) && authority_matches(r, request->authority, host))
            return r;
    }
    return NULL;
}
