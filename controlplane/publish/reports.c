/* What workers report, and the orders that they must have taken. */
#include "internal.h"

#include <stdlib.h>

#define REPORTS_A_TURN  8192 /* of one worker; the rest waits for the next turn */
#define ORDERS_A_TURN   256  /* to be sent; below a mailbox's room, which others use too */
#define ORDERS_MAX      SNAPSHOT_SLOTS_MAX
#define ORDER_AGAIN_NS  200000000ull

/* An endpoint that came back and left again may have a report under way from the first time: a report counts when it was made under the
 * generation of the last departure, or a later one. */
static void slot_empty(struct publish *p, uint32_t worker, const struct mailbox_message *m)
{
    if (m->slot < SNAPSHOT_SLOTS_MAX && p->gone[m->slot] != 0 && m->a >= p->gone[m->slot])
        membership_report_empty(p->membership, worker, m->slot, m->serial);
}

static void order_done(struct publish *p, uint32_t worker, uint32_t id)
{
    base_list_each_safe(it, &p->orders)
    {
        struct publish_order *o = base_container(it, struct publish_order, link);
        if (o->id != id)
            continue;
        o->unacknowledged &= ~(UINT64_C(1) << worker);
        if (o->unacknowledged == 0) {
            base_list_remove(it);
            free(o);
        }
        return;
    }
}

static void report(struct publish *p, uint32_t worker, const struct mailbox_message *m, uint64_t now)
{
    switch (m->kind) {
    case MAILBOX_ENDPOINT_STATE:
        membership_report_state(p->membership, worker, m->slot, m->serial, m->value, now);
        break;
    case MAILBOX_SLOT_EMPTY:
        slot_empty(p, worker, m);
        break;
    case MAILBOX_ORDER_DONE:
        order_done(p, worker, m->value);
        break;
    case MAILBOX_DRAINED:
        p->drained_workers |= UINT64_C(1) << worker;
        break;
    case MAILBOX_SNAPSHOT_APPLIED:
        p->applied[worker] = m->a;
        membership_applied(p->membership, worker, m->a);
        break;
    default:
        break; /* links are boot's and admin's to show */
    }
}

void publish_read_reports(struct publish *p, uint64_t now)
{
    struct mailbox_message m;
    for (uint32_t w = 0; w < p->workers; w++)
        for (unsigned i = 0; i < REPORTS_A_TURN && mailbox_report_next(p->mailboxes[w], &m); i++)
            report(p, w, &m, now);
}

static void order_create(struct publish *p, uint32_t slot, uint32_t serial)
{
    struct publish_order *o = calloc(1, sizeof(*o));
    if (o == NULL)
        return; /* its back-off runs out by itself */
    *o = (struct publish_order){.id = ++p->next_order, .slot = slot, .serial = serial};
    o->unacknowledged = p->workers == 64 ? UINT64_MAX : (UINT64_C(1) << p->workers) - 1;
    base_list_push_back(&p->orders, &o->link);
}

static bool stale(const struct publish *p, const struct publish_order *o)
{
    const struct membership_endpoint *e = membership_slot(p->membership, o->slot);
    return e == NULL || e->serial != o->serial || e->life != MEMBERSHIP_PRESENT;
}

static void order_send(struct publish *p, struct publish_order *o, uint64_t now)
{
    struct mailbox_message m = {.kind = MAILBOX_RESET_BACKOFF, .slot = o->slot, .serial = o->serial, .value = o->id, .a = o->id};
    for (uint32_t w = 0; w < p->workers; w++) {
        m.worker = (uint16_t)w;
        if (o->unacknowledged >> w & 1)
            mailbox_order(p->mailboxes[w], &m); /* full: sent again later */
    }
    o->sent_at = now;
}

void publish_send_orders(struct publish *p, uint64_t now)
{
    uint32_t slot, serial;
    unsigned sent = 0;
    while (membership_renewed_next(p->membership, &slot, &serial))
        order_create(p, slot, serial);
    base_list_each_safe(it, &p->orders)
    {
        struct publish_order *o = base_container(it, struct publish_order, link);
        if (stale(p, o)) {
            base_list_remove(it);
            free(o);
        } else if ((o->sent_at == 0 || now - o->sent_at >= ORDER_AGAIN_NS) && sent < ORDERS_A_TURN) {
            order_send(p, o, now);
            sent++;
        }
    }
}

void publish_orders_free(struct publish *p)
{
    for (struct base_list *it; (it = base_list_pop_front(&p->orders)) != NULL;)
        free(base_container(it, struct publish_order, link));
}
