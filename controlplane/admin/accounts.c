/* Accounts: a worker counts by slot, an operator asks by address.
 *
 * A slot's counts belong to the endpoint whose serial stands in it.  Each look copies them; when the serial has
 * changed, what was copied last is closed into the departed endpoint's account, and the slot begins to count for the
 * new one.  So, for each account,
 *
 *     total = closed + sum over its holders' last look,      and total never falls.
 *
 * An account without a holder is kept until ADMIN_DEPARTED_MAX others left after it; then it is folded into its
 * cluster's "other". */
#include "internal.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned hash(uint16_t cluster, const struct base_endpoint *e, bool other)
{
    uint64_t x = other ? cluster : e->addr.q[0] ^ base_mix64(e->addr.q[1] ^ ((uint64_t)e->port << 32) ^ cluster);
    return (unsigned)(base_mix64(x) % ADMIN_HASH);
}

static struct admin_account *find(const struct admin_accounts *t, uint16_t cluster, const struct base_endpoint *address,
                                  bool other)
{
    struct admin_account *c = t->bucket[hash(cluster, address, other)];
    while (c != NULL &&
           !(c->cluster == cluster && c->other == other &&
             (other || (c->address.port == address->port && base_addr_eq(&c->address.addr, &address->addr)))))
        c = c->next;
    return c;
}

struct admin_account *admin_account_find(const struct admin_accounts *t, uint16_t cluster,
                                         const struct base_endpoint *address)
{
    return find(t, cluster, address, false);
}

/* NULL: out of memory; then nothing is counted for it. */
static struct admin_account *open_account(struct admin_accounts *t, uint16_t cluster,
                                          const struct base_endpoint *address, bool other)
{
    struct admin_account *c = find(t, cluster, address, other);
    if (c != NULL)
        return c;
    if (t->count == t->room) {
        uint32_t room = t->room * 2 + 64;
        struct admin_account **list = realloc(t->list, room * sizeof(struct admin_account *));
        if (list == NULL)
            return NULL;
        t->list = list;
        t->room = room;
    }
    c = calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    c->cluster = cluster;
    c->other = other;
    c->address = *address;
    struct admin_account **bucket = &t->bucket[hash(cluster, address, other)];
    c->next = *bucket;
    *bucket = c;
    t->list[t->count++] = c;
    return c;
}

struct admin_account *admin_account_other(struct admin_accounts *t, uint16_t cluster)
{
    static const struct base_endpoint none;
    return open_account(t, cluster, &none, true);
}

void admin_counts_add(struct admin_counts *to, const struct admin_counts *from, unsigned workers)
{
    for (unsigned i = 0; i < STATS_GRPC_CODES; i++)
        to->rpcs[i] += from->rpcs[i];
    for (unsigned w = 0; w < workers; w++)
        to->picks[w] += from->picks[w];
    to->connects += from->connects;
    to->failures += from->failures;
    to->active += from->active;
}

static void add_seen(struct admin_counts *to, const struct admin_seen *s, unsigned worker)
{
    for (unsigned i = 0; i < STATS_GRPC_CODES; i++)
        to->rpcs[i] += s->rpcs[i];
    to->picks[worker] += s->picks;
    to->connects += s->connects;
    to->failures += s->failures;
}

static void close_seen(struct admin_accounts *t, struct admin_seen *s, unsigned worker)
{
    struct admin_account *c = s->account;
    if (c != NULL) {
        add_seen(&c->closed, s, worker);
        if (--c->holders == 0) {
            c->left = ++t->departures;
            t->departed++;
        }
    }
    *s = (struct admin_seen){0};
}

static void open_seen(struct admin_accounts *t, const struct admin_view *v, struct admin_seen *s, uint32_t slot,
                      uint64_t serial)
{
    const struct membership_endpoint *e = membership_slot(v->membership, slot);
    s->serial = serial;
    if (e == NULL || e->serial != serial)
        return; /* come and gone between two looks */
    s->account = open_account(t, e->cluster, &e->address, false);
    if (s->account == NULL)
        return;
    s->account->holders++;
    if (s->account->left != 0) {
        s->account->left = 0;
        t->departed--;
    }
}

/* A worker that takes the slot over clears it while we read: then some count has fallen, and this look does not count.
 */
static void look(struct admin_seen *s, const struct stats_slot *from)
{
    struct admin_seen now = {.serial = s->serial, .account = s->account};
    bool fell = false;
    for (unsigned i = 0; i < STATS_GRPC_CODES; i++) {
        now.rpcs[i] = stats_read(&from->rpcs[i]);
        fell = fell || now.rpcs[i] < s->rpcs[i];
    }
    now.picks = stats_read(&from->picks);
    now.connects = stats_read(&from->connects);
    now.failures = stats_read(&from->failures);
    now.active = stats_read(&from->active);
    fell = fell || now.picks < s->picks || now.connects < s->connects || now.failures < s->failures;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (!fell && stats_read(&from->serial) == s->serial)
        *s = now;
}

static bool seen_room(struct admin_accounts *t, unsigned worker, uint32_t slots)
{
    if (slots <= t->seen_count[worker])
        return true;
    struct admin_seen *grown = realloc(t->seen[worker], slots * sizeof(*grown));
    if (grown == NULL)
        return false;
    memset(grown + t->seen_count[worker], 0, (slots - t->seen_count[worker]) * sizeof(*grown));
    t->seen[worker] = grown;
    t->seen_count[worker] = slots;
    return true;
}

static void observe_worker(struct admin_accounts *t, const struct admin_view *v, unsigned worker)
{
    const struct stats *s = v->stats[worker];
    uint32_t slots = membership_slot_count(v->membership);
    if (slots > s->slot_count)
        slots = s->slot_count;
    if (!seen_room(t, worker, slots))
        return;
    for (uint32_t i = 0; i < t->seen_count[worker]; i++) {
        struct admin_seen *seen = &t->seen[worker][i];
        uint64_t serial = __atomic_load_n(&s->slots[i].serial, __ATOMIC_ACQUIRE);
        if (serial != seen->serial) {
            close_seen(t, seen, worker);
            open_seen(t, v, seen, i, serial);
        } else if (seen->account == NULL && serial != 0) {
            open_seen(t, v, seen, i, serial);
        }
        if (serial != 0)
            look(seen, &s->slots[i]);
    }
}

static void unlink_account(struct admin_accounts *t, struct admin_account *c)
{
    struct admin_account **at = &t->bucket[hash(c->cluster, &c->address, c->other)];
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
}

/* Of too many that left, those that left first are folded, a quarter at a time. */
static void fold_departed(struct admin_accounts *t, unsigned workers)
{
    if (t->departed <= ADMIN_DEPARTED_MAX)
        return;
    uint64_t before = t->departures - ADMIN_DEPARTED_MAX * 3 / 4;
    uint32_t n = t->count, kept = 0;
    for (uint32_t i = 0; i < n; i++) /* first: making "other" may move the list */
        if (t->list[i]->left != 0 && t->list[i]->left <= before)
            admin_account_other(t, t->list[i]->cluster);
    for (uint32_t i = 0; i < t->count; i++) {
        struct admin_account *c = t->list[i],
                             *other = c->left != 0 && c->left <= before ? find(t, c->cluster, &c->address, true) : NULL;
        if (other == NULL) {
            t->list[kept++] = c;
            continue;
        }
        admin_counts_add(&other->closed, &c->closed, workers);
        unlink_account(t, c);
        free(c);
        t->departed--;
    }
    t->count = kept;
}

static void drop_cluster(struct admin_accounts *t, unsigned workers, uint16_t cluster)
{
    uint32_t kept = 0;
    for (unsigned w = 0; w < workers; w++)
        for (uint32_t i = 0; i < t->seen_count[w]; i++)
            if (t->seen[w][i].account != NULL && t->seen[w][i].account->cluster == cluster)
                t->seen[w][i] = (struct admin_seen){0};
    for (uint32_t i = 0; i < t->count; i++) {
        struct admin_account *c = t->list[i];
        if (c->cluster != cluster) {
            t->list[kept++] = c;
            continue;
        }
        t->departed -= c->left != 0;
        unlink_account(t, c);
        free(c);
    }
    t->count = kept;
}

static uint64_t counted(const struct admin_view *v, uint32_t cluster, size_t offset)
{
    uint64_t n = 0;
    for (unsigned w = 0; w < v->worker_count; w++)
        if (cluster < v->stats[w]->cluster_count)
            n += stats_read((const uint64_t *)(const void *)((const char *)&v->stats[w]->clusters[cluster] + offset));
    return n;
}

uint64_t admin_cluster_count(const struct admin_accounts *t, const struct admin_view *v, uint32_t cluster, size_t offset)
{
    uint64_t n = counted(v, cluster, offset), before = 0;
    if (t->before[cluster] != NULL)
        memcpy(&before, (const char *)t->before[cluster] + offset, sizeof(before));
    return n > before ? n - before : 0;
}

/* Workers' counts of a cluster, or those of one listener in it, begin at nothing for the name that has the id now. */
static void begin_counts(struct admin_accounts *t, const struct admin_view *v, uint32_t cluster, size_t offset, size_t bytes)
{
    if (t->before[cluster] == NULL)
        t->before[cluster] = calloc(1, sizeof(**t->before));
    for (size_t at = offset; t->before[cluster] != NULL && at < offset + bytes; at += sizeof(uint64_t)) {
        uint64_t n = counted(v, cluster, at);
        memcpy((char *)t->before[cluster] + at, &n, sizeof(n));
    }
}

/* Listeners have 16 ids: a seventeenth name gets one whose listener is gone. */
static void check_listeners(struct admin_accounts *t, const struct admin_view *v)
{
    for (uint32_t l = 0; l < STATS_LISTENERS; l++) {
        const char *name = publish_listener_name(v->publish, l);
        size_t offset = offsetof(struct stats_cluster, started) + l * sizeof(uint64_t);
        if (name == NULL || strcmp(name, t->listener[l]) == 0)
            continue;
        for (uint32_t c = 0; t->listener[l][0] != '\0' && c < membership_cluster_count(v->membership); c++)
            if (counted(v, c, offset) > 0)
                begin_counts(t, v, c, offset, sizeof(uint64_t));
        snprintf(t->listener[l], sizeof(t->listener[l]), "%s", name);
    }
}

/* When all ids are used up, one whose cluster is long gone is given to another name: its accounts end. */
static void check_names(struct admin_accounts *t, const struct admin_view *v)
{
    for (uint32_t i = 0; i < membership_cluster_count(v->membership); i++) {
        const struct membership_cluster *c = membership_cluster(v->membership, (uint16_t)i);
        if (c == NULL || strcmp(c->name, t->name[i]) == 0)
            continue;
        if (t->name[i][0] != '\0') {
            drop_cluster(t, v->worker_count, (uint16_t)i);
            begin_counts(t, v, i, 0, sizeof(struct stats_cluster));
        }
        memcpy(t->name[i], c->name, sizeof(t->name[i]));
    }
}

void admin_accounts_observe(struct admin_accounts *t, const struct admin_view *v)
{
    check_names(t, v);
    check_listeners(t, v);
    for (unsigned w = 0; w < v->worker_count; w++)
        observe_worker(t, v, w);
    fold_departed(t, v->worker_count);
}

void admin_accounts_sum(struct admin_accounts *t, const struct admin_view *v)
{
    admin_accounts_observe(t, v);
    for (uint32_t i = 0; i < t->count; i++)
        t->list[i]->total = t->list[i]->closed;
    for (unsigned w = 0; w < v->worker_count; w++)
        for (uint32_t i = 0; i < t->seen_count[w]; i++) {
            const struct admin_seen *s = &t->seen[w][i];
            if (s->account == NULL)
                continue;
            add_seen(&s->account->total, s, w);
            s->account->total.active += s->active;
        }
}

bool admin_accounts_create(struct admin_accounts *t, const struct admin_view *v)
{
    t->seen = calloc(v->worker_count, sizeof(struct admin_seen *));
    t->seen_count = calloc(v->worker_count, sizeof(*t->seen_count));
    return t->seen != NULL && t->seen_count != NULL;
}

void admin_accounts_destroy(struct admin_accounts *t, unsigned workers)
{
    for (uint32_t i = 0; i < t->count; i++)
        free(t->list[i]);
    for (unsigned w = 0; w < workers && t->seen != NULL; w++)
        free(t->seen[w]);
    for (uint32_t i = 0; i < SNAPSHOT_CLUSTERS_MAX; i++)
        free(t->before[i]);
    free(t->list);
    free(t->seen);
    free(t->seen_count);
}
