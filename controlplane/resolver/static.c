/* static:///IP:PORT,...: the configuration is the set. */
#include "internal.h"

#include <stdlib.h>

static void *static_start(const struct resolver_context *x, const struct config *c, const struct config_cluster *cluster)
{
    (void)c;
    unsigned n = cluster->target_static_count;
    struct membership_entry *entries = calloc(n + 1, sizeof(*entries));
    struct resolver_context *copy = malloc(sizeof(*copy));
    if (entries == NULL || copy == NULL) {
        free(entries);
        free(copy);
        return NULL;
    }
    *copy = *x;
    for (unsigned i = 0; i < n; i++)
        entries[i] = (struct membership_entry){cluster->target_static[i], 1, false};
    membership_set(x->membership, x->cluster, entries, n, 0, loop_now(x->loop));
    free(entries);
    return copy;
}

static void static_stop(void *source)
{
    free(source);
}

static uint64_t static_stale_ns(const void *source, uint64_t now)
{
    (void)source;
    (void)now;
    return 0;
}

const struct resolver_kind resolver_kind_static = {static_start, static_stop, static_stale_ns};
