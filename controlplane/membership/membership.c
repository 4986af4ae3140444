/* Clusters, and the difference between what a cluster has and what its source says. */
#include "internal.h"
#include "mailbox/mailbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

struct membership *membership_create(uint32_t workers)
{
    if (workers == 0 || workers > SNAPSHOT_WORKERS_MAX)
        return NULL;
    struct membership *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return NULL;
    m->workers = workers;
    /* Addresses are chosen by whoever may write to the registry. Without entropy the table is only slower to attack. */
    if (getrandom(&m->key, sizeof(m->key), 0) != sizeof(m->key))
        m->key.k[0] = (uint64_t)(uintptr_t)m;
    return m;
}

void membership_destroy(struct membership *m)
{
    if (m == NULL)
        return;
    for (uint32_t s = 0; s < m->slot_count; s++)
        if (m->slot[s] != NULL)
            membership_node_free(m, m->slot[s]);
    for (uint32_t i = 0; i < m->cluster_count; i++) {
        membership_hands_free(&m->cluster[i]->c);
        free(m->cluster[i]);
    }
    free(m);
}

int membership_order(const struct base_endpoint *a, const struct base_endpoint *b)
{
    int d = memcmp(a->addr.b, b->addr.b, sizeof(a->addr.b));
    return d != 0 ? d : (int)a->port - (int)b->port;
}

/* clusters */

struct membership_cluster *membership_cluster(struct membership *m, uint16_t id)
{
    return id < m->cluster_count ? &m->cluster[id]->c : NULL;
}

uint32_t membership_cluster_count(const struct membership *m)
{
    return m->cluster_count;
}

/* `kept` is `text`, cut to its room. */
static bool same_text(const char *kept, size_t room, const char *text)
{
    return strncmp(kept, text, room - 1) == 0;
}

struct membership_cluster *membership_find(struct membership *m, const char *name)
{
    for (uint32_t i = 0; i < m->cluster_count; i++)
        if (same_text(m->cluster[i]->c.name, sizeof(m->cluster[i]->c.name), name))
            return &m->cluster[i]->c;
    return NULL;
}

struct membership_endpoint *membership_endpoint(struct membership_cluster *c, const struct base_endpoint *address)
{
    struct membership_home *home = base_container(c, struct membership_home, c);
    return membership_lookup(home->m, c->id, address);
}

/* When every id was used, one whose cluster is gone, empty and unknown to workers serves again. */
static bool id_free(const struct membership_cluster *c)
{
    return !c->configured && c->forgotten && base_list_empty(&c->endpoints);
}

static struct membership_cluster *id_reuse(struct membership *m)
{
    for (uint32_t i = 0; i < m->cluster_count; i++)
        if (id_free(&m->cluster[i]->c))
            return &m->cluster[i]->c;
    return NULL;
}

void membership_forget(struct membership_cluster *c)
{
    c->forgotten = !c->configured;
}

static struct membership_cluster *cluster_create(struct membership *m, const char *name, uint64_t now)
{
    struct membership_cluster *c;
    uint16_t id = (uint16_t)m->cluster_count;
    uint64_t version = 0;
    uint32_t holder = 0;
    if (m->cluster_count < SNAPSHOT_CLUSTERS_MAX) {
        struct membership_home *home = calloc(1, sizeof(*home));
        if (home == NULL)
            return NULL;
        home->m = m;
        m->cluster[m->cluster_count++] = home;
        c = &home->c;
    } else {
        c = id_reuse(m);
        if (c == NULL)
            return NULL;
        id = c->id;
        version = c->version;
        holder = c->holder + 1;
        membership_hands_free(c);
    }
    *c = (struct membership_cluster){.id = id, .version = version + 1, .fresh_ns = now, .holder = holder};
    snprintf(c->name, sizeof(c->name), "%s", name);
    base_list_init(&c->endpoints);
    return c;
}

static void leave(struct membership_cluster *c, struct membership_endpoint *e)
{
    e->life = MEMBERSHIP_LEAVING;
    c->outgoing -= e->outgoing;
    e->outgoing = false;
    c->present--;
    c->removed++;
}

static void retire(struct membership_cluster *c)
{
    c->configured = c->forgotten = false;
    c->version++;
    base_list_each(it, &c->endpoints)
    {
        struct membership_endpoint *e = base_container(it, struct membership_endpoint, link);
        if (e->life == MEMBERSHIP_PRESENT)
            leave(c, e);
    }
}

static const struct config_cluster *in_config(const struct config *conf, const char *name)
{
    for (unsigned i = 0; i < conf->cluster_count; i++)
        if (same_text(name, sizeof(((struct membership_cluster *)0)->name), conf->clusters[i].name))
            return &conf->clusters[i];
    return NULL;
}

static struct membership_cluster *named(struct membership *m, const char *name, uint64_t now)
{
    struct membership_cluster *c = membership_find(m, name);
    return c != NULL ? c : cluster_create(m, name, now);
}

/* A new source: what the former one said stays until this one has answered. */
static void source_set(struct membership_cluster *c, const char *target, uint64_t now)
{
    c->configured = true;
    c->forgotten = false;
    c->answered = false;
    c->revision = 0;
    c->fresh_ns = now;
    c->version++;
    snprintf(c->source, sizeof(c->source), "%s", target);
}

void membership_merge(struct membership *m, const struct config *conf, uint64_t now)
{
    for (unsigned i = 0; i < conf->cluster_count; i++) {
        struct membership_cluster *c = named(m, conf->clusters[i].name, now);
        /* NULL: more names than ids (see membership_fits()), or no memory: its routes answer as for a cluster without endpoints. */
        if (c != NULL && (!c->configured || !same_text(c->source, sizeof(c->source), conf->clusters[i].target)))
            source_set(c, conf->clusters[i].target, now);
    }
}

void membership_configure(struct membership *m, const struct config *conf, uint64_t now)
{
    for (uint32_t i = 0; i < m->cluster_count; i++) {
        struct membership_cluster *c = &m->cluster[i]->c;
        if (c->configured && in_config(conf, c->name) == NULL)
            retire(c);
    }
    membership_merge(m, conf, now);
}

void membership_add(struct membership *m, const struct config *conf, uint64_t now)
{
    for (unsigned i = 0; i < conf->cluster_count; i++) {
        struct membership_cluster *c = named(m, conf->clusters[i].name, now);
        if (c != NULL && !c->configured)
            source_set(c, conf->clusters[i].target, now);
    }
}

bool membership_fits(const struct membership *m, const struct config *conf)
{
    unsigned wanted = 0, free_ids = SNAPSHOT_CLUSTERS_MAX - m->cluster_count;
    for (uint32_t i = 0; i < m->cluster_count; i++)
        free_ids += id_free(&m->cluster[i]->c);
    for (unsigned k = 0; k < conf->cluster_count; k++) {
        const struct membership_cluster *have = NULL;
        for (uint32_t i = 0; i < m->cluster_count && have == NULL; i++)
            if (same_text(m->cluster[i]->c.name, sizeof(m->cluster[i]->c.name), conf->clusters[k].name))
                have = &m->cluster[i]->c;
        wanted += have == NULL || id_free(have);
    }
    return wanted <= free_ids;
}

/* the set */

struct ordered {
    const struct membership_entry *entry;
    unsigned index;
};

static int by_address(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;
    int d = membership_order(&x->entry->address, &y->entry->address);
    return d != 0 ? d : (x->index < y->index ? -1 : 1);
}

/* In order of address, the first of each address only.  Returns how many are left. */
static unsigned put_in_order(struct ordered *o, const struct membership_entry *entries, unsigned n)
{
    bool sorted = true;
    for (unsigned i = 0; i < n; i++) {
        o[i] = (struct ordered){&entries[i], i};
        if (i > 0 && membership_order(&entries[i - 1].address, &entries[i].address) >= 0)
            sorted = false;
    }
    if (sorted)
        return n;
    qsort(o, n, sizeof(*o), by_address);
    unsigned kept = 0;
    for (unsigned i = 0; i < n; i++)
        if (kept == 0 || membership_order(&o[kept - 1].entry->address, &o[i].entry->address) != 0)
            o[kept++] = o[i];
    return kept;
}

/* True: workers see the difference. */
static bool update(struct membership *m, struct membership_cluster *c, struct membership_endpoint *e, const struct membership_entry *entry)
{
    bool back = e->life == MEMBERSHIP_LEAVING;
    bool changed = e->weight != entry->weight;
    e->weight = entry->weight;
    c->outgoing -= e->outgoing;
    e->outgoing = false;
    if (back) {
        e->life = MEMBERSHIP_PRESENT;
        e->back_in = UINT64_MAX; /* until publish says which */
        c->present++;
        c->added++;
    } else {
        c->changed += changed;
    }
    if (back || entry->renewed)
        membership_node_renewed(m, base_container(e, struct membership_node, e));
    return back || changed;
}

static bool add(struct membership *m, struct membership_cluster *c, const struct membership_entry *entry, struct base_list *at)
{
    struct membership_node *n = membership_node_create(m, c, &entry->address, at);
    if (n == NULL) {
        c->refused++;
        return false;
    }
    n->e.weight = entry->weight;
    c->present++;
    c->added++;
    return true;
}

/* Both in order of address: one walk along the two. */
static unsigned merge(struct membership *m, struct membership_cluster *c, const struct ordered *o, unsigned n)
{
    unsigned seen = 0, i = 0;
    struct base_list *it = c->endpoints.next;
    while (it != &c->endpoints || i < n) {
        struct membership_endpoint *e = base_container(it, struct membership_endpoint, link);
        int d = it == &c->endpoints ? 1 : i == n ? -1 : membership_order(&e->address, &o[i].entry->address);
        if (d > 0) {
            seen += add(m, c, o[i++].entry, it->prev);
            continue;
        }
        it = it->next;
        if (d == 0) {
            seen += update(m, c, e, o[i++].entry);
        } else if (e->life == MEMBERSHIP_PRESENT && !e->outgoing) {
            e->outgoing = true;
            c->outgoing++;
        }
    }
    return seen;
}

static bool ready_anywhere(const struct membership *m, const struct membership_endpoint *e)
{
    bool ready = false;
    for (uint32_t w = 0; w < m->workers; w++)
        ready |= e->worker_state[w] == MAILBOX_READY;
    return ready;
}

/* Make before break, as gRPC's round_robin does when its whole list changes: where the set has endpoints and none of them is READY yet, those
 * that it lost and that are READY serve on until one is.  Returns how many left. */
static unsigned dismiss(struct membership *m, struct membership_cluster *c, uint64_t now)
{
    if (c->outgoing == 0)
        return 0;
    unsigned before = c->outgoing;
    bool hold = c->outgoing < c->present && now < c->outgoing_until_ns && !membership_ready_everywhere(m, c);
    base_list_each(it, &c->endpoints)
    {
        struct membership_endpoint *e = base_container(it, struct membership_endpoint, link);
        if (e->outgoing && !(hold && ready_anywhere(m, e)))
            leave(c, e);
    }
    return before - c->outgoing;
}

void membership_tick(struct membership *m, uint64_t now)
{
    for (uint32_t i = 0; i < m->cluster_count; i++)
        if (m->cluster[i]->c.outgoing > 0 && dismiss(m, &m->cluster[i]->c, now) > 0)
            m->cluster[i]->c.version++;
}

unsigned membership_set(struct membership *m, struct membership_cluster *c, const struct membership_entry *entries, unsigned n,
                        int64_t revision, uint64_t now)
{
    struct ordered *o = malloc((n + 1) * sizeof(*o));
    if (o == NULL)
        return 0; /* the set stays as it is, and grows stale */
    n = put_in_order(o, entries, n);
    /* A guard against mass removal holds here, between the answer and its use: it compares what would leave with c->present. */
    if (c->outgoing == 0)
        c->outgoing_until_ns = now + MEMBERSHIP_HOLD_NS;
    unsigned seen = c->configured ? merge(m, c, o, n) + dismiss(m, c, now) : 0;
    free(o);
    bool first = !c->answered;
    c->answered = true;
    if (seen > 0 || first)
        c->version++;
    membership_fresh(c, revision, now);
    return seen;
}

void membership_fresh(struct membership_cluster *c, int64_t revision, uint64_t now)
{
    c->revision = revision;
    c->fresh_ns = now;
}
