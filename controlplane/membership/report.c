/* What people and workers say about an endpoint. */
#include "internal.h"
#include "mailbox/mailbox.h"

bool membership_override(struct membership *m, struct membership_cluster *c, const struct base_endpoint *address, uint32_t weight)
{
    struct membership_endpoint *e = membership_lookup(m, c->id, address);
    if (e == NULL || e->life != MEMBERSHIP_PRESENT)
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

void membership_report_state(struct membership *m, uint32_t worker, uint32_t slot, uint32_t serial, unsigned state)
{
    struct membership_node *n = reported(m, worker, slot, serial);
    if (n != NULL && state <= MAILBOX_SHUTDOWN)
        n->e.worker_state[worker] = (uint8_t)state;
}

void membership_report_empty(struct membership *m, uint32_t worker, uint32_t slot, uint32_t serial)
{
    struct membership_node *n = reported(m, worker, slot, serial);
    if (n == NULL)
        return;
    n->e.empty_workers |= UINT64_C(1) << worker;
    membership_release(m, &n->e);
}

void membership_known_present(struct membership_endpoint *e)
{
    e->empty_workers = 0;
}

void membership_release(struct membership *m, struct membership_endpoint *e)
{
    uint64_t all = m->workers == 64 ? UINT64_MAX : (UINT64_C(1) << m->workers) - 1;
    if (e->life == MEMBERSHIP_LEAVING && e->empty_workers == all)
        membership_node_free(m, base_container(e, struct membership_node, e));
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
