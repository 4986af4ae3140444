/* GET /api/v1/connections: memory is lent to each worker, which fills it a part a turn and gives it back; what came is put into words part by
 * part, so that neither side's loop is held up.  Requests that come while a dump is under way share its answer. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

#define POLL_NS 1000000ull
#define WAIT_NS 1000000000ull

struct admin_dump_request {
    struct base_list link; /* in admin_dump.requests; alone: answered */
    struct MHD_Connection *connection;
    char *text;
};

enum part { PART_IDLE, PART_ASKED, PART_WHOLE };

struct admin_dump {
    struct admin *admin;
    struct loop_timer *timer;
    struct base_list requests;
    struct mailbox_dump *lent[SNAPSHOT_WORKERS_MAX]; /* made once */
    uint8_t part[SNAPSHOT_WORKERS_MAX];
    bool active;
    uint64_t until;
    uint32_t connections;
    struct admin_text text;
};

static void add_string(struct admin_text *t, const char *name, const char *value)
{
    admin_text_add(t, "\"%s\":\"", name);
    admin_text_json(t, value, strlen(value));
    admin_text_add(t, "\",");
}

static void add_owner(struct admin_dump *d, const struct mailbox_connection *e)
{
    char text[BASE_ENDPOINT_TEXT];
    const struct admin_view *v = &d->admin->view;
    if (e->passive) {
        const char *name = publish_listener_name(v->publish, e->listener);
        add_string(&d->text, "listener", name != NULL ? name : "");
        return;
    }
    const struct membership_endpoint *m =
        e->slot < membership_slot_count(v->membership) ? membership_slot(v->membership, e->slot) : NULL;
    if (m == NULL || m->serial != e->serial)
        return;
    add_string(&d->text, "cluster", membership_cluster(v->membership, m->cluster)->name);
    add_string(&d->text, "endpoint", base_endpoint_format(&m->address, text));
}

static void add_connection(struct admin_dump *d, unsigned worker, const struct mailbox_connection *e)
{
    struct admin_text *t = &d->text;
    char local[BASE_ENDPOINT_TEXT], remote[BASE_ENDPOINT_TEXT];
    struct base_endpoint ours = {e->flow.local, e->flow.local_port}, theirs = {e->flow.remote, e->flow.remote_port};
    admin_text_add(t, "%s{\"side\":\"%s\",\"worker\":%u,\"local\":\"%s\",\"remote\":\"%s\",\"state\":\"%s\",", d->connections++ > 0 ? "," : "",
                   e->passive ? "client" : "backend", worker, base_endpoint_format(&ours, local), base_endpoint_format(&theirs, remote),
                   e->state < MAILBOX_TCP_STATES ? mailbox_tcp_states[e->state] : "?");
    add_owner(d, e);
    if (e->session)
        admin_text_add(t, "\"streams\":%u,\"h2_send_window\":%d,\"h2_receive_window\":%d,\"age_seconds\":%.3f,", e->streams, e->h2_send_window,
                       e->h2_receive_window, (double)e->age_ns / 1e9);
    admin_text_add(t, "\"closing\":%s,\"mss\":%u,\"cwnd\":%u,\"ssthresh\":%u,\"srtt_us\":%.1f,\"rttvar_us\":%.1f,\"rto_us\":%.1f,",
                   e->closing ? "true" : "false", e->mss, e->cwnd, e->ssthresh, (double)e->srtt_ns / 1e3, (double)e->rttvar_ns / 1e3,
                   (double)e->rto_ns / 1e3);
    admin_text_add(t, "\"bytes_in\":%llu,\"bytes_out\":%llu,\"retransmits\":%llu,", (unsigned long long)e->bytes_in,
                   (unsigned long long)e->bytes_out, (unsigned long long)e->retransmits);
    admin_text_add(t, "\"unsent\":%u,\"in_flight\":%u,\"unread\":%u,\"reassembly\":%u,\"send_window\":%u,\"receive_window\":%u}", e->unsent,
                   e->in_flight, e->unread, e->reassembly, e->send_window, e->receive_window);
}

static bool lend(struct admin_dump *d, unsigned w)
{
    struct mailbox_message m = {.kind = MAILBOX_DUMP, .a = (uintptr_t)d->lent[w]};
    mailbox_dump_give(d->lent[w], true);
    if (mailbox_order(d->admin->view.mailboxes[w], &m))
        return true;
    mailbox_dump_give(d->lent[w], false); /* full: the next poll tries again */
    return false;
}

/* A worker that never gave the last one back is not asked again. */
static void ask(struct admin_dump *d, unsigned w)
{
    if (d->lent[w] == NULL)
        d->lent[w] = calloc(1, sizeof(*d->lent[w]));
    if (d->lent[w] == NULL || mailbox_dump_lent(d->lent[w]))
        return;
    d->lent[w]->cursor = d->lent[w]->count = 0;
    d->part[w] = PART_ASKED;
    lend(d, w);
}

static bool poll_worker(struct admin_dump *d, unsigned w)
{
    if (d->part[w] == PART_IDLE)
        ask(d, w);
    struct mailbox_dump *part = d->lent[w];
    if (d->part[w] != PART_ASKED || mailbox_dump_lent(part))
        return d->part[w] == PART_WHOLE;
    for (uint32_t i = 0; i < part->count; i++)
        add_connection(d, w, &part->entry[i]);
    part->count = 0;
    if (part->cursor == UINT32_MAX)
        d->part[w] = PART_WHOLE;
    else
        lend(d, w);
    return d->part[w] == PART_WHOLE;
}

static void answer(struct admin_dump *d)
{
    while (!base_list_empty(&d->requests)) {
        struct admin_dump_request *r = base_container(d->requests.next, struct admin_dump_request, link);
        base_list_remove(&r->link);
        r->text = d->text.failed ? NULL : strdup(d->text.text);
        MHD_resume_connection(r->connection);
    }
    admin_http_soon(d->admin);
}

static void finish(struct admin_dump *d, unsigned missing)
{
    admin_text_add(&d->text, "],\"complete\":%s", missing == 0 ? "true" : "false");
    if (missing > 0)
        admin_text_add(&d->text, ",\"words\":\"%u of %u workers did not answer within a second: this is what the others have\"", missing,
                       d->admin->view.worker_count);
    admin_text_add(&d->text, "}");
    d->active = false;
    answer(d);
    free(d->text.text);
    d->text = (struct admin_text){0};
}

static void due(void *user)
{
    struct admin_dump *d = user;
    unsigned missing = 0;
    for (unsigned w = 0; w < d->admin->view.worker_count; w++)
        missing += !poll_worker(d, w);
    if (missing == 0 || loop_now(d->admin->loop) >= d->until)
        finish(d, missing);
    else
        loop_timer_set(d->timer, POLL_NS);
}

static void begin(struct admin_dump *d)
{
    d->active = true;
    d->until = loop_now(d->admin->loop) + WAIT_NS;
    d->connections = 0;
    memset(d->part, PART_IDLE, sizeof(d->part));
    admin_text_add(&d->text, "{\"connections\":[");
    loop_timer_set(d->timer, 0);
}

struct admin_dump *admin_dump_create(struct admin *a)
{
    struct admin_dump *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return NULL;
    d->admin = a;
    base_list_init(&d->requests);
    d->timer = loop_timer_add(a->loop, due, d);
    if (d->timer == NULL) {
        free(d);
        return NULL;
    }
    return d;
}

void admin_dump_stop(struct admin_dump *d)
{
    if (d != NULL && d->active)
        finish(d, d->admin->view.worker_count);
}

/* Workers have ended: nothing is lent any more. */
void admin_dump_destroy(struct admin_dump *d)
{
    if (d == NULL)
        return;
    loop_timer_remove(d->timer);
    for (unsigned w = 0; w < SNAPSHOT_WORKERS_MAX; w++)
        free(d->lent[w]);
    free(d);
}

struct admin_dump_request *admin_dump_ask(struct admin_dump *d, struct MHD_Connection *c)
{
    struct admin_dump_request *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->connection = c;
    base_list_push_back(&d->requests, &r->link);
    MHD_suspend_connection(c);
    if (!d->active)
        begin(d);
    return r;
}

char *admin_dump_take(struct admin_dump_request *r)
{
    char *text = r->text;
    r->text = NULL;
    return text;
}

void admin_dump_forget(struct admin_dump_request *r)
{
    if (r == NULL)
        return;
    base_list_remove(&r->link);
    free(r->text);
    free(r);
}
