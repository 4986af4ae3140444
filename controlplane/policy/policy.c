#include "policy.h"

enum snapshot_policy policy_picker(const struct config_cluster *c)
{
    return c->policy == CONFIG_WEIGHTED_ROUND_ROBIN ? SNAPSHOT_WEIGHTED_ROUND_ROBIN : SNAPSHOT_ROUND_ROBIN;
}

void policy_endpoint(const struct config_cluster *c, const struct membership_endpoint *e, struct snapshot_endpoint *out)
{
    uint32_t weight = membership_weight(e);
    bool leaving = e->life == MEMBERSHIP_LEAVING || c == NULL;
    memset(out, 0, sizeof(*out)); /* padding too: pages are compared as bytes */
    out->address.addr = e->address.addr;
    out->address.port = e->address.port;
    out->cluster = e->cluster;
    out->serial = e->serial;
    out->spared = e->spared;
    out->weight = weight == 0 || c == NULL || policy_picker(c) == SNAPSHOT_ROUND_ROBIN ? 1 : weight;
    out->flags = leaving ? 0 : weight == 0 ? SNAPSHOT_PRESENT | SNAPSHOT_DRAIN : SNAPSHOT_PRESENT;
}
