/* What each key says, and from that the set of endpoints.  Two keys may name one address: it is one endpoint until both are gone, and the key
 * written last gives its weight. */
#include "internal.h"
#include "loop/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

struct key {
    struct key *next;
    int64_t create_revision, mod_revision, lease;
    bool bad, renewed;
    unsigned count;
    struct resolver_endpoint *at; /* the last good ones */
    size_t length;
    char text[];
};

struct keys {
    enum config_format format;
    char *prefix;
    size_t prefix_len;
    struct base_hash_key hash;
    struct key **bucket;
    unsigned bucket_count; /* a power of two */
    unsigned count;
    uint64_t bad_values;
    bool overflowed;
};

struct keys *keys_create(enum config_format format, const char *prefix)
{
    struct keys *k = calloc(1, sizeof(*k));
    if (k == NULL)
        return NULL;
    k->format = format;
    k->prefix = strdup(prefix);
    k->prefix_len = strlen(prefix);
    k->bucket_count = 64;
    k->bucket = calloc(k->bucket_count, sizeof(*k->bucket));
    if (getrandom(&k->hash, sizeof(k->hash), 0) != sizeof(k->hash))
        k->hash.k[0] = (uintptr_t)k;
    if (k->prefix == NULL || k->bucket == NULL) {
        keys_destroy(k);
        return NULL;
    }
    return k;
}

static void key_free(struct key *key)
{
    free(key->at);
    free(key);
}

void keys_destroy(struct keys *k)
{
    if (k == NULL)
        return;
    for (unsigned i = 0; k->bucket != NULL && i < k->bucket_count; i++) {
        for (struct key *key = k->bucket[i], *next; key != NULL; key = next) {
            next = key->next;
            key_free(key);
        }
    }
    free(k->bucket);
    free(k->prefix);
    free(k);
}

static struct key **find(const struct keys *k, const char *text, size_t n)
{
    struct key **at = &k->bucket[base_siphash(&k->hash, text, n) & (k->bucket_count - 1)];
    while (*at != NULL && ((*at)->length != n || memcmp((*at)->text, text, n) != 0))
        at = &(*at)->next;
    return at;
}

static void grow(struct keys *k)
{
    struct key **old = k->bucket;
    unsigned old_count = k->bucket_count;
    struct key **bucket = calloc(2 * (size_t)old_count, sizeof(*bucket));
    if (bucket == NULL)
        return; /* slower, not wrong */
    k->bucket = bucket;
    k->bucket_count *= 2;
    for (unsigned i = 0; i < old_count; i++) {
        for (struct key *key = old[i], *next; key != NULL; key = next) {
            next = key->next;
            struct key **at = find(k, key->text, key->length);
            key->next = NULL;
            *at = key;
        }
    }
    free(old);
}

static struct key *create(struct keys *k, const struct etcd_kv *kv)
{
    struct key *key = k->count < RESOLVER_KEYS_MAX ? calloc(1, sizeof(*key) + kv->key_len) : NULL;
    if (key == NULL) {
        if (!k->overflowed)
            loop_log(LOOP_LOG_ERROR, "resolver: more than %d keys under %s: the rest is not seen", RESOLVER_KEYS_MAX, k->prefix);
        k->overflowed = true;
        return NULL;
    }
    if (k->count >= k->bucket_count)
        grow(k);
    key->length = kv->key_len;
    memcpy(key->text, kv->key, kv->key_len);
    *find(k, kv->key, kv->key_len) = key;
    k->count++;
    return key;
}

static bool store(struct key *key, const struct resolver_endpoint *at, unsigned count)
{
    if (count != key->count || count == 0) {
        struct resolver_endpoint *room = realloc(key->at, (count + 1) * sizeof(*room));
        if (room == NULL)
            return false;
        key->at = room;
    }
    memcpy(key->at, at, count * sizeof(*at));
    key->count = count;
    return true;
}

void keys_put(struct keys *k, const struct keys *before, const struct etcd_kv *kv, const char *cluster)
{
    struct key *key = *find(k, kv->key, kv->key_len);
    const struct key *old = key == NULL && before != NULL ? *find(before, kv->key, kv->key_len) : key;
    bool known_bad = old != NULL && old->bad, same = old != NULL && old->mod_revision == kv->mod_revision;
    bool renewed = old != NULL ? old->renewed || old->create_revision != kv->create_revision || old->lease != kv->lease : true;
    if (key == NULL && (key = create(k, kv)) == NULL)
        return;
    key->renewed = renewed;
    key->create_revision = kv->create_revision;
    key->mod_revision = kv->mod_revision;
    key->lease = kv->lease;
    struct resolver_value value;
    size_t skip = kv->key_len >= k->prefix_len ? k->prefix_len : 0;
    key->bad = !resolver_value_parse(k->format, kv->key + skip, kv->key_len - skip, kv->value, kv->value_len, &value);
    if (!key->bad) {
        store(key, value.at, value.count);
        return;
    }
    if (old != NULL && old != key)
        store(key, old->at, old->count);
    k->bad_values += !(known_bad && same);
    if (!known_bad)
        loop_log(LOOP_LOG_WARN, "resolver: cluster %s: key %.*s cannot be read: %s; %s", cluster, (int)(kv->key_len < 200 ? kv->key_len : 200),
                 kv->key, value.why, key->count > 0 ? "its last good endpoint stays" : "it is left out");
}

void keys_delete(struct keys *k, const struct etcd_kv *kv)
{
    struct key **at = find(k, kv->key, kv->key_len), *key = *at;
    if (key == NULL)
        return;
    *at = key->next;
    key_free(key);
    k->count--;
}

unsigned keys_count(const struct keys *k)
{
    return k->count;
}

bool keys_overflowed(const struct keys *k)
{
    return k->overflowed;
}

uint64_t keys_bad_values(struct keys *k)
{
    uint64_t n = k->bad_values;
    k->bad_values = 0;
    return n;
}

struct said {
    struct membership_entry entry;
    int64_t mod_revision;
};

/* In order of address; of one address, the key written last first. */
static int by_address(const void *a, const void *b)
{
    const struct said *x = a, *y = b;
    int d = memcmp(x->entry.address.addr.b, y->entry.address.addr.b, sizeof(x->entry.address.addr.b));
    if (d == 0)
        d = (int)x->entry.address.port - (int)y->entry.address.port;
    return d != 0 ? d : x->mod_revision != y->mod_revision ? (x->mod_revision > y->mod_revision ? -1 : 1) : 0;
}

static bool same_address(const struct membership_entry *a, const struct membership_entry *b)
{
    return base_addr_eq(&a->address.addr, &b->address.addr) && a->address.port == b->address.port;
}

static struct said *collect(struct keys *k, size_t *n)
{
    size_t count = 0;
    for (unsigned i = 0; i < k->bucket_count; i++)
        for (struct key *key = k->bucket[i]; key != NULL; key = key->next)
            count += key->count;
    struct said *all = malloc((count + 1) * sizeof(*all));
    *n = 0;
    for (unsigned i = 0; all != NULL && i < k->bucket_count; i++) {
        for (struct key *key = k->bucket[i]; key != NULL; key = key->next) {
            for (unsigned e = 0; e < key->count; e++)
                all[(*n)++] = (struct said){{key->at[e].address, key->at[e].weight, key->renewed}, key->mod_revision};
            key->renewed = false;
        }
    }
    return all;
}

struct membership_entry *keys_entries(struct keys *k, unsigned *n)
{
    size_t count;
    struct said *all = collect(k, &count);
    struct membership_entry *out = all != NULL ? malloc((count + 1) * sizeof(*out)) : NULL;
    *n = 0;
    if (out != NULL) {
        qsort(all, count, sizeof(*all), by_address);
        for (size_t i = 0; i < count; i++) {
            if (*n > 0 && same_address(&out[*n - 1], &all[i].entry))
                out[*n - 1].renewed |= all[i].entry.renewed;
            else
                out[(*n)++] = all[i].entry;
        }
    }
    free(all);
    return out;
}
