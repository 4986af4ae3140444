/* The JSON answers: status, clusters, workers. */
#include "internal.h"

#include <cjson/cJSON.h>
#include <stdio.h>

static void add_u64(cJSON *to, const char *name, uint64_t v)
{
    char text[24]; /* written by hand: a double would lose digits beyond 2^53 */
    snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
    cJSON_AddRawToObject(to, name, text);
}

static void add_seconds(cJSON *to, const char *name, uint64_t ns)
{
    char text[32];
    snprintf(text, sizeof(text), "%llu.%03llu", (unsigned long long)(ns / 1000000000ull),
             (unsigned long long)(ns / 1000000ull % 1000ull));
    cJSON_AddRawToObject(to, name, text);
}

static char *print(cJSON *root)
{
    char *text = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    return text;
}

static const struct config_cluster *configured(const struct config *c, const char *name)
{
    for (unsigned i = 0; i < c->cluster_count; i++)
        if (strcmp(c->clusters[i].name, name) == 0)
            return &c->clusters[i];
    return NULL;
}

static void add_endpoint(struct admin *a, cJSON *list, const struct membership_endpoint *e)
{
    static const struct admin_counts nothing;
    const struct admin_account *account = admin_account_find(&a->accounts, e->cluster, &e->address);
    const struct admin_counts *n = account != NULL ? &account->total : &nothing;
    char text[BASE_ENDPOINT_TEXT];
    uint64_t rpcs = 0;
    for (unsigned i = 0; i < STATS_GRPC_CODES; i++)
        rpcs += n->rpcs[i];
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "address", base_endpoint_format(&e->address, text));
    add_u64(o, "weight", membership_weight(e));
    if (e->override_weight != MEMBERSHIP_NO_OVERRIDE)
        cJSON_AddTrueToObject(o, "by_hand");
    cJSON_AddStringToObject(o, "state", admin_state_names[admin_endpoint_state(a, e)]);
    add_u64(o, "connects", n->connects);
    add_u64(o, "active_streams", n->active);
    add_u64(o, "rpcs", rpcs);
    add_u64(o, "failures", n->failures);
    cJSON_AddItemToArray(list, o);
}

static void add_cluster(struct admin *a, cJSON *list, const struct membership_cluster *c)
{
    const struct config_cluster *config = configured(a->view.config(a->view.user), c->name);
    char revision[24];
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "name", c->name);
    cJSON_AddStringToObject(o, "policy", config != NULL ? config_policy_names[config->policy] : "");
    cJSON_AddStringToObject(o, "source", c->source);
    snprintf(revision, sizeof(revision), "%lld", (long long)c->revision);
    cJSON_AddRawToObject(o, "revision", revision);
    add_seconds(o, "stale_seconds", admin_stale_ns(a, c));
    cJSON *endpoints = cJSON_AddArrayToObject(o, "endpoints");
    base_list_each (l, &c->endpoints)
        add_endpoint(a, endpoints, base_container(l, const struct membership_endpoint, link));
    cJSON_AddItemToArray(list, o);
}

char *admin_clusters_json(struct admin *a)
{
    cJSON *root = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(root, "clusters");
    add_u64(root, "applied", publish_applied(a->view.publish)); /* both before the counts are read */
    cJSON_AddBoolToObject(root, "current", publish_current(a->view.publish));
    admin_accounts_sum(&a->accounts, &a->view);
    for (uint32_t i = 0; i < membership_cluster_count(a->view.membership); i++) {
        const struct membership_cluster *c = membership_cluster(a->view.membership, (uint16_t)i);
        if (c != NULL && c->configured)
            add_cluster(a, list, c);
    }
    return print(root);
}

static void add_connections(const struct admin *a, cJSON *o, unsigned from, unsigned to)
{
    static const char *const sides[] = {"client", "backend"};
    if (a->view.connections == NULL)
        return;
    cJSON *c = cJSON_AddObjectToObject(o, "connections");
    for (unsigned side = 0; side < 2; side++) {
        uint64_t n = 0;
        for (unsigned w = from; w < to; w++)
            n += a->view.connections(a->view.user, w, side);
        add_u64(c, sides[side], n);
    }
}

char *admin_workers_json(struct admin *a)
{
    cJSON *root = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(root, "workers");
    for (unsigned w = 0; w < a->view.worker_count; w++) {
        const struct stats *s = a->view.stats[w];
        cJSON *o = cJSON_CreateObject();
        add_u64(o, "worker", w);
        add_seconds(o, "busy_seconds", stats_read(&s->counters[STATS_BUSY_NS]));
        add_seconds(o, "idle_seconds", stats_read(&s->counters[STATS_IDLE_NS]));
        add_u64(o, "turns", stats_read(&s->counters[STATS_TURNS]));
        add_u64(o, "packets_in", stats_read(&s->counters[STATS_PORT_RX_PACKETS]));
        add_u64(o, "packets_out", stats_read(&s->counters[STATS_PORT_TX_PACKETS]));
        add_u64(o, "handovers", stats_read(&s->counters[STATS_HANDOVERS]));
        add_connections(a, o, w, w + 1);
        cJSON_AddItemToArray(list, o);
    }
    return print(root);
}

struct totals {
    uint64_t endpoints, ready, active, rpcs, failed;
    unsigned clusters;
};

/* RPCs since start, with those that the gateway answered itself. */
static void sum_rpcs(const struct admin *a, struct totals *t)
{
    for (uint32_t i = 0; i < a->accounts.count; i++)
        for (unsigned k = 0; k < STATS_GRPC_CODES; k++) {
            t->rpcs += a->accounts.list[i]->total.rpcs[k];
            t->failed += k != 0 ? a->accounts.list[i]->total.rpcs[k] : 0;
        }
    for (uint32_t i = 0; i < a->accounts.count; i++)
        t->active += a->accounts.list[i]->total.active;
    for (unsigned w = 0; w < a->view.worker_count; w++)
        for (uint32_t c = 0; c < a->view.stats[w]->cluster_count; c++)
            for (unsigned k = 0; k < STATS_GRPC_CODES; k++) {
                uint64_t n = stats_read(&a->view.stats[w]->clusters[c].own_answers[k]);
                t->rpcs += n;
                t->failed += k != 0 ? n : 0;
            }
}

static void sum_endpoints(const struct admin *a, struct totals *t)
{
    for (uint32_t i = 0; i < membership_cluster_count(a->view.membership); i++) {
        const struct membership_cluster *c = membership_cluster(a->view.membership, (uint16_t)i);
        if (c == NULL || !c->configured)
            continue;
        t->clusters++;
        t->endpoints += c->present;
        base_list_each (l, &c->endpoints)
            t->ready +=
                admin_endpoint_state(a, base_container(l, const struct membership_endpoint, link)) == ADMIN_READY;
    }
}

static void add_listeners(cJSON *root, const struct config *c)
{
    char text[BASE_ENDPOINT_TEXT];
    cJSON *list = cJSON_AddArrayToObject(root, "listeners");
    for (unsigned i = 0; i < c->listener_count; i++) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "name", c->listeners[i].name);
        cJSON_AddStringToObject(o, "bind", base_endpoint_format(&c->listeners[i].bind, text));
        cJSON_AddItemToArray(list, o);
    }
}

char *admin_status_json(struct admin *a)
{
    struct totals t = {0};
    const struct config *c = a->view.config(a->view.user);
    const char *why = admin_not_ready(a, "");
    cJSON *root = cJSON_CreateObject();
    admin_accounts_sum(&a->accounts, &a->view);
    sum_rpcs(a, &t);
    sum_endpoints(a, &t);
    cJSON_AddStringToObject(root, "version", PENSTOCK_VERSION);
    cJSON_AddStringToObject(root, "state", admin_draining(a) ? "draining" : "running");
    cJSON_AddBoolToObject(root, "ready", why == NULL);
    cJSON_AddStringToObject(root, "not_ready", why != NULL ? why : "");
    add_seconds(root, "uptime_seconds", loop_now(a->loop) - a->view.started_ns);
    cJSON_AddStringToObject(root, "config", c->file);
    add_u64(root, "generation", publish_generation(a->view.publish));
    add_u64(root, "applied", publish_applied(a->view.publish));
    cJSON_AddBoolToObject(root, "reloading", a->view.reloading != NULL && a->view.reloading(a->view.user));
    add_u64(root, "workers", a->view.worker_count);
    add_listeners(root, c);
    add_u64(root, "clusters", t.clusters);
    cJSON *endpoints = cJSON_AddObjectToObject(root, "endpoints");
    add_u64(endpoints, "present", t.endpoints);
    add_u64(endpoints, "ready", t.ready);
    add_connections(a, root, 0, a->view.worker_count);
    cJSON *rpcs = cJSON_AddObjectToObject(root, "rpcs");
    add_u64(rpcs, "active", t.active);
    add_u64(rpcs, "ended", t.rpcs);
    add_u64(rpcs, "not_ok", t.failed);
    return print(root);
}
