/* The sources of all clusters, and which of them a new configuration keeps. */
#include "internal.h"
#include "loop/log.h"

#include <stdio.h>
#include <stdlib.h>

struct resolver {
    struct resolver *next;
    const struct resolver_kind *kind;
    void *source;
    uint16_t cluster;
    char *identity; /* what the source was started with: equal text, same source */
    bool wanted;
};

struct resolvers {
    struct resolver_context context; /* but for .cluster */
    struct resolver *head;
};

struct resolvers *resolvers_create(struct loop *l, struct membership *m, void (*changed)(void *user), void *user)
{
    struct resolvers *rs = calloc(1, sizeof(*rs));
    if (rs != NULL)
        rs->context = (struct resolver_context){.loop = l, .membership = m, .changed = changed, .user = user};
    return rs;
}

static const struct resolver_kind *kind_of(const struct config_cluster *c)
{
    switch (c->target_kind) {
    case CONFIG_TARGET_ETCD:
        return &resolver_kind_etcd;
    case CONFIG_TARGET_STATIC:
        return &resolver_kind_static;
    default:
        return NULL; /* refused by the configuration */
    }
}

static char *identity_of(const struct config *conf, const struct config_cluster *c)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    if (f == NULL)
        return NULL;
    const struct config_etcd *e = &conf->etcd;
    fprintf(f, "%d %d %s", c->target_kind, c->format, c->target);
    if (c->target_kind == CONFIG_TARGET_ETCD) {
        fprintf(f, "\n%s\n%s\n%s\n%s\n%s\n%s\n%llu", e->ns, e->username, e->password_file, e->ca, e->cert, e->key, (unsigned long long)e->resync_ns);
        for (unsigned i = 0; i < e->endpoint_count; i++)
            fprintf(f, "\n%s", e->endpoints[i]);
    }
    return fclose(f) == 0 ? text : NULL;
}

static void resolver_stop(struct resolver *r)
{
    if (r->source != NULL)
        r->kind->stop(r->source);
    free(r->identity);
    free(r);
}

static struct resolver *find(const struct resolvers *rs, uint16_t cluster)
{
    for (struct resolver *r = rs->head; r != NULL; r = r->next)
        if (r->cluster == cluster)
            return r;
    return NULL;
}

static void sweep(struct resolvers *rs)
{
    for (struct resolver **at = &rs->head; *at != NULL;) {
        struct resolver *r = *at;
        if (r->wanted) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        resolver_stop(r);
    }
}

static void start(struct resolvers *rs, const struct config *c, const struct config_cluster *cc, struct membership_cluster *cluster)
{
    struct resolver *r = calloc(1, sizeof(*r));
    const struct resolver_kind *kind = kind_of(cc);
    if (r == NULL || kind == NULL || (r->identity = identity_of(c, cc)) == NULL) {
        free(r);
        return;
    }
    struct resolver_context x = rs->context;
    x.cluster = cluster;
    r->kind = kind;
    r->cluster = cluster->id;
    r->wanted = true;
    r->source = kind->start(&x, c, cc);
    if (r->source == NULL)
        loop_log(LOOP_LOG_ERROR, "resolver: cluster %s: %s cannot be started", cc->name, cc->target);
    r->next = rs->head;
    rs->head = r;
}

void resolvers_add(struct resolvers *rs, const struct config *c)
{
    for (unsigned i = 0; i < c->cluster_count; i++) {
        struct membership_cluster *cluster = membership_find(rs->context.membership, c->clusters[i].name);
        if (cluster != NULL && find(rs, cluster->id) == NULL)
            start(rs, c, &c->clusters[i], cluster);
    }
}

void resolvers_configure(struct resolvers *rs, const struct config *c)
{
    for (struct resolver *r = rs->head; r != NULL; r = r->next)
        r->wanted = false;
    for (unsigned i = 0; i < c->cluster_count; i++) {
        const struct membership_cluster *cluster = membership_find(rs->context.membership, c->clusters[i].name);
        struct resolver *r = cluster != NULL ? find(rs, cluster->id) : NULL;
        char *identity = r != NULL ? identity_of(c, &c->clusters[i]) : NULL;
        if (identity != NULL && strcmp(identity, r->identity) == 0)
            r->wanted = true;
        free(identity);
    }
    sweep(rs);
    resolvers_add(rs, c);
}

void resolvers_destroy(struct resolvers *rs)
{
    if (rs == NULL)
        return;
    for (struct resolver *r = rs->head; r != NULL; r = r->next)
        r->wanted = false;
    sweep(rs);
    free(rs);
}

uint64_t resolvers_stale_ns(const struct resolvers *rs, const struct membership_cluster *c, uint64_t now)
{
    const struct resolver *r = find(rs, c->id);
    if (r != NULL && r->source != NULL)
        return r->kind->stale_ns(r->source, now);
    return now > c->fresh_ns ? now - c->fresh_ns : 0;
}
