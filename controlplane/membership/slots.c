/* Slots and the table of endpoints by address.  A slot number is used again only when the endpoint before it is nobody's any more, and
 * with a serial that was never used. */
#include "internal.h"

#include <stdlib.h>

static size_t bucket_of(const struct membership *m, uint16_t cluster, const struct base_endpoint *address)
{
    uint8_t bytes[20];
    memcpy(bytes, address->addr.b, 16);
    memcpy(bytes + 16, &address->port, 2);
    memcpy(bytes + 18, &cluster, 2);
    return base_siphash(&m->key, bytes, sizeof(bytes)) & (MEMBERSHIP_BUCKETS - 1);
}

static bool slot_take(struct membership *m, uint32_t *slot)
{
    if (m->free_count > 0) {
        *slot = m->free_slots[m->free_first];
        m->free_first = (m->free_first + 1) % SNAPSHOT_SLOTS_MAX;
        m->free_count--;
        return true;
    }
    if (m->slot_count == SNAPSHOT_SLOTS_MAX)
        return false;
    *slot = m->slot_count++;
    return true;
}

struct membership_node *membership_node_create(struct membership *m, struct membership_cluster *c, const struct base_endpoint *address,
                                               struct base_list *at)
{
    struct membership_node *n = calloc(1, sizeof(*n));
    uint32_t slot;
    if (n == NULL || !slot_take(m, &slot)) {
        free(n);
        return NULL;
    }
    n->e = (struct membership_endpoint){.slot = slot, .serial = ++m->next_serial, .cluster = c->id, .address = *address, .weight = 1,
                                        .override_weight = membership_hand_weight(c, address), .life = MEMBERSHIP_PRESENT};
    m->slot[slot] = n;
    base_list_insert_after(at, &n->e.link);
    struct membership_node **b = &m->bucket[bucket_of(m, c->id, address)];
    n->next_hash = *b;
    *b = n;
    return n;
}

static void forget_renewed(struct membership *m, struct membership_node *n)
{
    for (uint32_t i = 0; n->renewed && i < m->renewed_count; i++) {
        uint32_t *at = &m->renewed[(m->renewed_first + i) % SNAPSHOT_SLOTS_MAX];
        if (*at == n->e.slot)
            *at = UINT32_MAX;
    }
}

void membership_node_free(struct membership *m, struct membership_node *n)
{
    struct membership_node **at = &m->bucket[bucket_of(m, n->e.cluster, &n->e.address)];
    while (*at != n)
        at = &(*at)->next_hash;
    *at = n->next_hash;
    forget_renewed(m, n);
    base_list_remove(&n->e.link);
    m->slot[n->e.slot] = NULL;
    m->free_slots[(m->free_first + m->free_count++) % SNAPSHOT_SLOTS_MAX] = n->e.slot;
    free(n);
}

void membership_node_renewed(struct membership *m, struct membership_node *n)
{
    if (n->renewed || m->renewed_count == SNAPSHOT_SLOTS_MAX)
        return;
    n->renewed = true;
    m->renewed[(m->renewed_first + m->renewed_count++) % SNAPSHOT_SLOTS_MAX] = n->e.slot;
}

bool membership_renewed_next(struct membership *m, uint32_t *slot, uint32_t *serial)
{
    while (m->renewed_count > 0) {
        uint32_t s = m->renewed[m->renewed_first];
        m->renewed_first = (m->renewed_first + 1) % SNAPSHOT_SLOTS_MAX;
        m->renewed_count--;
        if (s == UINT32_MAX)
            continue;
        struct membership_node *n = m->slot[s];
        n->renewed = false;
        if (n->e.life != MEMBERSHIP_PRESENT)
            continue;
        *slot = s;
        *serial = n->e.serial;
        return true;
    }
    return false;
}

struct membership_endpoint *membership_slot(struct membership *m, uint32_t slot)
{
    return slot < m->slot_count && m->slot[slot] != NULL ? &m->slot[slot]->e : NULL;
}

uint32_t membership_slot_count(const struct membership *m)
{
    return m->slot_count;
}

struct membership_endpoint *membership_lookup(struct membership *m, uint16_t cluster, const struct base_endpoint *address)
{
    for (struct membership_node *n = m->bucket[bucket_of(m, cluster, address)]; n != NULL; n = n->next_hash)
        if (n->e.cluster == cluster && membership_order(&n->e.address, address) == 0)
            return &n->e;
    return NULL;
}
