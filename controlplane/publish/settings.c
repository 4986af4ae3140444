/* The part of a version that comes from the configuration alone: ports, listeners, routes. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

static struct snapshot_keepalive keepalive_of(const struct config_keepalive *k)
{
    return (struct snapshot_keepalive){k->time_ns, k->timeout_ns, k->min_time_ns, k->permit_without_stream};
}

static void port_fill(struct snapshot_port *out, const struct config_port *in)
{
    *out = (struct snapshot_port){.address_count = in->address_count, .gateway_count = in->gateway_count, .vlan = (uint16_t)in->vlan,
                                  .mtu = (uint16_t)in->mtu};
    for (unsigned i = 0; i < in->address_count; i++) {
        out->address[i] = in->address[i].addr;
        out->prefix_bits[i] = (uint8_t)in->address[i].bits;
    }
    for (unsigned i = 0; i < in->gateway_count; i++)
        out->gateway[i] = in->gateway[i];
}

static bool in_config(const struct config *c, const char *name)
{
    for (unsigned i = 0; i < c->listener_count; i++)
        if (strcmp(c->listeners[i].name, name) == 0)
            return true;
    return false;
}

/* A listener keeps its id as long as the process lives, by its name.  Only when none is left a name that is gone gives its id to a new
 * one, each in its turn, so that it has been gone for as long as can be. */
static int listener_id(struct publish *p, const struct config *c, const char *name)
{
    for (uint32_t i = 0; i < p->listener_names_count; i++)
        if (strcmp(p->listener_names[i], name) == 0)
            return (int)i;
    uint32_t id = p->listener_names_count;
    if (id < SNAPSHOT_LISTENERS_MAX) {
        p->listener_names_count++;
    } else {
        uint32_t tries = 0;
        do
            id = p->listener_reused++ % SNAPSHOT_LISTENERS_MAX;
        while (in_config(c, p->listener_names[id]) && ++tries < SNAPSHOT_LISTENERS_MAX);
        if (tries == SNAPSHOT_LISTENERS_MAX)
            return -1;
    }
    snprintf(p->listener_names[id], sizeof(p->listener_names[id]), "%s", name);
    return (int)id;
}

static const char *keep(char **at, const char *text, size_t n)
{
    char *here = *at;
    memcpy(here, text, n);
    here[n] = '\0';
    *at += n + 1;
    return here;
}

static bool route_fill(const struct publish *p, struct snapshot_route *out, const struct config_route *in, char **texts)
{
    const char *authority = in->authority != NULL && in->authority[0] != '\0' ? in->authority : "*", *path = in->path;
    size_t n = strlen(path);
    *out = (struct snapshot_route){.timeout_ns = in->timeout_ns};
    if (strcmp(authority, "*") == 0) {
        out->authority_match = SNAPSHOT_ANY;
        authority = "";
    } else if (authority[0] == '*') {
        out->authority_match = SNAPSHOT_SUFFIX;
        authority++; /* "*.example.com" -> ".example.com" */
    } else {
        out->authority_match = SNAPSHOT_EXACT;
    }
    out->path_match = strcmp(path, "/") == 0 ? SNAPSHOT_ANY : n > 0 && path[n - 1] == '/' ? SNAPSHOT_PREFIX : SNAPSHOT_EXACT;
    out->authority_len = (uint16_t)strlen(authority);
    out->authority = keep(texts, authority, out->authority_len);
    out->path_len = (uint16_t)n;
    out->path = keep(texts, path, n);
    const struct membership_cluster *c = membership_find(p->membership, in->cluster);
    out->cluster = c != NULL ? c->id : 0;
    return c != NULL;
}

static struct snapshot_bounds bounds_of(const struct config_bounds *b)
{
    return (struct snapshot_bounds){.resets = b->resets, .pings = b->pings, .settings = b->settings, .empty_data = b->empty_data,
                                    .priority = b->priority, .window_updates = b->window_updates, .other_frames = b->other_frames,
                                    .continuation_frames = b->continuation_frames, .header_fields = b->header_fields, .buffered = b->buffered};
}

static void listener_fill(struct snapshot_listener *out, const struct config_listener *in, uint16_t id)
{
    *out = (struct snapshot_listener){
        .id = id, .present = true, .health_service = in->health_service, .forwarded = in->forwarded == CONFIG_FORWARDED_APPEND,
        .bind = in->bind, .max_concurrent_streams = in->max_concurrent_streams, .max_header_list_size = in->max_header_list_size,
        .max_connection_age_ns = in->max_connection_age_ns, .max_connection_age_grace_ns = in->max_connection_age_grace_ns,
        .max_connection_idle_ns = in->max_connection_idle_ns, .handshake_timeout_ns = in->handshake_timeout_ns,
        .header_timeout_ns = in->header_timeout_ns, .bounds = bounds_of(&in->bounds), .keepalive = keepalive_of(&in->keepalive)};
    snprintf(out->name, sizeof(out->name), "%s", in->name);
}

static size_t texts_size(const struct publish_settings *before, const struct config *c)
{
    size_t n = 1;
    for (unsigned l = 0; before != NULL && l < SNAPSHOT_LISTENERS_MAX; l++)
        for (unsigned r = 0; r < before->listener[l].route_count; r++)
            n += before->routes[l][r].authority_len + before->routes[l][r].path_len + 2u;
    for (unsigned l = 0; l < c->listener_count; l++)
        for (unsigned r = 0; r < c->listeners[l].route_count; r++) {
            const struct config_route *route = &c->listeners[l].routes[r];
            n += (route->authority != NULL ? strlen(route->authority) : 1) + strlen(route->path) + 4;
        }
    return n;
}

/* A route of the settings before, unless its cluster is gone. */
static bool route_copy(struct publish *p, struct snapshot_route *out, const struct snapshot_route *in, char **texts)
{
    const struct membership_cluster *c = membership_cluster(p->membership, in->cluster);
    if (c == NULL || !c->configured || c->holder != p->settings->holder[in->cluster])
        return false;
    *out = *in;
    out->authority = keep(texts, in->authority, in->authority_len);
    out->path = keep(texts, in->path, in->path_len);
    return true;
}

/* A listener that was taken away: its clients finish what they have begun, by the routes that it had. */
static bool leaving_fill(struct publish *p, struct publish_settings *s, uint32_t id, char **texts)
{
    const struct snapshot_listener *before = &p->settings->listener[id];
    struct snapshot_route *routes = calloc(before->route_count + 1, sizeof(*routes));
    uint32_t n = 0;
    if (routes == NULL)
        return false;
    for (uint32_t r = 0; r < before->route_count; r++)
        n += route_copy(p, &routes[n], &p->settings->routes[id][r], texts);
    s->listener[id] = *before;
    s->listener[id].present = false;
    s->listener[id].route_count = n;
    s->listener[id].routes = s->routes[id] = routes;
    return true;
}

static bool listeners_fill(struct publish *p, struct publish_settings *s, const struct config *c)
{
    char *texts = s->texts;
    for (unsigned l = 0; l < c->listener_count; l++) {
        const struct config_listener *in = &c->listeners[l];
        int id = listener_id(p, c, in->name);
        if (id < 0)
            continue; /* no more listeners than ids pass the configuration's check */
        struct snapshot_route *routes = calloc(in->route_count + 1, sizeof(*routes));
        if (routes == NULL)
            return false;
        listener_fill(&s->listener[id], in, (uint16_t)id);
        s->routes[id] = routes;
        for (unsigned r = 0; r < in->route_count; r++)
            if (!route_fill(p, &routes[r], &in->routes[r], &texts))
                return false; /* the cluster found no memory */
        s->listener[id].routes = routes;
        s->listener[id].route_count = in->route_count;
    }
    s->listener_count = p->listener_names_count;
    for (uint32_t id = 0; p->settings != NULL && id < SNAPSHOT_LISTENERS_MAX; id++)
        if (!s->listener[id].present && p->settings->listener[id].route_count > 0 && !leaving_fill(p, s, id, &texts))
            return false;
    return true;
}

struct publish_settings *publish_settings_create(struct publish *p)
{
    const struct config *c = p->config;
    struct publish_settings *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->refs = 1;
    s->texts = malloc(texts_size(p->settings, c));
    for (uint32_t i = 0; i < membership_cluster_count(p->membership); i++)
        s->holder[i] = membership_cluster(p->membership, (uint16_t)i)->holder;
    s->poll = c->idle == CONFIG_IDLE_POLL;
    s->rto_ns_min = c->tcp.rto_ns_min;
    s->user_timeout_ns = c->tcp.user_timeout_ns;
    s->tcp_keepalive_ns = c->tcp.keepalive_ns;
    s->reno = c->tcp.congestion == CONFIG_RENO;
    s->ecn = (uint8_t)c->tcp.ecn;
    s->pacing = c->tcp.pacing;
    if (s->texts == NULL || !listeners_fill(p, s, c)) { /* ids that were given stay so */
        publish_settings_release(s);
        return NULL;
    }
    s->access_every = c->log_access != NULL && c->log_access[0] != '\0' ? c->log_access_sample : 0;
    s->port_count = c->port_count;
    for (unsigned i = 0; i < c->port_count; i++)
        port_fill(&s->port[i], &c->ports[i]);
    return s;
}

void publish_settings_release(struct publish_settings *s)
{
    if (s == NULL || --s->refs > 0)
        return;
    for (unsigned i = 0; i < SNAPSHOT_LISTENERS_MAX; i++)
        free(s->routes[i]);
    free(s->texts);
    free(s);
}
