/* /metrics: the families that are of the process, of a worker or of a cluster.  Those of endpoints are
 * metrics_endpoints.c's.
 *
 * Counters that never moved are left out; a gauge that was above zero once stays. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t sum_counter(const struct admin *a, enum stats_counter which)
{
    uint64_t n = 0;
    for (unsigned w = 0; w < a->view.worker_count; w++)
        n += stats_read(&a->view.stats[w]->counters[which]);
    return n;
}

/* A sample `name{labels} value` of its family. labels: without braces, already escaped; "" for none. */
static void sample(struct admin_text *t, struct admin_family *f, const char *labels, uint64_t value)
{
    admin_family_begin(t, f);
    admin_text_add(t, labels[0] != '\0' ? "penstock_%s{%s} %llu\n" : "penstock_%s%s %llu\n", f->name, labels,
                   (unsigned long long)value);
}

static void moved(struct admin_text *t, struct admin_family *f, const char *labels, uint64_t value)
{
    if (value != 0)
        sample(t, f, labels, value);
}

static void add_build(struct admin *a, struct admin_text *t)
{
    struct admin_family build = {"build_info", "gauge", "The version that runs; always 1."};
    struct admin_family generation = {"snapshot_generation", "gauge",
                                      "The version of ports, listeners, clusters and endpoints that is in force."};
    sample(t, &build, "version=\"" PENSTOCK_VERSION "\"", 1);
    sample(t, &generation, "", publish_generation(a->view.publish));
}

static void add_drops(const struct admin *a, struct admin_text *t)
{
    struct admin_family f = {"drops_total", "counter",
                             "Packets, frames, streams and records dropped or refused, by reason."};
    char labels[96];
    for (unsigned i = 0; i < STATS_DROP_COUNT; i++) {
        uint64_t n = 0;
        for (unsigned w = 0; w < a->view.worker_count; w++) {
            n += stats_read(&a->view.stats[w]->drops[i]);
            if (i == STATS_DROP_LOG_FULL && a->view.mailboxes != NULL)
                n += mailbox_log_dropped(a->view.mailboxes[w]);
        }
        if (i == STATS_DROP_ACCESS_FULL)
            n += admin_access_lost(a->access);
        snprintf(labels, sizeof(labels), "reason=\"%s\"", stats_drop_labels[i]);
        moved(t, &f, labels, n);
    }
}

static void add_traffic(const struct admin *a, struct admin_text *t)
{
    struct admin_family bytes = {"bytes_total", "counter",
                                 "Bytes of TCP payload, by side (client or backend) and direction."};
    moved(t, &bytes, "side=\"client\",direction=\"in\"", sum_counter(a, STATS_DOWN_BYTES_IN));
    moved(t, &bytes, "side=\"client\",direction=\"out\"", sum_counter(a, STATS_DOWN_BYTES_OUT));
    moved(t, &bytes, "side=\"backend\",direction=\"in\"", sum_counter(a, STATS_UP_BYTES_IN));
    moved(t, &bytes, "side=\"backend\",direction=\"out\"", sum_counter(a, STATS_UP_BYTES_OUT));
    struct admin_family again = {"tcp_retransmits_total", "counter", "Segments sent again, by what caused it."};
    moved(t, &again, "cause=\"rto\"", sum_counter(a, STATS_TCP_RETRANSMITS_RTO));
    moved(t, &again, "cause=\"fast\"", sum_counter(a, STATS_TCP_RETRANSMITS_FAST));
    moved(t, &again, "cause=\"tlp\"", sum_counter(a, STATS_TCP_RETRANSMITS_TLP));
    moved(t, &again, "cause=\"syn\"", sum_counter(a, STATS_TCP_RETRANSMITS_SYN));
    struct admin_family cookies = {"tcp_syn_cookies_total", "counter", "SYNs answered with a cookie."};
    moved(t, &cookies, "", sum_counter(a, STATS_TCP_SYN_COOKIES));
    struct admin_family handed = {"handovers_total", "counter", "Packets handed to the worker that owns their flow."};
    moved(t, &handed, "", sum_counter(a, STATS_HANDOVERS));
}

/* Counters without a family of their own in the contract: one family, by event. */
static void add_events(const struct admin *a, struct admin_text *t)
{
#define X(name, label) STATS_##name,
    static const enum stats_counter events[] = {STATS_EVENTS(X)};
#undef X
    struct admin_family f = {"events_total", "counter",
                             "What the data plane counts beside the other families, by event; not a stable list."};
    char labels[96];
    for (size_t i = 0; i < sizeof(events) / sizeof(*events); i++) {
        snprintf(labels, sizeof(labels), "event=\"%s\"", stats_counter_labels[events[i]]);
        moved(t, &f, labels, sum_counter(a, events[i]));
    }
}

static void add_workers(const struct admin *a, struct admin_text *t)
{
    struct admin_family f = {"worker_seconds_total", "counter", "Time of a worker's thread, busy with work or idle."};
    static const struct {
        const char *mode;
        enum stats_counter counter;
    } modes[] = {{"busy", STATS_BUSY_NS}, {"idle", STATS_IDLE_NS}};
    for (unsigned w = 0; w < a->view.worker_count; w++)
        for (unsigned m = 0; m < 2; m++) {
            uint64_t ns = stats_read(&a->view.stats[w]->counters[modes[m].counter]);
            if (ns == 0)
                continue;
            admin_family_begin(t, &f);
            admin_text_add(t, "penstock_%s{worker=\"%u\",mode=\"%s\"} %llu.%09llu\n", f.name, w, modes[m].mode,
                           (unsigned long long)(ns / 1000000000ull), (unsigned long long)(ns % 1000000000ull));
        }
}

static void add_connections(const struct admin *a, struct admin_text *t)
{
    struct admin_family f = {"connections", "gauge", "Connections now, by side (client or backend)."};
    static const char *const sides[] = {"client", "backend"};
    char labels[64];
    if (a->view.connections == NULL)
        return;
    for (unsigned side = 0; side < 2; side++) {
        uint64_t n = 0;
        for (unsigned w = 0; w < a->view.worker_count; w++)
            n += a->view.connections(a->view.user, w, side);
        snprintf(labels, sizeof(labels), "side=\"%s\",state=\"open\"", sides[side]);
        sample(t, &f, labels, n);
    }
}

static const struct stats *object_source(const struct admin *a, unsigned i)
{
    return i < a->view.worker_count ? a->view.stats[i] : a->view.process;
}

/* Sums a kind over all workers when it is met first. */
static void add_object(const struct admin *a, struct admin_text *t, struct admin_family *f, unsigned source,
                       uint32_t index)
{
    const char *kind = object_source(a, source)->objects[index].kind;
    uint64_t used = 0, capacity = 0;
    for (unsigned i = 0; i <= a->view.worker_count; i++) {
        const struct stats *s = object_source(a, i);
        for (uint32_t k = 0; s != NULL && k < s->object_count; k++) {
            if (strcmp(s->objects[k].kind, kind) != 0)
                continue;
            if (i < source || (i == source && k < index))
                return; /* told already */
            used += __atomic_load_n(s->objects[k].in_use, __ATOMIC_RELAXED);
            capacity += s->objects[k].capacity;
        }
    }
    admin_family_begin(t, f);
    for (int in_use = 1; in_use >= 0; in_use--) {
        admin_text_add(t, "penstock_objects{kind=\"");
        admin_text_label(t, kind);
        admin_text_add(t, "\",state=\"%s\"} %llu\n", in_use ? "in_use" : "free",
                       (unsigned long long)(in_use            ? used
                                            : capacity > used ? capacity - used
                                                              : 0));
    }
}

static void add_objects(const struct admin *a, struct admin_text *t)
{
    struct admin_family f = {"objects", "gauge", "Objects of every slab and pool, in use and free."};
    for (unsigned i = 0; i <= a->view.worker_count; i++)
        for (uint32_t k = 0; object_source(a, i) != NULL && k < object_source(a, i)->object_count; k++)
            add_object(a, t, &f, i, k);
}

/* Buckets 2^(i+8) ns, the last one unbounded; the count is the buckets' own sum, so that a scrape is consistent in
 * itself. */
static void add_residence(const struct admin *a, struct admin_text *t)
{
    struct admin_family f = {
        "residence_seconds", "histogram",
        "Time inside the gateway, from the burst that brought an RPC's bytes in to the one that took them out."};
    uint64_t bucket[STATS_RESIDENCE_BUCKETS] = {0}, count = 0, sum_ns = 0;
    for (unsigned w = 0; w < a->view.worker_count; w++) {
        for (unsigned i = 0; i < STATS_RESIDENCE_BUCKETS; i++)
            bucket[i] += stats_read(&a->view.stats[w]->residence.bucket[i]);
        sum_ns += stats_read(&a->view.stats[w]->residence.sum_ns);
    }
    for (unsigned i = 0; i < STATS_RESIDENCE_BUCKETS; i++)
        count += bucket[i];
    if (count == 0)
        return;
    admin_family_begin(t, &f);
    uint64_t so_far = 0;
    for (unsigned i = 0; i + 1 < STATS_RESIDENCE_BUCKETS; i++) {
        so_far += bucket[i];
        admin_text_add(t, "penstock_residence_seconds_bucket{le=\"%.9g\"} %llu\n", (double)(1ull << (i + 8)) / 1e9,
                       (unsigned long long)so_far);
    }
    admin_text_add(t,
                   "penstock_residence_seconds_bucket{le=\"+Inf\"} %llu\npenstock_residence_seconds_sum "
                   "%.9g\npenstock_residence_seconds_count %llu\n",
                   (unsigned long long)count, (double)sum_ns / 1e9, (unsigned long long)count);
}

static void add_durations(const struct admin *a, struct admin_text *t, struct admin_family *f,
                          const struct membership_cluster *c)
{
    uint64_t bucket[STATS_DURATION_BUCKETS] = {0}, count = 0, sum_us = 0;
    for (unsigned i = 0; i < STATS_DURATION_BUCKETS; i++)
        count += bucket[i] = ADMIN_COUNT(a, c->id, duration.bucket, i);
    sum_us = ADMIN_COUNT(a, c->id, duration.sum_us, 0);
    if (count == 0)
        return;
    admin_family_begin(t, f);
    uint64_t so_far = 0;
    for (unsigned i = 0; i < STATS_DURATION_BUCKETS; i++) {
        char le[32] = "+Inf";
        if (i + 1 < STATS_DURATION_BUCKETS)
            snprintf(le, sizeof(le), "%g", (double)stats_duration_bounds_us[i] / 1e6);
        so_far += bucket[i];
        admin_text_add(t, "penstock_%s_bucket{cluster=\"", f->name);
        admin_text_label(t, c->name);
        admin_text_add(t, "\",le=\"%s\"} %llu\n", le, (unsigned long long)so_far);
    }
    admin_text_add(t, "penstock_%s_sum{cluster=\"%s\"} %.9g\npenstock_%s_count{cluster=\"%s\"} %llu\n", f->name,
                   c->name, (double)sum_us / 1e6, f->name, c->name, (unsigned long long)count);
}

#define each_cluster(c, a)                                                                                             \
    for (uint32_t c##_id = 0; c##_id < membership_cluster_count((a)->view.membership); c##_id++)                       \
        for (const struct membership_cluster *c = membership_cluster((a)->view.membership, (uint16_t)c##_id);          \
             c != NULL; c = NULL)

/* RPCs begun, by the listener that they came through. */
static void add_started(const struct admin *a, struct admin_text *t)
{
    struct admin_family f = {"rpcs_started_total", "counter", "RPCs begun, by listener and cluster."};
    each_cluster(c, a) for (unsigned l = 0; l < STATS_LISTENERS; l++)
    {
        uint64_t n = ADMIN_COUNT(a, c->id, started, l);
        if (n == 0)
            continue;
        admin_family_begin(t, &f);
        admin_text_add(t, "penstock_%s{listener=\"", f.name);
        const char *name = publish_listener_name(a->view.publish, l);
        admin_text_label(t, name != NULL ? name : "gone");
        admin_text_add(t, "\",cluster=\"%s\"} %llu\n", c->name, (unsigned long long)n);
    }
}

static void add_pick_failures(const struct admin *a, struct admin_text *t)
{
    struct admin_family f = {"pick_failures_total", "counter",
                             "RPCs that got no endpoint or an answer of the gateway's own, by reason."};
    each_cluster(c, a) for (unsigned i = 0; i < STATS_REASON_COUNT; i++)
    {
        uint64_t n = ADMIN_COUNT(a, c->id, pick_failures, i);
        if (n == 0)
            continue;
        admin_family_begin(t, &f);
        admin_text_add(t, "penstock_%s{cluster=\"%s\",reason=\"%s\"} %llu\n", f.name, c->name, stats_reason_labels[i],
                       (unsigned long long)n);
    }
}

/* RPCs that wait, or have waited, for an endpoint; and those that went to one once more. */
static void add_waits(const struct admin *a, struct admin_text *t)
{
    struct admin_family now = {"rpcs_waiting", "gauge", "RPCs that wait for an endpoint to be READY, or for a free stream of one."};
    struct admin_family over = {"rpcs_waited_total", "counter", "RPCs that waited for an endpoint, by how that ended."};
    struct admin_family again = {"retries_total", "counter",
                                 "RPCs that went to an endpoint once more, or were to and did not, by kind."};
    char labels[128];
    each_cluster(c, a)
    {
        uint64_t sum = 0;
        for (unsigned i = 0; i < STATS_WAIT_COUNT; i++)
            sum += ADMIN_COUNT(a, c->id, waits, i);
        snprintf(labels, sizeof(labels), "cluster=\"%s\"", c->name);
        uint64_t waiting = ADMIN_COUNT(a, c->id, waiting, 0);
        if (sum + waiting > 0)
            sample(t, &now, labels, waiting);
    }
    each_cluster(c, a) for (unsigned i = 0; i < STATS_WAIT_COUNT; i++)
    {
        snprintf(labels, sizeof(labels), "cluster=\"%s\",outcome=\"%s\"", c->name, stats_wait_labels[i]);
        moved(t, &over, labels, ADMIN_COUNT(a, c->id, waits, i));
    }
    each_cluster(c, a) for (unsigned i = 0; i < STATS_RETRY_COUNT; i++)
    {
        snprintf(labels, sizeof(labels), "cluster=\"%s\",kind=\"%s\"", c->name, stats_retry_labels[i]);
        moved(t, &again, labels, ADMIN_COUNT(a, c->id, retries, i));
    }
}

/* What the set of endpoints takes in connections (subset_size, connections_per_endpoint). */
static void add_budgets(const struct admin *a, struct admin_text *t)
{
    struct admin_family f = {"connection_budget", "gauge", "Connections to backends that all workers keep together, when every endpoint is READY."};
    char labels[128];
    each_cluster(c, a)
    {
        snprintf(labels, sizeof(labels), "cluster=\"%s\"", c->name);
        if (c->configured)
            sample(t, &f, labels, publish_budget(a->view.publish, (uint16_t)c_id).connections);
    }
}

static void add_states(struct admin *a, struct admin_text *t)
{
    struct admin_family f = {"endpoints", "gauge", "Endpoints by state."};
    each_cluster(c, a)
    {
        uint32_t n[ADMIN_STATES] = {0};
        base_list_each (l, &c->endpoints)
            n[admin_endpoint_state(a, base_container(l, const struct membership_endpoint, link))]++;
        for (unsigned i = 0; i < ADMIN_STATES; i++) {
            if (n[i] != 0)
                a->states_seen[c->id] |= (uint8_t)(1u << i);
            if ((a->states_seen[c->id] >> i & 1) == 0)
                continue;
            admin_family_begin(t, &f);
            admin_text_add(t, "penstock_%s{cluster=\"%s\",state=\"%s\"} %u\n", f.name, c->name, admin_state_names[i],
                           n[i]);
        }
    }
}

static void add_membership(const struct admin *a, struct admin_text *t)
{
    struct admin_family changes = {"membership_changes_total", "counter",
                                   "Endpoints that the source added, removed or changed."};
    struct admin_family stale = {"membership_stale_seconds", "gauge",
                                 "How long ago the source last proved that the set of endpoints is current."};
    char labels[128];
    each_cluster(c, a)
    {
        const uint64_t n[] = {c->added, c->removed, c->changed};
        static const char *const kinds[] = {"added", "removed", "changed"};
        for (unsigned i = 0; i < 3; i++) {
            snprintf(labels, sizeof(labels), "cluster=\"%s\",change=\"%s\"", c->name, kinds[i]);
            moved(t, &changes, labels, n[i]);
        }
    }
    each_cluster(c, a)
    {
        if (!c->configured)
            continue;
        admin_family_begin(t, &stale);
        admin_text_add(t, "penstock_%s{cluster=\"%s\"} %.3f\n", stale.name, c->name,
                       (double)admin_stale_ns(a, c) / 1e9);
    }
}

static void add_bad_values(const struct admin *a, struct admin_text *t)
{
    struct admin_family f = {"membership_bad_values_total", "counter", "Registry values that could not be read."};
    char labels[128];
    each_cluster(c, a)
    {
        snprintf(labels, sizeof(labels), "cluster=\"%s\"", c->name);
        moved(t, &f, labels, c->bad_values);
    }
}

char *admin_metrics_text(struct admin *a)
{
    struct admin_text t = {0};
    struct admin_family durations = {"rpc_duration_seconds", "histogram",
                                     "RPCs from their first byte in to their last byte out."};
    add_build(a, &t);
    admin_metrics_endpoints(a, &t);
    add_started(a, &t);
    each_cluster(c, a) add_durations(a, &t, &durations, c);
    add_residence(a, &t);
    add_pick_failures(a, &t);
    add_waits(a, &t);
    add_states(a, &t);
    add_budgets(a, &t);
    add_membership(a, &t);
    add_bad_values(a, &t);
    add_connections(a, &t);
    add_traffic(a, &t);
    add_drops(a, &t);
    add_events(a, &t);
    add_workers(a, &t);
    add_objects(a, &t);
    if (!t.failed)
        return t.text;
    free(t.text);
    return NULL;
}
