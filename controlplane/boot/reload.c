/* Another configuration takes the place of the one in force, whole or not at all, as a difference.
 *
 *            load, check: any fault -> refused, every sentence told, nothing has happened
 *              |
 *   SETTLED ---+--> WARMING --every cluster that only the new routes name is warm, or WARM_NS--> (switch) --> LEAVING --LINGER_NS--> SETTLED
 *                   clusters that are new are looked up and connected,             ports, listeners, routes and clusters     clusters that it
 *                   nothing leads to them yet                                      change in one version of the snapshot     lacks are drained
 *
 * WARMING is left at once where each such cluster is READY on every worker (one that nothing led to may be in back-off on some), LEAVING where none is gone.  The second pause is for clients of a listener that is gone as well: until
 * they have their final GOAWAY their calls go where they went.  A configuration that is accepted meanwhile waits; of several the latest is used. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

#define WARM_NS   5000000000ull
#define LINGER_NS 1000000000ull

/* Says what the check would say if it knew the running process. */
static void fault(struct config_errors *said, const char *file, int line, const char *sentence)
{
    char *text = NULL;
    char **grown = realloc(said->text, (said->count + 1) * sizeof(*grown));
    if (grown != NULL)
        said->text = grown;
    int n = line > 0 ? asprintf(&text, "%s:%d: %s", file, line, sentence) : asprintf(&text, "%s: %s", file, sentence);
    if (grown == NULL || n < 0)
        abort(); /* as config does where memory ends */
    said->text[said->count++] = text;
}

bool boot_check_services(const struct config *c, struct config_errors *said)
{
    bool good = true;
    struct policy_service *s = calloc(1, sizeof(*s));
    for (unsigned i = 0; s != NULL && i < c->cluster_count; i++) {
        const struct config_cluster *cl = &c->clusters[i];
        char why[160], text[256];
        if (cl->service_text == NULL || policy_service_parse(cl->service_text, s, why, sizeof(why)))
            continue;
        snprintf(text, sizeof(text), "`service_config` of cluster \"%s\": %s", cl->name, why);
        fault(said, c->file, cl->line, text);
        good = false;
    }
    free(s);
    return good;
}

static uint32_t largest_header_list(const struct config *c)
{
    uint32_t max = 0;
    for (unsigned i = 0; i < c->listener_count; i++)
        max = c->listeners[i].max_header_list_size > max ? c->listeners[i].max_header_list_size : max;
    return max;
}

/* What workers' memory, and the owner of a flow, were laid out for at start. */
static void check_listener(struct boot *b, const struct config *next, const struct config_listener *l, struct config_errors *said)
{
    char text[512];
    if (l->max_header_list_size > b->header_list_max) {
        snprintf(text, sizeof(text), "`listeners[].max_header_list_size` of \"%s\" is larger than any at start (%u bytes): such a change needs a restart",
                 l->name, b->header_list_max);
        fault(said, next->file, l->line, text);
    }
    if (boot_port_is_ephemeral(b, l->bind.port)) { /* several workers tell a client's connection from one to a backend by the local port */
        snprintf(text, sizeof(text), "`listeners[].bind` of \"%s\": ports %u to %u were kept for connections to backends at start; take another, or restart",
                 l->name, b->owners.port_low, b->owners.port_high);
        fault(said, next->file, l->line, text);
    }
}

static void check_running(struct boot *b, const struct config *next, struct config_errors *said)
{
    char text[512];
    const char *key = config_needs_restart(b->config, next);
    if (key != NULL) {
        snprintf(text, sizeof(text), "`%s` differs from what penstock was started with: such a change needs a restart", key);
        fault(said, next->file, 0, text);
    }
    for (unsigned i = 0; i < next->listener_count; i++)
        check_listener(b, next, &next->listeners[i], said);
    if (!membership_fits(b->membership, next))
        fault(said, next->file, 0, "`clusters` has more new names than there are ids free: former clusters are still draining; try again later");
    if (b->draining)
        fault(said, next->file, 0, "penstock is draining and takes no new configuration");
}

static void check_admin(struct boot *b, const struct config *next, struct config_errors *said)
{
    char text[512];
    if (said->count == 0 && !admin_move(b->admin, &next->admin, text, sizeof(text)))
        fault(said, next->file, 0, text);
}

static bool same(const struct config *a, const struct config *b)
{
    char *x = config_print(a), *y = config_print(b);
    bool equal = strcmp(x, y) == 0;
    for (unsigned i = 0; equal && i < a->cluster_count; i++) { /* files that service_config names */
        const char *s = a->clusters[i].service_text, *t = b->clusters[i].service_text;
        equal = (s == NULL) == (t == NULL) && (s == NULL || strcmp(s, t) == 0);
    }
    free(x);
    free(y);
    return equal;
}

static bool has_cluster(const struct config *c, const char *name)
{
    for (unsigned i = 0; i < c->cluster_count; i++)
        if (strcmp(c->clusters[i].name, name) == 0)
            return true;
    return false;
}

static bool routed(const struct config *c, const char *cluster)
{
    for (unsigned l = 0; l < c->listener_count; l++)
        for (unsigned r = 0; r < c->listeners[l].route_count; r++)
            if (strcmp(c->listeners[l].routes[r].cluster, cluster) == 0)
                return true;
    return false;
}

/* The first cluster that only the new routes lead to and that has nothing READY on some worker yet; NULL: none. */
static const char *cold(const struct boot *b)
{
    for (unsigned i = 0; i < b->next->cluster_count; i++) {
        const char *name = b->next->clusters[i].name;
        if (routed(b->config, name) || !routed(b->next, name))
            continue;
        const struct membership_cluster *c = membership_find(b->membership, name);
        if (c != NULL && !membership_warm(b->membership, c))
            return name;
    }
    return NULL;
}

static bool loses_clusters(const struct config *from, const struct config *to)
{
    for (unsigned i = 0; i < from->cluster_count; i++)
        if (!has_cluster(to, from->clusters[i].name))
            return true;
    return false;
}

static void begin(struct boot *b, struct config *next);

static void finish(struct boot *b)
{
    struct config *waiting = b->waiting;
    membership_configure(b->membership, b->config, loop_now(b->loop));
    publish_config(b->publish, b->config);
    publish_turn(b->publish, loop_now(b->loop));
    config_free(b->old);
    b->old = b->waiting = NULL;
    b->reload = BOOT_SETTLED;
    if (waiting != NULL)
        begin(b, waiting);
}

static void switch_over(struct boot *b)
{
    uint64_t now = loop_now(b->loop);
    b->old = b->config;
    b->config = b->next;
    b->next = NULL;
    loop_log_set_level((unsigned)b->config->log_level);
    membership_merge(b->membership, b->config, now);
    resolvers_configure(b->resolvers, b->config);
    bool lingers = loses_clusters(b->old, b->config);
    if (lingers) {
        publish_config_change(b->publish, b->config, b->old);
        publish_turn(b->publish, now);
        b->reload = BOOT_LEAVING;
        b->reload_until_ns = now + LINGER_NS;
    } else {
        finish(b);
    }
    loop_log(LOOP_LOG_INFO, "%s is in force: %u listeners, %u clusters, generation %llu", b->config->file, b->config->listener_count,
             b->config->cluster_count, (unsigned long long)publish_promised(b->publish));
}

static void begin(struct boot *b, struct config *next)
{
    uint64_t now = loop_now(b->loop);
    b->next = next;
    b->reload = BOOT_WARMING;
    b->reload_until_ns = now + WARM_NS;
    membership_add(b->membership, next, now);
    resolvers_add(b->resolvers, next);
    if (cold(b) != NULL) {
        publish_config_change(b->publish, b->config, next);
        publish_turn(b->publish, now);
    } else {
        switch_over(b);
    }
}

void boot_reload_tick(struct boot *b, uint64_t now)
{
    if (b->reload == BOOT_WARMING) {
        const char *name = cold(b);
        if (name != NULL && now < b->reload_until_ns)
            return;
        if (name != NULL)
            loop_log(LOOP_LOG_WARN, "cluster %s has no READY endpoint after %llu s; its routes change all the same", name, WARM_NS / 1000000000ull);
        switch_over(b);
    } else if (b->reload == BOOT_LEAVING && now >= b->reload_until_ns) {
        finish(b);
    }
}

static void accept_config(struct boot *b, struct config *next)
{
    if (b->reload == BOOT_SETTLED && same(b->config, next)) {
        loop_log(LOOP_LOG_INFO, "%s says what is in force already", next->file);
        config_free(next);
    } else if (b->reload == BOOT_SETTLED) {
        begin(b, next);
    } else {
        config_free(b->waiting);
        b->waiting = next;
    }
}

static void tell(const struct config_errors *said)
{
    for (unsigned i = 0; i < said->warning_count; i++)
        loop_log(LOOP_LOG_WARN, "%s", said->warnings[i]);
    for (unsigned i = 0; i < said->count; i++)
        loop_log(LOOP_LOG_ERROR, "%s", said->text[i]);
}

bool boot_reload(struct boot *b, struct config_errors *said)
{
    struct config *next = config_load(b->config->file, said);
    if (next != NULL) {
        check_running(b, next, said);
        boot_check_services(next, said);
        check_admin(b, next, said);
    }
    tell(said);
    if (said->count > 0) {
        loop_log(LOOP_LOG_ERROR, "the new configuration is refused (%u errors); what runs stays as it is", said->count);
        config_free(next);
        return false;
    }
    accept_config(b, next);
    return true;
}

void boot_reload_started(struct boot *b)
{
    b->header_list_max = largest_header_list(b->config);
    if (b->header_list_max < BOOT_HEADER_LIST_MIN)
        b->header_list_max = BOOT_HEADER_LIST_MIN;
}

void boot_reload_free(struct boot *b)
{
    config_free(b->next);
    config_free(b->old);
    config_free(b->waiting);
    config_free(b->config);
}
