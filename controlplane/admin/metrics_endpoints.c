/* /metrics: the families that have an endpoint, within metrics.max_series.
 *
 * An account whose series would go beyond the bound is folded into endpoint="other" of its cluster, for good: were it
 * to come back, "other" would fall. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

/* One line of endpoint series: an account's own, or the sum of those folded. */
struct row {
    const char *cluster;
    char endpoint[BASE_ENDPOINT_TEXT];
    const struct admin_counts *n;
};

struct rows {
    struct row *row;
    uint32_t count;
    struct admin_counts *other;        /* by cluster id; NULL: none folded */
    uint64_t (*own)[STATS_GRPC_CODES]; /* by cluster id */
};

/* What is left of the bound after the families without an endpoint. */
static uint64_t budget(const struct config *c)
{
    uint64_t max = c->metrics_max_series;
    return max - (max / 2 < 1000 ? max / 2 : 1000);
}

static uint64_t series(const struct admin_counts *n, unsigned workers)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < STATS_GRPC_CODES; i++)
        count += n->rpcs[i] != 0;
    for (unsigned w = 0; w < workers; w++)
        count += n->picks[w] != 0;
    return count + (n->connects != 0) + (n->failures != 0) + 1; /* and streams_active */
}

static const char *cluster_name(const struct admin *a, uint16_t id)
{
    const struct membership_cluster *c = membership_cluster(a->view.membership, id);
    return c != NULL ? c->name : "gone";
}

/* RPCs that the gateway answered itself, by status: they have no endpoint. */
static void sum_own(const struct admin *a, struct rows *r)
{
    for (uint32_t c = 0; c < membership_cluster_count(a->view.membership); c++)
        for (unsigned i = 0; i < STATS_GRPC_CODES; i++)
            r->own[c][i] = ADMIN_COUNT(a, c, own_answers, i);
}

static void sort_out(struct admin *a, struct rows *r)
{
    const struct config *config = a->view.config(a->view.user);
    uint64_t left = config->metrics_per_endpoint ? budget(config) : 0;
    for (uint32_t i = 0; i < a->accounts.count; i++) {
        struct admin_account *c = a->accounts.list[i];
        uint64_t n = series(&c->total, a->view.worker_count);
        bool fits = n <= left && !c->folded && !c->other;
        if (!fits && config->metrics_per_endpoint)
            c->folded = true;
        if (!fits) {
            admin_counts_add(&r->other[c->cluster], &c->total, a->view.worker_count);
            continue;
        }
        left -= n;
        struct row *row = &r->row[r->count++];
        *row = (struct row){.cluster = cluster_name(a, c->cluster), .n = &c->total};
        base_endpoint_format(&c->address, row->endpoint);
    }
}

static void add_others(const struct admin *a, struct rows *r)
{
    for (uint32_t id = 0; id < SNAPSHOT_CLUSTERS_MAX; id++) {
        const struct admin_counts *n = &r->other[id];
        if (series(n, a->view.worker_count) == 1 && n->active == 0)
            continue;
        r->row[r->count++] = (struct row){.cluster = cluster_name(a, (uint16_t)id), .endpoint = "other", .n = n};
    }
}

static void head(struct admin_text *t, struct admin_family *f, const struct row *r, const char *endpoint)
{
    admin_family_begin(t, f);
    admin_text_add(t, "penstock_%s{cluster=\"", f->name);
    admin_text_label(t, r->cluster);
    admin_text_add(t, "\",endpoint=\"%s\"", endpoint);
}

static void add_rpcs(const struct admin *a, struct admin_text *t, const struct rows *r)
{
    struct admin_family f = {
        "rpcs_total", "counter",
        "RPCs that ended, by endpoint and gRPC status; endpoint=\"none\": answered by the gateway itself."};
    for (uint32_t k = 0; k < r->count; k++)
        for (unsigned i = 0; i < STATS_GRPC_CODES; i++)
            if (r->row[k].n->rpcs[i] != 0) {
                head(t, &f, &r->row[k], r->row[k].endpoint);
                admin_text_add(t, ",grpc_status=\"%s\"} %llu\n", stats_grpc_names[i],
                               (unsigned long long)r->row[k].n->rpcs[i]);
            }
    for (uint32_t id = 0; id < SNAPSHOT_CLUSTERS_MAX; id++)
        for (unsigned i = 0; i < STATS_GRPC_CODES; i++)
            if (r->own[id][i] != 0) {
                struct row none = {.cluster = cluster_name(a, (uint16_t)id)};
                head(t, &f, &none, "none");
                admin_text_add(t, ",grpc_status=\"%s\"} %llu\n", stats_grpc_names[i],
                               (unsigned long long)r->own[id][i]);
            }
}

static void add_picks(const struct admin *a, struct admin_text *t, const struct rows *r)
{
    struct admin_family f = {"picks_total", "counter", "Times that an endpoint was picked, by worker."};
    for (uint32_t k = 0; k < r->count; k++)
        for (unsigned w = 0; w < a->view.worker_count; w++)
            if (r->row[k].n->picks[w] != 0) {
                head(t, &f, &r->row[k], r->row[k].endpoint);
                admin_text_add(t, ",worker=\"%u\"} %llu\n", w, (unsigned long long)r->row[k].n->picks[w]);
            }
}

static void add_levels(struct admin_text *t, const struct rows *r)
{
    struct admin_family active = {"streams_active", "gauge", "RPCs that run now."},
                        connects = {"endpoint_connects_total", "counter",
                                    "Connections to an endpoint that became ready."},
                        failures = {"endpoint_failures_total", "counter",
                                    "Attempts to connect that failed, and connections lost."};
    for (uint32_t k = 0; k < r->count; k++)
        if (r->row[k].n->connects != 0 || r->row[k].n->active != 0) {
            head(t, &active, &r->row[k], r->row[k].endpoint);
            admin_text_add(t, "} %llu\n", (unsigned long long)r->row[k].n->active);
        }
    for (uint32_t k = 0; k < r->count; k++)
        if (r->row[k].n->connects != 0) {
            head(t, &connects, &r->row[k], r->row[k].endpoint);
            admin_text_add(t, "} %llu\n", (unsigned long long)r->row[k].n->connects);
        }
    for (uint32_t k = 0; k < r->count; k++)
        if (r->row[k].n->failures != 0) {
            head(t, &failures, &r->row[k], r->row[k].endpoint);
            admin_text_add(t, "} %llu\n", (unsigned long long)r->row[k].n->failures);
        }
}

void admin_metrics_endpoints(struct admin *a, struct admin_text *t)
{
    struct rows r = {0};
    admin_accounts_sum(&a->accounts, &a->view);
    r.row = calloc(a->accounts.count + SNAPSHOT_CLUSTERS_MAX, sizeof(*r.row));
    r.other = calloc(SNAPSHOT_CLUSTERS_MAX, sizeof(*r.other));
    r.own = calloc(SNAPSHOT_CLUSTERS_MAX, sizeof(*r.own));
    if (r.row != NULL && r.other != NULL && r.own != NULL) {
        sum_own(a, &r);
        sort_out(a, &r);
        add_others(a, &r);
        add_rpcs(a, t, &r);
        add_picks(a, t, &r);
        add_levels(t, &r);
    } else {
        t->failed = true;
    }
    free(r.row);
    free(r.other);
    free(r.own);
}
