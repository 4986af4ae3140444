/* What several answers say: states, staleness, readiness. */
#include "internal.h"

const char *const admin_state_names[ADMIN_STATES] = {"IDLE",     "CONNECTING", "READY",  "TRANSIENT_FAILURE",
                                                     "DRAINING", "UNHEALTHY",  "EJECTED"};

enum admin_state admin_endpoint_state(const struct admin *a, const struct membership_endpoint *e)
{
    const char *name = membership_state_name(a->view.membership, e);
    unsigned i = 0;
    while (i + 1 < ADMIN_STATES && strcmp(name, admin_state_names[i]) != 0)
        i++;
    return i;
}

uint64_t admin_stale_ns(const struct admin *a, const struct membership_cluster *c)
{
    uint64_t now = loop_now(a->loop), since = c->fresh_ns != 0 ? c->fresh_ns : a->view.started_ns;
    if (a->view.stale_ns != NULL)
        return a->view.stale_ns(a->view.user, c, now);
    if (strncmp(c->source, "static:", 7) == 0)
        return 0;
    return now > since ? now - since : 0;
}

bool admin_draining(const struct admin *a)
{
    return a->view.draining != NULL && a->view.draining(a->view.user);
}

static bool has_ready_endpoint(const struct admin *a, const struct membership_cluster *c)
{
    base_list_each (l, &c->endpoints)
        if (admin_endpoint_state(a, base_container(l, const struct membership_endpoint, link)) == ADMIN_READY)
            return true;
    return false;
}

static bool all_answered(const struct admin *a)
{
    for (uint32_t i = 0; i < membership_cluster_count(a->view.membership); i++) {
        const struct membership_cluster *c = membership_cluster(a->view.membership, (uint16_t)i);
        if (c != NULL && c->configured && !c->answered)
            return false;
    }
    return true;
}

#define FIRST_ANSWER_NS 10000000000ull /* a source that says nothing holds the gateway back no longer than this */

const char *admin_not_ready(const struct admin *a, const char *cluster)
{
    const struct membership_cluster *c;
    if (admin_draining(a))
        return "draining";
    if (publish_generation(a->view.publish) == 0)
        return "the configuration is not applied yet";
    if (a->view.ports_up != NULL && !a->view.ports_up(a->view.user))
        return "a port is down";
    if (cluster[0] != '\0') {
        c = membership_find(a->view.membership, cluster);
        if (c == NULL || !c->configured)
            return "there is no such cluster";
        return has_ready_endpoint(a, c) ? NULL : "the cluster has no READY endpoint";
    }
    if (!all_answered(a) && loop_now(a->loop) - a->view.started_ns < FIRST_ANSWER_NS)
        return "a cluster waits for the first answer of its source";
    return NULL;
}
