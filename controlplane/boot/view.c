/* What admin sees of the process. */
#include "internal.h"

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
    };
}
