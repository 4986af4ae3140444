/* Routes: paths, authorities, clusters that exist, and the order in which they can match. */
#include "read.h"

#include <stdlib.h>
#include <strings.h>

static void check_path(struct config_report *r, int line, const char *path)
{
    if (path[0] == '\0') /* reported */
        return;
    if (path[0] != '/')
        config_fail(
            r, line,
            "`path` = \"%s\" does not begin with '/'; write \"/pkg.Service/\", \"/pkg.Service/Method\" or \"/\"", path);
    else if (strpbrk(path, " \t?#*") != NULL)
        config_fail(r, line,
                    "`path` = \"%s\" holds a character that no gRPC path has; a prefix is written \"/pkg.Service/\", "
                    "without '*'",
                    path);
    else if (strstr(path, "//") != NULL)
        config_fail(r, line, "`path` = \"%s\" holds an empty part", path);
    else if (path[1] != '\0' && strchr(path + 1, '/') == NULL)
        config_fail(r, line,
                    "`path` = \"%s\" would match no RPC: write \"%s/\" for every method of that service, or "
                    "\"%s/Method\" for one",
                    path, path, path);
}

static void check_authority(struct config_report *r, int line, const char *a)
{
    const char *colon = strrchr(a, ':');
    if (strcmp(a, "*") == 0)
        return;
    if (a[0] == '\0')
        config_fail(r, line, "`authority` is empty; \"*\" means any");
    else if (strpbrk(a, " \t/@") != NULL)
        config_fail(r, line, "`authority` = \"%s\": a host name, \"*.example.com\", or \"*\" for any", a);
    else if (strchr(a + 1, '*') != NULL || (a[0] == '*' && a[1] != '.'))
        config_fail(r, line,
                    "`authority` = \"%s\": '*' may only stand alone or at the beginning, as in \"*.example.com\"", a);
    else if (a[0] == '*' && a[2] == '\0')
        config_fail(r, line, "`authority` = \"%s\" names no domain; write \"*.example.com\", or \"*\" for any", a);
    else if (colon != NULL && strchr(a, '[') == NULL && strchr(a, ':') == colon && colon[1] != '\0' &&
             strspn(colon + 1, "0123456789") == strlen(colon + 1))
        config_fail(r, line, "`authority` = \"%s\" has a port, which is never looked at: write \"%.*s\"", a,
                    (int)(colon - a), a);
}

struct cluster_names {
    const struct config *config;
    unsigned next;
};

static const char *next_cluster(void *user)
{
    struct cluster_names *n = user;
    return n->next < n->config->cluster_count ? n->config->clusters[n->next++].name : NULL;
}

static void find_cluster(struct config_report *r, const config_setting_t *s, const struct config *c,
                         struct config_route *route)
{
    const config_setting_t *given = s != NULL ? config_setting_get_member(s, "cluster") : NULL;
    if (route->cluster[0] == '\0') {
        if (s == NULL || s->type != CONFIG_TYPE_GROUP || config_setting_get_member(s, "split") != NULL ||
            (given != NULL && given->type != CONFIG_TYPE_STRING))
            return; /* reported */
        config_fail(r, config_line(s, "cluster"), "the route names no cluster; for example: cluster = \"echo\"");
        return;
    }
    for (unsigned i = 0; i < c->cluster_count; i++)
        if (strcmp(c->clusters[i].name, route->cluster) == 0) {
            route->cluster_index = i;
            return;
        }
    struct cluster_names names = {c, 0};
    const char *near = config_nearest(route->cluster, next_cluster, &names);
    if (near != NULL && near[0] != '\0')
        config_fail(r, config_line(s, "cluster"),
                    "the route names the cluster \"%s\", which is not among `clusters`; did you mean \"%s\"?",
                    route->cluster, near);
    else
        config_fail(r, config_line(s, "cluster"), "the route names the cluster \"%s\", but `clusters` has none",
                    route->cluster);
}

static bool authority_covers(const char *a, const char *b)
{
    if (strcmp(a, "*") == 0)
        return true;
    if (a[0] == '*') {
        size_t n = strlen(a + 1), m = strlen(b);
        return m > n && strcasecmp(b + m - n, a + 1) == 0;
    }
    return strcasecmp(a, b) == 0;
}

static bool path_covers(const char *a, const char *b)
{
    size_t n = strlen(a);
    return n > 0 && (a[n - 1] == '/' ? strncmp(a, b, n) == 0 : strcmp(a, b) == 0);
}

/* First match wins: a route below one that takes all that it could match never matches. */
static void check_order(struct config_report *r, const struct config_listener *l)
{
    for (unsigned i = 1; i < l->route_count; i++)
        for (unsigned j = 0; j < i; j++) {
            const struct config_route *first = &l->routes[j], *then = &l->routes[i];
            if (!authority_covers(first->authority, then->authority) || !path_covers(first->path, then->path))
                continue;
            config_warn(r, then->line,
                        "this route (path \"%s\") can never match: the one of line %d (path \"%s\") takes all of it "
                        "first; put the narrower one first",
                        then->path, first->line, first->path);
            break;
        }
}

static void check_listener(struct config_report *r, const config_setting_t *s, struct config *c,
                           struct config_listener *l)
{
    for (unsigned i = 0; i < l->route_count; i++) {
        const config_setting_t *e = config_group(s, "routes", i);
        struct config_route *route = &l->routes[i];
        route->line = config_line(e, NULL);
        check_path(r, config_line(e, "path"), route->path);
        check_authority(r, config_line(e, "authority"), route->authority);
        find_cluster(r, e, c, route);
    }
    check_order(r, l);
}

void config_check_routes(struct config_report *r, const config_setting_t *root, struct config *c)
{
    for (unsigned i = 0; i < c->listener_count; i++)
        check_listener(r, config_group(root, "listeners", i), c, &c->listeners[i]);
    bool *used = config_alloc(c->cluster_count);
    for (unsigned i = 0; i < c->listener_count; i++)
        for (unsigned j = 0; j < c->listeners[i].route_count; j++)
            if (c->listeners[i].routes[j].cluster_index < c->cluster_count)
                used[c->listeners[i].routes[j].cluster_index] = true;
    for (unsigned i = 0; i < c->cluster_count; i++)
        if (!used[i] && r->error_count == 0)
            config_warn(r, c->clusters[i].line, "no route leads to cluster \"%s\"", c->clusters[i].name);
    free(used);
}
