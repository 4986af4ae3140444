/* resolver: each source of endpoints turns its wire into membership updates.
 *
 * Owns:   one source for each configured cluster: etcd:///PREFIX or static:///IP:PORT,...  (a further kind is one vtable more).
 * Uses:   base, config, loop, etcd, membership.
 * Thread: the loop's.
 * Time:   the loop's.
 * Memory: the heap; a cluster keeps at most RESOLVER_KEYS_MAX keys.
 * Errors: logged; a source that cannot be reached leaves the set as it is, and its age tells. */
#ifndef RESOLVER_H
#define RESOLVER_H

#include "config/config.h"
#include "loop/loop.h"
#include "membership/membership.h"

#define RESOLVER_KEYS_MAX 65536

struct resolvers;

/* `changed` is called after the membership changed in a way that workers must see; never inside resolvers_configure(). */
struct resolvers *resolvers_create(struct loop *l, struct membership *m, void (*changed)(void *user), void *user);
/* Starts, stops or keeps each cluster's source; one whose target, format and registry stay as they were runs on undisturbed.
 * membership_configure() comes first.  c need not outlive the call. */
void resolvers_configure(struct resolvers *rs, const struct config *c);
/* The half of it that disturbs nothing: clusters without a source get theirs. */
void resolvers_add(struct resolvers *rs, const struct config *c);
void resolvers_destroy(struct resolvers *rs);
/* How old the cluster's set may be: 0 while the source is live and proven to be. */
uint64_t resolvers_stale_ns(const struct resolvers *rs, const struct membership_cluster *c, uint64_t now);

/* What one registry entry says.  A pure function. */
#define RESOLVER_VALUE_ENDPOINTS_MAX 64
#define RESOLVER_VALUE_BYTES_MAX     65536 /* a longer value is not an endpoint */
#define RESOLVER_WEIGHT_MAX          65535 /* larger ones are cut to it */

struct resolver_endpoint {
    struct base_endpoint address;
    uint32_t weight;
};

struct resolver_value {
    unsigned count; /* may be 0: an entry that says nothing about endpoints (a directory's marker) */
    struct resolver_endpoint at[RESOLVER_VALUE_ENDPOINTS_MAX];
    const char *why; /* it is bad; static text */
};

/* key: behind the prefix.  False: bad, out->why says why.
 * A weight is a number or a numeric string; 0 drains, absent or null is 1, a fraction is rounded up (never down to 0), above
 * RESOLVER_WEIGHT_MAX is cut; negative or not a number makes the value bad. */
bool resolver_value_parse(enum config_format format, const char *key, size_t key_len, const char *value, size_t value_len,
                          struct resolver_value *out);

#endif
