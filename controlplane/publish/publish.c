/* Swaps versions and frees them when no worker can hold them any more. */
#include "internal.h"

#include <stdlib.h>

#define LAGGARD_NS 1000000000ull

struct publish *publish_create(struct snapshot_door *door, struct membership *m, struct mailbox **mailboxes, uint32_t workers)
{
    struct publish *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->door = door;
    p->membership = m;
    p->mailboxes = mailboxes;
    p->workers = workers;
    p->next_version = 1;
    base_list_init(&p->orders);
    return p;
}

/* Workers have left: nobody reads any version. */
void publish_destroy(struct publish *p)
{
    if (p == NULL)
        return;
    for (unsigned i = 0; i < p->waiting_count; i++)
        publish_version_free(p->waiting[i].snapshot);
    publish_version_free(p->current);
    publish_settings_release(p->settings);
    publish_orders_free(p);
    free(p);
}

static void know_clusters(struct publish *p, const struct config *c)
{
    for (unsigned i = 0; i < c->cluster_count; i++) {
        const struct membership_cluster *m = membership_find(p->membership, c->clusters[i].name);
        if (m != NULL && p->by_id[m->id] == NULL)
            p->by_id[m->id] = &c->clusters[i];
    }
}

void publish_config_change(struct publish *p, const struct config *c, const struct config *also)
{
    p->config = c;
    p->config_changed = true;
    memset(p->by_id, 0, sizeof(p->by_id));
    know_clusters(p, c);
    if (also != NULL)
        know_clusters(p, also);
}

void publish_config(struct publish *p, const struct config *c)
{
    publish_config_change(p, c, NULL);
}

const char *publish_listener_name(const struct publish *p, uint32_t id)
{
    return id < p->listener_names_count ? p->listener_names[id] : NULL;
}

void publish_drain(struct publish *p)
{
    p->drain_changed |= !p->draining;
    p->draining = true;
}

static void reclaim(struct publish *p)
{
    while (p->waiting_count > 0 && snapshot_reclaimable(p->door, p->waiting[0].token)) {
        publish_version_free(p->waiting[0].snapshot);
        memmove(&p->waiting[0], &p->waiting[1], --p->waiting_count * sizeof(p->waiting[0]));
    }
}

static bool new_settings(struct publish *p)
{
    struct publish_settings *s = publish_settings_create(p);
    if (s == NULL)
        return false;
    publish_settings_release(p->settings);
    p->settings = s;
    return true;
}

/* What workers are told from this generation on about an endpoint's coming and going: their reports are judged by it. */
static void note_endpoint(struct publish *p, struct membership_endpoint *e)
{
    const struct snapshot_endpoint *told = snapshot_endpoint(p->current, e->slot);
    bool there = told->serial == e->serial && (told->flags & SNAPSHOT_PRESENT);
    if (there && p->gone[e->slot] != 0) {
        p->back[e->slot] = p->generation;
        p->gone[e->slot] = 0;
        membership_known_present(e, p->generation);
    } else if (there && e->back_in == UINT64_MAX) {
        e->back_in = 0; /* no worker heard that it was away */
    } else if (!there && p->gone[e->slot] == 0) {
        p->gone[e->slot] = p->generation;
    } else if (!there) {
        membership_release(p->membership, e); /* it came back and left again, and no worker knew */
    }
}

static void note_built(struct publish *p)
{
    for (uint32_t i = 0; i < membership_cluster_count(p->membership); i++) {
        struct membership_cluster *c = membership_cluster(p->membership, (uint16_t)i);
        if (p->deferred[i] || (c->version == p->built[i] && !p->config_changed))
            continue;
        base_list_each_safe(it, &c->endpoints)
            note_endpoint(p, base_container(it, struct membership_endpoint, link));
        p->built[i] = c->version;
        p->retired[i] = c->configured || c->forgotten ? 0 : p->retired[i] != 0 ? p->retired[i] : p->generation;
    }
    p->config_changed = p->drain_changed = false;
}

/* Clusters that no worker knows any more. */
static void forget(struct publish *p)
{
    uint64_t applied = publish_applied(p);
    for (uint32_t i = 0; i < membership_cluster_count(p->membership); i++) {
        if (p->retired[i] == 0 || p->retired[i] > applied)
            continue;
        membership_forget(membership_cluster(p->membership, (uint16_t)i));
        p->retired[i] = 0;
    }
}

static bool changed(const struct publish *p)
{
    if (p->config_changed || p->drain_changed)
        return true;
    for (uint32_t i = 0; i < membership_cluster_count(p->membership); i++)
        if (membership_cluster(p->membership, (uint16_t)i)->version != p->built[i] || p->deferred[i])
            return true;
    return false;
}

static void build_and_swap(struct publish *p, uint64_t now)
{
    bool failed;
    if (p->config_changed && !new_settings(p))
        return; /* no memory: tried again next turn, and what is published stays */
    struct snapshot *next = publish_build(p, &failed);
    if (failed)
        return;
    if (next != NULL) {
        struct publish_waiting *w = &p->waiting[p->waiting_count++];
        w->since = now;
        w->snapshot = snapshot_swap(p->door, next, &w->token);
        p->current = next;
        p->generation = next->generation;
    }
    note_built(p);
}

uint64_t publish_turn(struct publish *p, uint64_t now)
{
    publish_read_reports(p, now);
    forget(p);
    reclaim(p);
    if (p->config != NULL && p->waiting_count < PUBLISH_WAITING_MAX && changed(p))
        build_and_swap(p, now);
    reclaim(p);
    publish_send_orders(p, now);
    return p->generation;
}

uint64_t publish_generation(const struct publish *p)
{
    return p->generation;
}

uint64_t publish_promised(const struct publish *p)
{
    return p->generation + (changed(p) ? 1 : 0);
}

uint64_t publish_applied(const struct publish *p)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t w = 0; w < p->workers; w++)
        least = p->applied[w] < least ? p->applied[w] : least;
    return least;
}

struct policy_budget publish_budget(const struct publish *p, uint16_t cluster)
{
    const struct membership_cluster *c = membership_cluster(p->membership, cluster);
    if (p->by_id[cluster] == NULL || c == NULL)
        return (struct policy_budget){0};
    return policy_budget(p->by_id[cluster], c->present, p->workers);
}

bool publish_current(const struct publish *p)
{
    return !changed(p) && publish_applied(p) >= p->generation;
}

bool publish_settled(const struct publish *p)
{
    return p->waiting_count == 0 && p->generation > 0;
}

bool publish_drained(const struct publish *p)
{
    uint64_t all = p->workers == 64 ? UINT64_MAX : (UINT64_C(1) << p->workers) - 1;
    return p->draining && p->drained_workers == all;
}

int publish_laggard(const struct publish *p, uint64_t now)
{
    for (unsigned i = 0; i < p->waiting_count; i++)
        if (now - p->waiting[i].since > LAGGARD_NS)
            return snapshot_laggard(p->door, p->waiting[i].token);
    return -1;
}
