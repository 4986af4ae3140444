/* A snapshot that a test writes by hand: clusters with endpoints in slots. Not a publisher: nothing is shared between versions. */
#ifndef TESTS_WORLD_H
#define TESTS_WORLD_H

#include <stdlib.h>

#include "snapshot/snapshot.h"

struct world {
    struct snapshot s;
    uint64_t version;
    uint32_t *slots[SNAPSHOT_CLUSTERS_MAX];
};

static inline struct world *world_create(uint32_t clusters, uint32_t slots)
{
    struct world *w = calloc(1, sizeof(*w));
    w->s.cluster_count = clusters;
    w->s.page_count = (slots + SNAPSHOT_PAGE - 1) / SNAPSHOT_PAGE;
    for (uint32_t i = 0; i < w->s.page_count; i++)
        w->s.page[i] = calloc(1, sizeof(struct snapshot_page));
    for (uint32_t i = 0; i < clusters; i++) {
        w->s.cluster[i] = calloc(1, sizeof(struct snapshot_cluster));
        w->s.cluster[i]->id = (uint16_t)i;
        w->slots[i] = calloc(slots, sizeof(uint32_t));
        w->s.cluster[i]->slots = w->slots[i];
    }
    return w;
}

static inline void world_free(struct world *w)
{
    for (uint32_t i = 0; i < w->s.page_count; i++)
        free(w->s.page[i]);
    for (uint32_t i = 0; i < w->s.cluster_count; i++) {
        free(w->s.cluster[i]);
        free(w->slots[i]);
    }
    free(w);
}

static inline struct snapshot_endpoint *world_endpoint(struct world *w, uint32_t slot)
{
    return &w->s.page[slot / SNAPSHOT_PAGE]->endpoint[slot % SNAPSHOT_PAGE];
}

/* After any change of a cluster or of one of its endpoints. */
static inline void world_touch(struct world *w, uint32_t cluster)
{
    w->s.generation++;
    w->s.cluster[cluster]->version = ++w->version;
}

static inline void world_add(struct world *w, uint32_t cluster, uint32_t slot, uint32_t weight)
{
    struct snapshot_endpoint *e = world_endpoint(w, slot);
    *e = (struct snapshot_endpoint){.cluster = (uint16_t)cluster, .serial = e->serial + 1, .weight = weight, .flags = SNAPSHOT_PRESENT};
    struct snapshot_cluster *c = w->s.cluster[cluster];
    c->present = true;
    w->slots[cluster][c->slot_count++] = slot;
    world_touch(w, cluster);
}

static inline void world_remove(struct world *w, uint32_t cluster, uint32_t slot)
{
    struct snapshot_cluster *c = w->s.cluster[cluster];
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->slot_count; i++)
        if (w->slots[cluster][i] != slot)
            w->slots[cluster][n++] = w->slots[cluster][i];
    c->slot_count = n;
    world_endpoint(w, slot)->flags = 0;
    world_touch(w, cluster);
}

static inline void world_policy(struct world *w, uint32_t cluster, enum snapshot_policy policy)
{
    w->s.cluster[cluster]->present = true;
    w->s.cluster[cluster]->policy = (uint8_t)policy;
    world_touch(w, cluster);
}

#endif
