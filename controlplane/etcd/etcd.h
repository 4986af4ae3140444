/* etcd: a client of etcd's v3 JSON gateway (3.4 to 3.6), for the resolver and for penstock-register.
 *
 * Owns:   the list of endpoints and which one is in use, the back-off after failures, the authentication token, calls under way.
 * Uses:   base, loop; cJSON.
 * Thread: the loop's.
 * Time:   the loop's.
 * Memory: the heap; an answer or a line of a watch is bounded (ETCD_ANSWER_BYTES_MAX).
 * Errors: struct etcd_error: a code to act on, and words that say what to do.
 *
 * Every call ends with exactly one `done`, never inside the function that began it, unless it is cancelled.  Calls do not rotate or wait by
 * themselves: whoever sees ETCD_UNAVAILABLE calls etcd_failed(), which turns to the next endpoint and says how long to wait. */
#ifndef ETCD_H
#define ETCD_H

#include "base/base.h"
#include "loop/loop.h"

#define ETCD_ANSWER_BYTES_MAX (32u << 20)

struct etcd;
struct etcd_call;

enum etcd_code {
    ETCD_OK,
    ETCD_UNAVAILABLE, /* no connection, no leader, no answer in time: another endpoint, or later */
    ETCD_COMPACTED,   /* the revision asked for is gone: list again */
    ETCD_NOT_FOUND,   /* a lease that is gone */
    ETCD_DENIED,      /* wrong password or no permission */
    ETCD_UNAUTHENTICATED, /* no token or an old one; retried once inside */
    ETCD_GATEWAY_OFF, /* not the v3 JSON gateway */
    ETCD_TOO_LARGE,   /* ask for less at once */
    ETCD_REFUSED,     /* anything else that etcd said */
    ETCD_NONSENSE,    /* not what etcd says */
};

struct etcd_error {
    enum etcd_code code;
    char text[320]; /* "" when ETCD_OK */
};

/* Zero where the answer had none. */
struct etcd_header {
    uint64_t cluster_id, member_id, raft_term;
    int64_t revision;
};

struct etcd_kv {
    char *key, *value; /* NUL-terminated; may hold further NULs */
    size_t key_len, value_len;
    int64_t create_revision, mod_revision, lease;
    bool deleted; /* of a watch: key and mod_revision alone are set */
};

struct etcd_options {
    const char *const *endpoints; /* "http://127.0.0.1:2379"; copied, as all here */
    unsigned endpoint_count;
    const char *username, *password_file; /* NULL or "": no authentication */
    const char *ca, *cert, *key;
};

struct etcd *etcd_create(struct loop *l, const struct etcd_options *o);
void etcd_destroy(struct etcd *e); /* cancels what is under way */
const char *etcd_endpoint(const struct etcd *e); /* in use */
/* After ETCD_UNAVAILABLE and the like: turns to the next endpoint; how long to wait before the next attempt: jittered, growing from
 * 100 ms to ETCD_BACKOFF_NS_MAX. */
uint64_t etcd_failed(struct etcd *e);
void etcd_succeeded(struct etcd *e); /* the next failure waits shortly again */
#define ETCD_BACKOFF_NS_MIN 100000000ull
#define ETCD_BACKOFF_NS_MAX 5000000000ull

/* All keys under `prefix`, page by page, all at one revision, linearizable.  `page` may be called many times, `done` once: header of the
 * first page.  An etcd_call is gone when `done` is called. */
typedef void etcd_page_fn(void *user, const struct etcd_kv *kv, unsigned n);
typedef void etcd_done_fn(void *user, const struct etcd_error *error, const struct etcd_header *header, int64_t number);
struct etcd_call *etcd_list(struct etcd *e, const char *prefix, etcd_page_fn *page, etcd_done_fn *done, void *user);
/* How many keys there are now (number) at which revision: linearizable, so the answer also proves that this member is not behind. */
struct etcd_call *etcd_count(struct etcd *e, const char *prefix, uint64_t timeout_ns, etcd_done_fn *done, void *user);

struct etcd_watch_handlers {
    void (*created)(void *user, const struct etcd_header *header);
    /* All events of one or more whole transactions; deletions have `deleted` set. */
    void (*events)(void *user, const struct etcd_header *header, const struct etcd_kv *kv, unsigned n);
    /* The watch is over, whatever the reason. number: the compact revision with ETCD_COMPACTED. */
    etcd_done_fn *done;
};
struct etcd_call *etcd_watch(struct etcd *e, const char *prefix, int64_t start_revision, const struct etcd_watch_handlers *h, void *user);

/* number: the lease's id. */
struct etcd_call *etcd_lease_grant(struct etcd *e, uint64_t ttl_s, etcd_done_fn *done, void *user);
/* ETCD_NOT_FOUND: the lease is gone.  number: seconds left. */
struct etcd_call *etcd_lease_keepalive(struct etcd *e, int64_t lease, etcd_done_fn *done, void *user);
struct etcd_call *etcd_lease_revoke(struct etcd *e, int64_t lease, etcd_done_fn *done, void *user);
struct etcd_call *etcd_put(struct etcd *e, const char *key, const char *value, int64_t lease, etcd_done_fn *done, void *user);
void etcd_cancel(struct etcd_call *c); /* NULL is harmless */

/* Pure functions, for tests too. */

/* The end of the range of keys that begin with prefix: NUL-terminated in `end` of n + 2 bytes; returns its length. */
size_t etcd_prefix_end(const char *prefix, size_t n, char *end);
/* Standard base64, padded, canonical.  Returns bytes written, or -1.  out: n / 4 * 3 + 1 bytes, NUL-terminated;
 * it may be `text` itself. */
long etcd_base64_decode(const char *text, size_t n, char *out);
/* out: (n + 2) / 3 * 4 + 1 bytes, NUL-terminated. */
void etcd_base64_encode(const char *data, size_t n, char *out);
/* What an answer that is not a success says: all forms of 3.4 to 3.6, and text/plain. */
void etcd_error_read(long status, const char *content_type, const char *body, struct etcd_error *out);

#endif
