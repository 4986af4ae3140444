/* What the files of the resolver room share. */
#ifndef RESOLVER_INTERNAL_H
#define RESOLVER_INTERNAL_H

#include <cjson/cJSON.h>

#include "etcd/etcd.h"
#include "resolver.h"

/* Where a source delivers. */
struct resolver_context {
    struct loop *loop;
    struct membership *membership;
    struct membership_cluster *cluster;
    void (*changed)(void *user);
    void *user;
};

/* A kind of source. */
struct resolver_kind {
    void *(*start)(const struct resolver_context *x, const struct config *c, const struct config_cluster *cluster);
    void (*stop)(void *source);
    uint64_t (*stale_ns)(const void *source, uint64_t now);
};

extern const struct resolver_kind resolver_kind_etcd, resolver_kind_static;

/* keys.c: what each key of a prefix says now. */
struct keys;

struct keys *keys_create(enum config_format format, const char *prefix);
void keys_destroy(struct keys *k);
/* A key's value.  `before`: the table that this one will replace, or NULL: it lends what a key said last where its value is bad, and
 * tells whether the key was written anew.  Bad values are counted and logged. */
void keys_put(struct keys *k, const struct keys *before, const struct etcd_kv *kv, const char *cluster);
void keys_delete(struct keys *k, const struct etcd_kv *kv);
unsigned keys_count(const struct keys *k);   /* keys, bad ones included */
bool keys_overflowed(const struct keys *k);  /* some found no room */
uint64_t keys_bad_values(struct keys *k);    /* since the last call */
/* The endpoints in order of address, each once.  The caller frees them.  NULL: no memory.  Marks of renewal are taken out. */
struct membership_entry *keys_entries(struct keys *k, unsigned *n);

/* layout.c: one JSON object of a known layout.  Each returns false with out->why. */
bool layout_json(enum config_format format, const cJSON *root, const char *key, size_t key_len, struct resolver_value *out);
bool layout_dubbo(const char *key, size_t key_len, struct resolver_value *out);
bool layout_address(const char *text, size_t n, struct base_endpoint *out);
bool layout_last_segment(const char *key, size_t key_len, struct resolver_value *out);
bool layout_add(struct resolver_value *out, const struct base_endpoint *address, uint32_t weight);
bool layout_bad(struct resolver_value *out, const char *why);

#endif
