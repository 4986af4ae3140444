/* What people and workers say about an endpoint. */
#include "internal.h"
#include "mailbox/mailbox.h"

#include <stdlib.h>

static struct membership_hand **hand_of(struct membership_cluster *c, const struct base_endpoint *address, unsigned *count)
{
    struct membership_hand **at = &c->by_hand;
    for (*count = 0; *at != NULL && membership_order(&(*at)->address, address) != 0; at = &(*at)->next)
        ++*count;
    return at;
}

/* False: too many, or no memory. */
static bool hand_set(struct membership_cluster *c, const struct base_endpoint *address, uint32_t weight)
{
    unsigned count;
    struct membership_hand **at = hand_of(c, address, &count), *h = *at;
    if (weight == MEMBERSHIP_NO_OVERRIDE) {
        if (h != NULL)
            *at = h->next;
        free(h);
        return true;
    }
    if (h == NULL && count < MEMBERSHIP_BY_HAND_MAX)
        h = *at = calloc(1, sizeof(*h));
    if (h == NULL)
        return false;
    h->address = *address;
    h->weight = weight;
    return true;
}

uint32_t membership_hand_weight(const struct membership_cluster *c, const struct base_endpoint *address)
{
    for (const struct membership_hand *h = c->by_hand; h != NULL; h = h->next)
        if (membership_order(&h->address, address) == 0)
            return h->weight;
    return MEMBERSHIP_NO_OVERRIDE;
}

void membership_hands_free(struct membership_cluster *c)
{
    for (struct membership_hand *h; (h = c->by_hand) != NULL; free(h))
        c->by_hand = h->next;
}

bool membership_override(struct membership *m, struct membership_cluster *c, const struct base_endpoint *address, uint32_t weight)
{
    struct membership_endpoint *e = membership_lookup(m, c->id, address);
    bool had = membership_hand_weight(c, address) != MEMBERSHIP_NO_OVERRIDE;
    if (e == NULL || e->life != MEMBERSHIP_PRESENT) { /* one that is away may be given back to the source */
        if (e != NULL && weight == MEMBERSHIP_NO_OVERRIDE)
            e->override_weight = weight;
        return weight == MEMBERSHIP_NO_OVERRIDE && had && hand_set(c, address, weight);
    }
    if (!hand_set(c, address, weight))
        return false;
    if (e->override_weight != weight) {
        e->override_weight = weight;
        c->changed++;
        c->version++;
    }
    return true;
}

uint32_t membership_weight(const struct membership_endpoint *e)
{
    return e->override_weight != MEMBERSHIP_NO_OVERRIDE ? e->override_weight : e->weight;
}

/* A report about an endpoint that had the slot before is nobody's. */
static struct membership_node *reported(struct membership *m, uint32_t worker, uint32_t slot, uint32_t serial)
{
    if (worker >= m->workers || slot >= m->slot_count)
        return NULL;
    struct membership_node *n = m->slot[slot];
    return n != NULL && n->e.serial == serial ? n : NULL;
}

/* What one worker has reached, the others need not wait for: their back-off may be at its longest.  An endpoint that accepts and falls at once does
 * not get out of its back-off by turns of the workers. */
static void reached(struct membership *m, struct membership_node *n, uint64_t now)
{
    if (n->reached_ns != 0 && now - n->reached_ns < MEMBERSHIP_REACHED_NS)
        return;
    for (uint32_t w = 0; w < m->workers; w++) {
        if (n->e.worker_state[w] != MAILBOX_TRANSIENT_FAILURE)
            continue;
        n->reached_ns = now;
        membership_node_renewed(m, n);
        return;
    }
}

void membership_report_state(struct membership *m, uint32_t worker, uint32_t slot, uint32_t serial, unsigned state, uint64_t now)
{
    struct membership_node *n = reported(m, worker, slot, serial);
    if (n == NULL || state > MAILBOX_SHUTDOWN)
        return;
    bool news = state == MAILBOX_READY && n->e.worker_state[worker] != MAILBOX_READY;
    n->e.worker_state[worker] = (uint8_t)state;
    if (news)
        reached(m, n, now);
}

void membership_report_empty(struct membership *m, uint32_t worker, uint32_t slot, uint32_t serial)
{
    struct membership_node *n = reported(m, worker, slot, serial);
    if (n == NULL)
        return;
    n->e.empty_workers |= UINT64_C(1) << worker;
    membership_release(m, &n->e);
}

void membership_known_present(struct membership_endpoint *e, uint64_t generation)
{
    e->empty_workers = 0;
    e->back_in = generation;
}

void membership_applied(struct membership *m, uint32_t worker, uint64_t generation)
{
    m->applied[worker] = generation;
}

void membership_release(struct membership *m, struct membership_endpoint *e)
{
    uint64_t all = m->workers == 64 ? UINT64_MAX : (UINT64_C(1) << m->workers) - 1;
    if (e->life == MEMBERSHIP_LEAVING && e->empty_workers == all)
        membership_node_free(m, base_container(e, struct membership_node, e));
}

static bool ready_on(const struct membership *m, const struct membership_cluster *c, uint32_t worker)
{
    base_list_each(it, &c->endpoints)
    {
        const struct membership_endpoint *e = base_container(it, const struct membership_endpoint, link);
        if (e->life == MEMBERSHIP_PRESENT && !e->outgoing && membership_weight(e) > 0 && e->worker_state[worker] == MAILBOX_READY &&
            m->applied[worker] >= e->back_in)
            return true;
    }
    return false;
}

/* Some endpoint that stays is READY, on each worker. */
bool membership_ready_everywhere(const struct membership *m, const struct membership_cluster *c)
{
    for (uint32_t w = 0; w < m->workers; w++)
        if (!ready_on(m, c, w))
            return false;
    return true;
}

/* Some endpoint could become READY there: it is not this worker that spares it. */
static bool has_candidate(const struct membership_cluster *c, uint32_t worker)
{
    base_list_each(it, &c->endpoints)
    {
        const struct membership_endpoint *e = base_container(it, const struct membership_endpoint, link);
        if (e->life == MEMBERSHIP_PRESENT && membership_weight(e) > 0 && (e->spared >> worker & 1) == 0)
            return true;
    }
    return false;
}

bool membership_warm(const struct membership *m, const struct membership_cluster *c)
{
    for (uint32_t w = 0; w < m->workers; w++)
        if (!ready_on(m, c, w) && has_candidate(c, w))
            return false;
    return c->answered;
}

const char *membership_state_name(const struct membership *m, const struct membership_endpoint *e)
{
    if (e->life == MEMBERSHIP_LEAVING || membership_weight(e) == 0)
        return "DRAINING";
    static const uint8_t rank[] = {[MAILBOX_READY] = 4, [MAILBOX_CONNECTING] = 3, [MAILBOX_TRANSIENT_FAILURE] = 2, [MAILBOX_IDLE] = 1,
                                   [MAILBOX_SHUTDOWN] = 0};
    static const char *const names[] = {"IDLE", "IDLE", "TRANSIENT_FAILURE", "CONNECTING", "READY"};
    uint8_t best = 0;
    for (uint32_t w = 0; w < m->workers; w++)
        if (rank[e->worker_state[w]] > best)
            best = rank[e->worker_state[w]];
    return names[best];
}
