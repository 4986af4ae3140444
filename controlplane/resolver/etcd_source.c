/* etcd:///PREFIX: list, watch, resume, list again.
 *
 *            +------------- wait (back-off) <---- any failure ----+
 *            |                                                    |
 *   start -> LISTING --set swapped--> WATCHING --events, one message = one batch
 *            ^                            |
 *            +--- compacted, or the registry went back in time ---+     (at once; the set stays until the list is whole)
 *
 * Liveness.  A hung or vanished etcd leaves a watch silent for ever, and the period of its own progress notices is a server's flag.  A request
 * for progress would have to go up the same HTTP request, which a plain POST has ended.  So every PROBE_NS the keys are counted, by a
 * linearizable read on the same endpoint: it must come back within PROBE_TIMEOUT_NS (a hung process, a lost quorum), at a revision that is not
 * below ours (a wiped registry: it accepts a watch from a future revision in silence), and with as many keys as we have (a watch that tells
 * less than it should).  What the kernel can know about the watch's own connection, TCP's keepalive tells.  So a silent watch is found
 * within PROBE_NS + PROBE_TIMEOUT_NS = 4.5 s.
 *
 * Every `resync` the whole prefix is listed and compared, beside the running watch; and a second after a watch was resumed, as a registry that
 * was wiped and filled again meanwhile may look like one that went on. */
#include "internal.h"
#include "loop/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SECOND            1000000000ull
#define PROBE_NS          (2 * SECOND)
#define PROBE_TIMEOUT_NS  (5 * SECOND / 2)
#define PROVEN_NS         (5 * SECOND) /* longer since the last proof: stale */
#define RESYNC_SOON_NS    SECOND
#define RESYNC_TRIES      5 /* disturbed by events so often: then by starting over */
#define LOG_AGAIN_NS      (60 * SECOND)

enum state { LISTING, STARTING, WATCHING, WAITING };

struct source {
    struct resolver_context x;
    struct etcd *client;
    char *prefix;
    enum config_format format;
    uint64_t resync_ns;
    enum state state;
    struct keys *keys;    /* NULL before the first list */
    struct keys *staging; /* of a list under way */
    int64_t floor;        /* what the watch tells of revisions up to this is in `keys` already */
    int64_t applied;      /* `keys` holds everything up to this revision */
    struct etcd_header known;
    struct etcd_call *list, *watch, *probe;
    struct loop_timer *retry, *probe_timer, *resync_timer;
    uint64_t proven_at, probe_sent_at;
    int64_t probe_applied; /* s->applied when the probe was sent */
    bool probe_failed, count_differed;
    bool relist;          /* after the wait, list rather than resume */
    uint64_t started_over_at;
    unsigned resync_tries;
    bool failing;
    uint64_t logged_at;
    uint64_t random;
    enum etcd_code last_error;
};

static void list_begin(struct source *s);
static void watch_begin(struct source *s);

static uint64_t jittered(struct source *s, uint64_t ns) /* -10 % .. +10 % */
{
    s->random = base_mix64(s->random + 0x9e3779b97f4a7c15ull);
    return ns - ns / 10 + s->random % (ns / 5 + 1);
}

/* The first of its kind is one line; the next after a minute: with several endpoints the words differ each time. */
static void log_failure(struct source *s, const struct etcd_error *e)
{
    uint64_t now = loop_now(s->x.loop);
    if (s->failing && s->last_error == e->code && now - s->logged_at < LOG_AGAIN_NS)
        return;
    s->last_error = e->code;
    s->logged_at = now;
    loop_log(LOOP_LOG_WARN, "resolver: cluster %s: %s; %u endpoints stay as they are", s->x.cluster->name, e->text, s->x.cluster->present);
}

static void stop_calls(struct source *s)
{
    etcd_cancel(s->list);
    etcd_cancel(s->watch);
    etcd_cancel(s->probe);
    s->list = s->watch = s->probe = NULL;
    keys_destroy(s->staging);
    s->staging = NULL;
    loop_timer_stop(s->probe_timer);
    loop_timer_stop(s->resync_timer);
}

static void fail(struct source *s, const struct etcd_error *e)
{
    log_failure(s, e);
    stop_calls(s);
    s->state = WAITING;
    s->failing = true;
    loop_timer_set(s->retry, etcd_failed(s->client));
}

static void no_memory(struct source *s)
{
    struct etcd_error e = {ETCD_UNAVAILABLE, "out of memory"};
    fail(s, &e);
}

static void retry_due(void *user)
{
    struct source *s = user;
    if (s->keys == NULL || s->relist)
        list_begin(s);
    else
        watch_begin(s);
}

/* At once; but not for ever at once, where an address leads to two registries by turns. */
static void start_over(struct source *s, const char *why)
{
    struct etcd_error e;
    uint64_t now = loop_now(s->x.loop), last = s->started_over_at;
    s->started_over_at = now;
    s->relist = true;
    if (last != 0 && now - last < SECOND) {
        e.code = ETCD_NONSENSE;
        snprintf(e.text, sizeof(e.text), "%s: %s", etcd_endpoint(s->client), why);
        fail(s, &e);
        return;
    }
    loop_log(LOOP_LOG_WARN, "resolver: cluster %s: %s: %s; listing again", s->x.cluster->name, etcd_endpoint(s->client), why);
    stop_calls(s);
    list_begin(s);
}

/* From keys to membership. */
static unsigned deliver(struct source *s, int64_t revision)
{
    struct membership_cluster *c = s->x.cluster;
    unsigned n;
    struct membership_entry *entries = keys_entries(s->keys, &n);
    c->bad_values += keys_bad_values(s->keys);
    if (entries == NULL)
        return 0;
    uint64_t refused = c->refused;
    bool first = !c->answered, renewed = false;
    for (unsigned i = 0; i < n; i++)
        renewed |= entries[i].renewed;
    unsigned seen = membership_set(s->x.membership, c, entries, n, revision, loop_now(s->x.loop));
    free(entries);
    if (c->refused != refused && refused == 0)
        loop_log(LOOP_LOG_ERROR, "resolver: cluster %s: more than %d endpoints over all clusters: the rest is refused", c->name, SNAPSHOT_SLOTS_MAX);
    if (seen > 0)
        loop_log(LOOP_LOG_INFO, "resolver: cluster %s: %u endpoints at revision %" PRId64 " (%u changed)", c->name, c->present, revision, seen);
    if (seen > 0 || first || renewed)
        s->x.changed(s->x.user);
    return seen;
}

/* lists */

static void list_page(void *user, const struct etcd_kv *kv, unsigned n)
{
    struct source *s = user;
    for (unsigned i = 0; i < n; i++)
        keys_put(s->staging, s->keys, &kv[i], s->x.cluster->name);
}

static bool list_send(struct source *s, etcd_done_fn *done)
{
    s->staging = keys_create(s->format, s->prefix);
    s->list = s->staging != NULL ? etcd_list(s->client, s->prefix, list_page, done, s) : NULL;
    return s->list != NULL;
}

static unsigned list_take(struct source *s, const struct etcd_header *header)
{
    keys_destroy(s->keys);
    s->keys = s->staging;
    s->staging = NULL;
    s->known = *header;
    s->floor = s->applied = header->revision;
    return deliver(s, header->revision);
}

static void list_done(void *user, const struct etcd_error *error, const struct etcd_header *header, int64_t number)
{
    (void)number;
    struct source *s = user;
    s->list = NULL;
    if (error->code != ETCD_OK) {
        fail(s, error);
        return;
    }
    s->relist = false;
    list_take(s, header);
    watch_begin(s);
}

static void list_begin(struct source *s)
{
    s->state = LISTING;
    if (!list_send(s, list_done))
        no_memory(s);
}

static void resync_done(void *user, const struct etcd_error *error, const struct etcd_header *header, int64_t number)
{
    (void)number;
    struct source *s = user;
    s->list = NULL;
    uint64_t next = jittered(s, s->resync_ns);
    if (error->code != ETCD_OK || header->revision < s->applied) {
        /* Events came between, or the list failed; whether the registry lives is the probe's to find out. */
        keys_destroy(s->staging);
        s->staging = NULL;
        if (++s->resync_tries >= RESYNC_TRIES && error->code == ETCD_OK) {
            s->resync_tries = 0;
            start_over(s, "changes too often to be compared beside the watch");
            return;
        }
        next = error->code == ETCD_OK ? RESYNC_SOON_NS : 5 * SECOND;
    } else {
        s->resync_tries = 0;
        int64_t before = s->applied;
        unsigned seen = list_take(s, header);
        if (seen > 0 && header->revision == before)
            loop_log(LOOP_LOG_WARN, "resolver: cluster %s: comparing found %u endpoints that the watch had told wrongly", s->x.cluster->name, seen);
    }
    loop_timer_set(s->resync_timer, next);
}

static void resync_due(void *user)
{
    struct source *s = user;
    if (s->state != WATCHING || s->list != NULL)
        return;
    if (!list_send(s, resync_done))
        no_memory(s);
}

/* probes */

static void probe_done(void *user, const struct etcd_error *error, const struct etcd_header *header, int64_t count)
{
    struct source *s = user;
    uint64_t now = loop_now(s->x.loop);
    s->probe = NULL;
    if (error->code != ETCD_OK) {
        /* An election answers quickly and badly: once more. */
        bool again = !s->probe_failed && now - s->probe_sent_at < PROBE_NS / 2;
        s->probe_failed = true;
        if (again)
            loop_timer_set(s->probe_timer, PROBE_NS / 4);
        else
            fail(s, error);
        return;
    }
    s->probe_failed = false;
    if (header->revision < s->probe_applied || (s->known.cluster_id != 0 && header->cluster_id != s->known.cluster_id)) {
        start_over(s, "the registry is another one, or went back in time");
        return;
    }
    bool differs = !keys_overflowed(s->keys) && s->applied == s->probe_applied && count != (int64_t)keys_count(s->keys);
    if (differs && s->count_differed) {
        start_over(s, "has other keys than its watch told");
        return;
    }
    s->count_differed = differs; /* an event may be on its way: judged by the next */
    if (!differs) {
        s->proven_at = now;
        membership_fresh(s->x.cluster, s->applied, now);
    }
    loop_timer_set(s->probe_timer, differs ? PROBE_NS / 4 : PROBE_NS);
}

static void probe_due(void *user)
{
    struct source *s = user;
    if (s->state != WATCHING || s->probe != NULL)
        return;
    s->probe_sent_at = loop_now(s->x.loop);
    s->probe_applied = s->applied;
    s->probe = etcd_count(s->client, s->prefix, PROBE_TIMEOUT_NS, probe_done, s);
    if (s->probe == NULL)
        no_memory(s);
}

/* the watch */

static void watch_created(void *user, const struct etcd_header *header)
{
    struct source *s = user;
    bool other = header->cluster_id != s->known.cluster_id || header->raft_term < s->known.raft_term;
    if (other) {
        start_over(s, "the registry is another one than before");
        return;
    }
    if (s->failing || s->state != WATCHING)
        loop_log(LOOP_LOG_INFO, "resolver: cluster %s: watching %s on %s from revision %" PRId64, s->x.cluster->name, s->prefix,
                 etcd_endpoint(s->client), s->applied + 1);
    s->state = WATCHING;
    s->known.raft_term = header->raft_term;
    s->probe_failed = s->count_differed = false;
    loop_timer_set(s->resync_timer, s->failing ? RESYNC_SOON_NS : jittered(s, s->resync_ns));
    s->failing = false;
    etcd_succeeded(s->client);
    probe_due(s);
}

static void watch_events(void *user, const struct etcd_header *header, const struct etcd_kv *kv, unsigned n)
{
    struct source *s = user;
    (void)header;
    for (unsigned i = 0; i < n; i++) {
        if (kv[i].mod_revision <= s->floor)
            continue; /* in the list already */
        if (kv[i].deleted)
            keys_delete(s->keys, &kv[i]);
        else
            keys_put(s->keys, NULL, &kv[i], s->x.cluster->name);
        if (kv[i].mod_revision > s->applied)
            s->applied = kv[i].mod_revision;
    }
    deliver(s, s->applied);
}

static void watch_done(void *user, const struct etcd_error *error, const struct etcd_header *header, int64_t number)
{
    (void)header;
    (void)number;
    struct source *s = user;
    s->watch = NULL;
    if (error->code == ETCD_COMPACTED) {
        start_over(s, "what happened since we last heard of it is compacted");
        return;
    }
    /* A message that cannot be read, or is too large, would come again. */
    s->relist = error->code == ETCD_NONSENSE || error->code == ETCD_TOO_LARGE;
    fail(s, error);
}

static void watch_begin(struct source *s)
{
    static const struct etcd_watch_handlers handlers = {watch_created, watch_events, watch_done};
    s->state = STARTING;
    s->watch = etcd_watch(s->client, s->prefix, s->applied + 1, &handlers, s);
    if (s->watch == NULL)
        no_memory(s);
}

/* the vtable */

static void etcd_source_stop(void *source)
{
    struct source *s = source;
    if (s->client != NULL)
        stop_calls(s);
    loop_timer_remove(s->retry);
    loop_timer_remove(s->probe_timer);
    loop_timer_remove(s->resync_timer);
    etcd_destroy(s->client);
    keys_destroy(s->keys);
    free(s->prefix);
    free(s);
}

static void *etcd_source_start(const struct resolver_context *x, const struct config *c, const struct config_cluster *cluster)
{
    struct source *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    const struct config_etcd *e = &c->etcd;
    struct etcd_options o = {.endpoints = (const char *const *)e->endpoints, .endpoint_count = e->endpoint_count, .username = e->username,
                             .password_file = e->password_file, .ca = e->ca, .cert = e->cert, .key = e->key};
    s->x = *x;
    s->format = cluster->format;
    s->resync_ns = e->resync_ns != 0 ? e->resync_ns : 60 * SECOND;
    s->random = base_mix64((uintptr_t)s ^ loop_now(x->loop));
    s->retry = loop_timer_add(x->loop, retry_due, s);
    s->probe_timer = loop_timer_add(x->loop, probe_due, s);
    s->resync_timer = loop_timer_add(x->loop, resync_due, s);
    if (s->retry == NULL || s->probe_timer == NULL || s->resync_timer == NULL || (s->client = etcd_create(x->loop, &o)) == NULL ||
        asprintf(&s->prefix, "%s%s", e->ns != NULL ? e->ns : "", cluster->target_path) < 0) {
        etcd_source_stop(s);
        return NULL;
    }
    list_begin(s);
    return s;
}

static uint64_t etcd_source_stale_ns(const void *source, uint64_t now)
{
    const struct source *s = source;
    if (s->state == WATCHING && now - s->proven_at < PROVEN_NS)
        return 0;
    return now > s->x.cluster->fresh_ns ? now - s->x.cluster->fresh_ns : 0;
}

const struct resolver_kind resolver_kind_etcd = {etcd_source_start, etcd_source_stop, etcd_source_stale_ns};
