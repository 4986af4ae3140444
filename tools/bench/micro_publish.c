/* What it costs to bring one changed weight to the workers. */
#include "micro.h"

#include "picker/picker.h"
#include "publish/publish.h"

#include <stdio.h>
#include <stdlib.h>

struct planes {
    struct config config;
    struct config_cluster cluster;
    struct snapshot_door *door;
    struct mailbox *mailbox;
    struct membership *membership;
    struct publish *publish;
    struct picker *picker;
    struct membership_entry *entries;
    uint32_t count;
    uint64_t now;
    double apply_ns;
};

static void configure(struct planes *p)
{
    p->cluster = (struct config_cluster){.name = (char *)(uintptr_t)"bench", .target = (char *)(uintptr_t)"static:///",
                                         .policy = CONFIG_WEIGHTED_ROUND_ROBIN, .connections_per_endpoint = 1, .backoff_factor = 1.6};
    p->config.clusters = &p->cluster;
    p->config.cluster_count = 1;
    p->config.ports[0] = (struct config_port){.name = (char *)(uintptr_t)"front", .mtu = 1500};
    p->config.port_count = 1;
    for (uint32_t i = 0; i < p->count; i++) {
        base_endpoint_parse("198.18.0.0:50051", &p->entries[i].address);
        uint8_t *b = p->entries[i].address.addr.b;
        b[14] = (uint8_t)(i >> 8), b[15] = (uint8_t)i;
        p->entries[i].weight = 1;
    }
}

/* The worker's half: takes the version up and says so. */
static void apply(struct planes *p)
{
    const struct snapshot *s = snapshot_get(p->door);
    double began = micro_now_ns();
    picker_apply(p->picker, s);
    p->apply_ns = micro_now_ns() - began;
    struct mailbox_message told = {.kind = MAILBOX_SNAPSHOT_APPLIED, .a = s->generation};
    mailbox_report(p->mailbox, &told);
    snapshot_quiescent(p->door, 0);
}

static double change(struct planes *p)
{
    struct membership_cluster *c = membership_find(p->membership, "bench");
    p->now += 1000000;
    double began = micro_now_ns();
    membership_set(p->membership, c, p->entries, p->count, 1, p->now);
    publish_turn(p->publish, p->now);
    double ns = micro_now_ns() - began;
    apply(p);
    publish_turn(p->publish, p->now += 1000000); /* frees the version before */
    return ns;
}

static void create(struct planes *p, void *memory, size_t n)
{
    struct base_arena a;
    base_arena_init(&a, memory, n);
    p->picker = picker_create(&a, SNAPSHOT_CLUSTERS_MAX, SNAPSHOT_SLOTS_MAX, 1);
    p->entries = calloc(p->count, sizeof(*p->entries));
    configure(p);
    p->now = 1000000000;
    p->door = snapshot_door_create(1);
    p->mailbox = mailbox_create(0, -1);
    snapshot_worker_online(p->door, 0);
    p->membership = membership_create(1);
    membership_configure(p->membership, &p->config, p->now);
    p->publish = publish_create(p->door, p->membership, &p->mailbox, 1);
    publish_config(p->publish, &p->config);
}

static void destroy(struct planes *p)
{
    snapshot_worker_offline(p->door, 0);
    publish_destroy(p->publish);
    membership_destroy(p->membership);
    mailbox_destroy(p->mailbox);
    snapshot_door_destroy(p->door);
    free(p->entries);
}

double micro_publish(uint32_t endpoints, double *apply_us)
{
    enum { ROUNDS = 101 };
    static double ns[ROUNDS], applied[ROUNDS];
    struct planes p = {.count = endpoints};
    size_t n = picker_footprint(SNAPSHOT_CLUSTERS_MAX, SNAPSHOT_SLOTS_MAX);
    void *memory = aligned_alloc(BASE_CACHE_LINE, base_align(n));
    if (memory == NULL)
        abort();
    memset(memory, 0, base_align(n));
    create(&p, memory, n);
    change(&p);
    for (uint32_t i = 0; i < endpoints; i++)
        picker_ready(p.picker, i, true);
    for (uint32_t r = 0; r < ROUNDS; r++) {
        p.entries[(r * 7919u) % endpoints].weight += 1;
        uint64_t before = publish_generation(p.publish);
        ns[r] = change(&p);
        applied[r] = p.apply_ns;
        if (publish_generation(p.publish) != before + 1)
            abort();
    }
    destroy(&p);
    free(memory);
    *apply_us = micro_median(applied, ROUNDS) / 1e3;
    return micro_median(ns, ROUNDS) / 1e6;
}
