/* What admin sees of the process. */
#include "internal.h"

#include <stdio.h>

static const struct config *view_config(void *user)
{
    return ((struct boot *)user)->config;
}

static bool view_ports_up(void *user)
{
    struct boot *b = user;
    for (unsigned i = 0; i < b->ports; i++)
        if (!port_link_up(b->port[i]))
            return false;
    return publish_settled(b->publish);
}

static bool view_draining(void *user)
{
    return ((struct boot *)user)->draining;
}

static uint32_t view_connections(void *user, unsigned worker, unsigned side)
{
    return worker_sessions(((struct boot *)user)->worker[worker], side);
}

static uint64_t view_stale_ns(void *user, const struct membership_cluster *c, uint64_t now)
{
    return resolvers_stale_ns(((struct boot *)user)->resolvers, c, now);
}

static void view_shutdown(void *user)
{
    boot_drain(user);
}

static bool view_reload(void *user, struct admin_reload *what)
{
    struct boot *b = user;
    loop_log(LOOP_LOG_INFO, "reload: loading %s", b->config->file);
    bool ok = boot_reload(b, &what->said);
    what->generation = publish_promised(b->publish);
    what->pending = b->reload != BOOT_SETTLED;
    return ok;
}

static bool view_reloading(void *user)
{
    return ((struct boot *)user)->reload != BOOT_SETTLED;
}

static bool view_weight(void *user, const char *cluster, const struct base_endpoint *e, uint32_t weight, char *error, size_t n)
{
    struct boot *b = user;
    char text[BASE_ENDPOINT_TEXT], number[16];
    struct membership_cluster *c = membership_find(b->membership, cluster);
    base_endpoint_format(e, text);
    snprintf(number, sizeof(number), "%u", weight);
    if (c == NULL || !c->configured)
        snprintf(error, n, "there is no cluster \"%s\"", cluster);
    else if (!membership_override(b->membership, c, e, weight))
        snprintf(error, n, "cluster \"%s\" has no endpoint %s", cluster, text);
    else {
        loop_log(LOOP_LOG_INFO, "by hand: cluster %s, endpoint %s: weight %s", cluster, text,
                 weight == MEMBERSHIP_NO_OVERRIDE ? "as its source says" : number);
        publish_turn(b->publish, loop_now(b->loop));
        return true;
    }
    return false;
}

struct admin_view boot_admin_view(struct boot *b)
{
    return (struct admin_view){
        .user = b,
        .config = view_config,
        .membership = b->membership,
        .publish = b->publish,
        .stats = b->stats,
        .mailboxes = b->mailbox,
        .worker_count = b->workers,
        .started_ns = loop_now(b->loop),
        .ports_up = view_ports_up,
        .draining = view_draining,
        .connections = view_connections,
        .stale_ns = view_stale_ns,
        .shutdown = view_shutdown,
        .reload = view_reload,
        .reloading = view_reloading,
        .weight = view_weight,
    };
}
