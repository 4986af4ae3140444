/* The next version out of the current one: begins as a copy of its pointers, then replaces the pages and clusters that changed.
 *
 * A page or a cluster has as many references as versions that point to it (plus one while it is being built). */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

static void page_release(struct snapshot_page *page)
{
    if (page != NULL && --page->refs == 0)
        free(page);
}

static void cluster_release(struct snapshot_cluster *c)
{
    if (c != NULL && --c->refs == 0)
        free(c); /* its slots lie behind it */
}

void publish_version_free(struct snapshot *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < s->page_count; i++)
        page_release(s->page[i]);
    for (uint32_t i = 0; i < s->cluster_count; i++)
        cluster_release(s->cluster[i]);
    publish_settings_release(s->owned);
    free(s);
}

/* One build under way. */
struct build {
    struct publish *p;
    struct snapshot *s;
    bool changed, failed;
    uint64_t fresh_from; /* pages with a version from this on are this build's own */
};

static struct snapshot *copy_current(const struct publish *p)
{
    struct snapshot *s = calloc(1, sizeof(*s));
    if (s == NULL || p->current == NULL)
        return s;
    s->page_count = p->current->page_count;
    s->cluster_count = p->current->cluster_count;
    for (uint32_t i = 0; i < s->page_count; i++) {
        s->page[i] = p->current->page[i];
        if (s->page[i] != NULL)
            s->page[i]->refs++;
    }
    for (uint32_t i = 0; i < s->cluster_count; i++) {
        s->cluster[i] = p->current->cluster[i];
        if (s->cluster[i] != NULL)
            s->cluster[i]->refs++;
    }
    return s;
}

/* The page, this build's own: copied when it is still shared. */
static struct snapshot_page *page_own(struct build *b, uint32_t index)
{
    struct snapshot_page *old = b->s->page[index];
    if (old != NULL && old->version >= b->fresh_from)
        return old;
    struct snapshot_page *page = calloc(1, sizeof(*page));
    if (page == NULL) {
        b->failed = true;
        return NULL;
    }
    if (old != NULL)
        memcpy(page->endpoint, old->endpoint, sizeof(page->endpoint));
    page_release(old);
    page->version = b->p->next_version++;
    page->refs = 1;
    b->s->page[index] = page;
    b->changed = true;
    return page;
}

/* True: the entry differs from what workers have. */
static bool endpoint_put(struct build *b, const struct snapshot_endpoint *e, uint32_t slot)
{
    uint32_t index = slot / SNAPSHOT_PAGE;
    const struct snapshot_page *page = b->s->page[index];
    if (page != NULL && memcmp(&page->endpoint[slot % SNAPSHOT_PAGE], e, sizeof(*e)) == 0)
        return false;
    struct snapshot_page *own = page_own(b, index);
    if (own != NULL)
        own->endpoint[slot % SNAPSHOT_PAGE] = *e;
    return own != NULL;
}

static void cluster_settings(struct snapshot_cluster *out, const struct config_cluster *c)
{
    out->policy = (uint8_t)policy_picker(c);
    out->no_ready_queue = c->no_ready == CONFIG_NO_READY_QUEUE;
    out->connections_per_endpoint = c->connections_per_endpoint;
    out->max_connections_per_endpoint = c->max_connections_per_endpoint;
    out->subset_size = c->subset_size;
    out->no_ready_max = c->no_ready_max;
    out->no_ready_timeout_ns = c->no_ready_timeout_ns;
    out->connect_timeout_ns = c->connect_timeout_ns;
    out->backoff_base_ns = c->backoff_base_ns;
    out->backoff_max_ns = c->backoff_max_ns;
    out->backoff_factor_x1024 = (uint32_t)(c->backoff_factor * 1024.0);
    out->max_connection_age_ns = c->max_connection_age_ns;
    out->keepalive = (struct snapshot_keepalive){c->keepalive.time_ns, c->keepalive.timeout_ns, c->keepalive.min_time_ns,
                                                 c->keepalive.permit_without_stream};
}

static size_t service_size(const struct policy_service *s)
{
    size_t n = s->count * sizeof(struct snapshot_method);
    for (unsigned i = 0; i < s->count; i++)
        n += strlen(s->method[i].path) + 1;
    return n;
}

/* Methods, and behind them their paths, at `at`. */
static void service_fill(struct snapshot_cluster *out, const struct policy_service *s, const char *text, struct snapshot_method *at)
{
    static const struct base_hash_key fixed = {{1, 2}};
    char *path = (char *)(at + s->count);
    out->methods = at;
    out->method_count = s->count;
    out->throttle_max = s->throttle_max;
    out->throttle_ratio = s->throttle_ratio;
    out->service = text != NULL ? base_siphash(&fixed, text, strlen(text)) : 0;
    for (unsigned i = 0; i < s->count; i++) {
        const struct policy_method *m = &s->method[i];
        size_t n = strlen(m->path);
        at[i] = (struct snapshot_method){.match = m->match, .path_len = (uint16_t)n, .path = memcpy(path, m->path, n + 1), .timeout_ns = m->timeout_ns, .retry = m->retry};
        path += n + 1;
    }
}

/* Methods and slots lie behind the struct.  Present endpoints only, in the list's order, which is that of addresses. */
static struct snapshot_cluster *cluster_create(const struct publish *p, const struct membership_cluster *m)
{
    const struct config_cluster *c = p->by_id[m->id];
    const char *text = c != NULL ? c->service_text : NULL;
    struct policy_service service = {0};
    char error[128];
    if (text != NULL && !policy_service_parse(text, &service, error, sizeof(error)))
        service.count = 0; /* boot has checked it */
    size_t room = (service_size(&service) + 7) & ~(size_t)7;
    struct snapshot_cluster *out = calloc(1, sizeof(*out) + room + (m->present + 1) * sizeof(uint32_t));
    if (out == NULL)
        return NULL;
    service_fill(out, &service, text, (struct snapshot_method *)(out + 1));
    uint32_t *slots = (uint32_t *)((uint8_t *)(out + 1) + room), n = 0;
    out->id = m->id;
    out->refs = 1;
    out->present = m->configured && c != NULL;
    memcpy(out->name, m->name, sizeof(out->name));
    if (c != NULL)
        cluster_settings(out, c);
    base_list_each(it, &m->endpoints)
    {
        const struct membership_endpoint *e = base_container(it, struct membership_endpoint, link);
        if (e->life == MEMBERSHIP_PRESENT)
            slots[n++] = e->slot;
    }
    out->slots = slots;
    out->slot_count = n;
    return out;
}

/* What the pool reads of a cluster beside each endpoint; it looks where a page differs. */
static bool same_connections(const struct snapshot_cluster *a, const struct snapshot_cluster *b)
{
    return a == NULL || (a->connect_timeout_ns == b->connect_timeout_ns && a->backoff_base_ns == b->backoff_base_ns &&
                         a->backoff_max_ns == b->backoff_max_ns && a->backoff_factor_x1024 == b->backoff_factor_x1024 &&
                         a->connections_per_endpoint == b->connections_per_endpoint &&
                         a->max_connections_per_endpoint == b->max_connections_per_endpoint && a->subset_size == b->subset_size &&
                         a->max_connection_age_ns == b->max_connection_age_ns &&
                         memcmp(&a->keepalive, &b->keepalive, sizeof(a->keepalive)) == 0);
}

static bool cluster_equal(const struct snapshot_cluster *a, const struct snapshot_cluster *b)
{
    if (a == NULL || a->slot_count != b->slot_count || memcmp(a->slots, b->slots, a->slot_count * sizeof(*a->slots)) != 0)
        return false;
    struct snapshot_cluster x = *a, y = *b;
    x.version = y.version = 0;
    x.refs = y.refs = 0;
    x.slots = y.slots = NULL;
    x.methods = y.methods = NULL; /* `service` tells */
    return memcmp(&x, &y, sizeof(x)) == 0;
}

/* An endpoint that left, came back and leaves again: workers must have seen it back first.  One that skipped that generation would have
 * nothing new to report, and its slot would never be free. */
static bool must_wait(const struct publish *p, const struct membership_endpoint *e)
{
    if (e->life != MEMBERSHIP_LEAVING || p->back[e->slot] == 0 || p->gone[e->slot] != 0)
        return false;
    for (uint32_t w = 0; w < p->workers; w++)
        if (p->applied[w] < p->back[e->slot])
            return true;
    return false;
}

static bool any_must_wait(const struct publish *p, const struct membership_cluster *m)
{
    base_list_each(it, &m->endpoints)
        if (must_wait(p, base_container(it, struct membership_endpoint, link)))
            return true;
    return false;
}

/* Whom each worker connects to.  Endpoints that are about to go, or take no RPCs, have no place in the ring: they stay with those who hold
 * them.  False: no memory. */
static bool subsets_divide(const struct publish *p, const struct membership_cluster *m)
{
    uint32_t size = p->by_id[m->id] != NULL ? p->by_id[m->id]->subset_size : 0, n = 0;
    struct policy_member *member = size > 0 ? calloc(m->present + 1, sizeof(*member)) : NULL;
    if (size > 0 && member == NULL)
        return false;
    base_list_each(it, &m->endpoints)
    {
        struct membership_endpoint *e = base_container(it, struct membership_endpoint, link);
        if (size == 0)
            e->spared = 0;
        else if (e->life == MEMBERSHIP_PRESENT && !e->outgoing && membership_weight(e) > 0)
            member[n++] = (struct policy_member){.address = &e->address, .user = e};
    }
    policy_subsets(member, n, p->workers, size);
    for (uint32_t i = 0; i < n; i++)
        ((struct membership_endpoint *)member[i].user)->spared = member[i].spared;
    free(member);
    return true;
}

static void cluster_build(struct build *b, const struct membership_cluster *m)
{
    struct publish *p = b->p;
    bool differs = false;
    p->deferred[m->id] = any_must_wait(p, m);
    if (p->deferred[m->id])
        return;
    if (!subsets_divide(p, m)) {
        b->failed = true;
        return;
    }
    base_list_each(it, &m->endpoints)
    {
        const struct membership_endpoint *e = base_container(it, struct membership_endpoint, link);
        struct snapshot_endpoint entry;
        policy_endpoint(p->by_id[m->id], e, &entry);
        differs |= endpoint_put(b, &entry, e->slot);
    }
    struct snapshot_cluster *next = cluster_create(p, m);
    if (next == NULL || b->failed) {
        free(next);
        b->failed = true;
        return;
    }
    if (!differs && cluster_equal(b->s->cluster[m->id], next)) {
        free(next);
        return;
    }
    for (uint32_t i = 0; next->present && !same_connections(b->s->cluster[m->id], next) && i < next->slot_count; i++)
        page_own(b, next->slots[i] / SNAPSHOT_PAGE);
    if (b->failed) {
        free(next);
        return;
    }
    next->version = p->next_version++;
    cluster_release(b->s->cluster[m->id]);
    b->s->cluster[m->id] = next;
    b->changed = true;
}

/* Every slot below membership_slot_count() has its page, so that readers need not ask. */
static void pages_cover(struct build *b)
{
    uint32_t count = (membership_slot_count(b->p->membership) + SNAPSHOT_PAGE - 1) / SNAPSHOT_PAGE;
    for (uint32_t i = b->s->page_count; i < count; i++)
        if (b->s->page[i] == NULL)
            page_own(b, i);
    if (count > b->s->page_count)
        b->s->page_count = count;
}

static void take_settings(struct build *b, struct publish_settings *settings)
{
    struct snapshot *s = b->s;
    s->owned = settings;
    settings->refs++;
    s->access_every = settings->access_every;
    s->port_count = settings->port_count;
    memcpy(s->port, settings->port, sizeof(s->port));
    s->listener_count = settings->listener_count;
    memcpy(s->listener, settings->listener, sizeof(s->listener));
    s->poll = settings->poll;
    s->rto_ns_min = settings->rto_ns_min;
    s->user_timeout_ns = settings->user_timeout_ns;
    s->tcp_keepalive_ns = settings->tcp_keepalive_ns;
    s->reno = settings->reno;
    s->ecn = settings->ecn;
    s->pacing = settings->pacing;
    s->draining = b->p->draining;
}

struct snapshot *publish_build(struct publish *p, bool *failed)
{
    struct build b = {.p = p, .s = copy_current(p), .fresh_from = p->next_version};
    *failed = b.s == NULL;
    if (b.s == NULL)
        return NULL;
    b.changed = p->current == NULL || p->drain_changed || p->current->owned != p->settings;
    uint32_t clusters = membership_cluster_count(p->membership);
    if (clusters > b.s->cluster_count)
        b.s->cluster_count = clusters;
    for (uint32_t i = 0; i < clusters; i++) {
        const struct membership_cluster *m = membership_cluster(p->membership, (uint16_t)i);
        if (m->version != p->built[i] || p->deferred[i] || p->config_changed)
            cluster_build(&b, m);
    }
    pages_cover(&b);
    take_settings(&b, p->settings);
    if (b.failed || !b.changed) {
        *failed = b.failed;
        publish_version_free(b.s);
        return NULL;
    }
    b.s->generation = p->generation + 1;
    return b.s;
}
