/* The picker's door: which endpoints may be picked, and the memory of their sets.  How one is chosen stands in a file a policy. */
#include "set.h"

/* At most this many words a cluster above one a slot. */
#define SLACK (SET_PAD + 4)

static uint32_t words_needed(uint32_t endpoints)
{
    return endpoints == 0 ? 0 : (endpoints + SET_PAD + 3) & ~3u; /* a multiple of 32 bytes */
}

/* Twice what tight regions need: after a copy half is free, so that copies are rare. */
static uint32_t words_total(uint32_t clusters, uint32_t slots)
{
    return 2 * (slots + SLACK * clusters);
}

size_t picker_footprint(uint32_t clusters, uint32_t slots)
{
    return base_align(sizeof(struct picker)) + base_align(sizeof(struct picker_cluster) * clusters) +
           base_align(sizeof(struct picker_slot) * slots) + 2 * base_align(sizeof(uint64_t) * words_total(clusters, slots));
}

struct picker *picker_create(struct base_arena *arena, uint32_t clusters, uint32_t slots, uint64_t seed)
{
    assert(clusters <= SNAPSHOT_CLUSTERS_MAX && slots <= SNAPSHOT_SLOTS_MAX);
    struct picker *p = base_arena_take(arena, sizeof(*p));
    p->cluster = base_arena_take(arena, sizeof(*p->cluster) * clusters);
    p->slot = base_arena_take(arena, sizeof(*p->slot) * slots);
    p->size = words_total(clusters, slots);
    p->words = base_arena_take(arena, sizeof(uint64_t) * p->size);
    p->twin = base_arena_take(arena, sizeof(uint64_t) * p->size);
    p->clusters = clusters;
    p->slots = slots;
    p->random = base_mix64(seed ^ 0x9e3779b97f4a7c15ull) | 1;
    for (uint32_t i = 0; i < clusters; i++)
        p->cluster[i].phase = picker_random(p);
    return p;
}

static void move_region(struct picker *p, struct picker_cluster *c, uint32_t capacity)
{
    uint64_t *to = p->words + p->used + SET_PAD;
    if (c->count > 0)
        memcpy(to, c->entry, sizeof(uint64_t) * c->count);
    c->entry = to;
    c->capacity = capacity;
    p->used += capacity;
    assert(p->used <= p->size);
}

/* Room for so many endpoints, and no more: what regions hold adds up to half of the array. */
static void reserve(struct picker *p, struct picker_cluster *c, uint32_t endpoints)
{
    uint32_t need = words_needed(endpoints);
    if (need <= c->capacity) {
        c->capacity = need; /* the rest is got back with the next copy */
        return;
    }
    if (need <= p->size - p->used) {
        move_region(p, c, need);
        return;
    }
    uint64_t *words = p->words;
    p->words = p->twin;
    p->twin = words;
    p->used = 0;
    c->capacity = need;
    for (uint32_t i = 0; i < p->clusters; i++)
        if (p->cluster[i].capacity > 0)
            move_region(p, &p->cluster[i], p->cluster[i].capacity);
}

static void join(struct picker *p, uint32_t slot)
{
    struct picker_cluster *c = &p->cluster[p->slot[slot].cluster];
    p->slot[slot].live = true;
    c->ready++;
    if (c->policy == SNAPSHOT_WEIGHTED_ROUND_ROBIN)
        picker_wrr_join(p, c, slot);
    else
        picker_rr_join(p, c, slot);
}

static void leave(struct picker *p, uint32_t slot)
{
    struct picker_cluster *c = &p->cluster[p->slot[slot].cluster];
    p->slot[slot].live = false;
    c->ready--;
    if (c->policy == SNAPSHOT_WEIGHTED_ROUND_ROBIN)
        picker_wrr_leave(p, c, slot);
    else
        picker_rr_leave(p, c, slot);
}

static void sweep(struct picker *p, struct picker_cluster *c)
{
    if (c->policy == SNAPSHOT_WEIGHTED_ROUND_ROBIN)
        picker_wrr_sweep(p, c);
    else
        picker_rr_sweep(p, c);
}

/* But for being full. */
static bool serves(const struct picker *p, const struct picker_slot *s)
{
    return s->ready && s->weight_next > 0 && s->stamp != 0 && s->stamp == p->cluster[s->cluster].stamp;
}

static bool wanted(const struct picker *p, const struct picker_slot *s)
{
    return serves(p, s) && !s->full;
}

static void settle(struct picker *p, uint32_t slot)
{
    struct picker_slot *s = &p->slot[slot];
    bool want = wanted(p, s);
    if (want && !s->live)
        join(p, slot);
    else if (!want && s->live)
        leave(p, slot);
}

/* A slot that another cluster has let go; its entry there must not outlive that. */
static void evict(struct picker *p, uint32_t slot)
{
    struct picker_slot *s = &p->slot[slot];
    if (s->live)
        leave(p, slot);
    if (s->member)
        sweep(p, &p->cluster[s->cluster]);
}

/* What the version says about one endpoint.  Its entry follows in refresh(). */
static void take_up(struct picker *p, uint16_t cluster, uint32_t slot, const struct snapshot_endpoint *e)
{
    struct picker_slot *s = &p->slot[slot];
    if (s->cluster != cluster)
        evict(p, slot);
    if (s->serial != e->serial) {
        s->serial = e->serial;
        s->ready = s->full = false;
        s->active = 0;
    }
    s->cluster = cluster;
    s->stamp = p->cluster[cluster].stamp;
    bool there = (e->flags & SNAPSHOT_PRESENT) && !(e->flags & SNAPSHOT_DRAIN);
    s->weight_next = (uint16_t)(!there ? 0 : e->weight > SET_WEIGHT_MAX ? SET_WEIGHT_MAX : e->weight);
}

/* Every entry is dropped; those still wanted join again. */
static void change_policy(struct picker *p, struct picker_cluster *c, uint8_t policy)
{
    for (uint32_t i = 0; i < c->count; i++) {
        struct picker_slot *s = &p->slot[c->entry[i] & SET_SLOT_MASK];
        s->live = s->member = false;
    }
    c->count = c->cursor = c->ready = 0;
    c->policy = policy;
}

/* Drops what is no longer wanted, all at once. */
static void refresh(struct picker *p, struct picker_cluster *c)
{
    c->ready = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        struct picker_slot *s = &p->slot[c->entry[i] & SET_SLOT_MASK];
        s->live = wanted(p, s);
        c->ready += s->live;
    }
    sweep(p, c);
}

static void apply_cluster(struct picker *p, uint16_t id, const struct snapshot_cluster *sc, const struct snapshot *s)
{
    struct picker_cluster *c = &p->cluster[id];
    c->present = sc != NULL;
    c->version = sc != NULL ? sc->version : 0;
    c->stamp = ++p->stamp;
    uint32_t count = sc != NULL ? sc->slot_count : 0;
    for (uint32_t i = 0; i < count; i++)
        take_up(p, id, sc->slots[i], snapshot_endpoint(s, sc->slots[i]));
    refresh(p, c);
    if (count == 0) {
        c->capacity = 0;
        return;
    }
    if (c->policy != sc->policy)
        change_policy(p, c, sc->policy);
    reserve(p, c, count);
    for (uint32_t i = 0; i < count; i++)
        settle(p, sc->slots[i]);
}

void picker_apply(struct picker *p, const struct snapshot *s)
{
    for (uint32_t id = 0; id < p->clusters; id++) {
        const struct snapshot_cluster *sc = id < s->cluster_count ? s->cluster[id] : NULL;
        if (sc != NULL && !sc->present)
            sc = NULL;
        const struct picker_cluster *c = &p->cluster[id];
        if (c->present != (sc != NULL) || (sc != NULL && c->version != sc->version))
            apply_cluster(p, (uint16_t)id, sc, s);
    }
}

void picker_ready(struct picker *p, uint32_t slot, bool ready)
{
    assert(slot < p->slots);
    p->slot[slot].ready = ready;
    settle(p, slot);
}

void picker_full(struct picker *p, uint32_t slot, bool full)
{
    assert(slot < p->slots);
    p->slot[slot].full = full;
    settle(p, slot);
}

bool picker_kept_out(const struct picker *p, uint32_t slot)
{
    return p->slot[slot].full && serves(p, &p->slot[slot]);
}

bool picker_pick(struct picker *p, uint32_t cluster, uint32_t *slot)
{
    assert(cluster < p->clusters);
    struct picker_cluster *c = &p->cluster[cluster];
    if (c->ready == 0)
        return false;
    *slot = c->policy == SNAPSHOT_WEIGHTED_ROUND_ROBIN ? picker_wrr_pick(p, c) : picker_rr_pick(p, c);
    p->slot[*slot].active++;
    return true;
}

bool picker_pick_other(struct picker *p, uint32_t cluster, const uint16_t *avoid, uint32_t n, uint32_t *slot)
{
    assert(cluster < p->clusters && n <= PICKER_AVOID_MAX);
    struct picker_cluster *c = &p->cluster[cluster];
    bool found = c->ready > 0 && (c->policy == SNAPSHOT_WEIGHTED_ROUND_ROBIN ? picker_wrr_pick_other(p, c, avoid, n, slot) : picker_rr_pick_other(p, c, avoid, n, slot));
    if (found)
        p->slot[*slot].active++;
    return found;
}

void picker_done(struct picker *p, uint32_t slot, enum picker_outcome outcome, uint64_t bytes, uint64_t latency_ns)
{
    /* Neither policy of today learns from what became of an RPC. */
    (void)outcome, (void)bytes, (void)latency_ns;
    assert(slot < p->slots);
    if (p->slot[slot].active > 0)
        p->slot[slot].active--;
}

uint32_t picker_ready_count(const struct picker *p, uint32_t cluster)
{
    return p->cluster[cluster].ready;
}

uint32_t picker_active(const struct picker *p, uint32_t slot)
{
    return p->slot[slot].active;
}

void picker_check(const struct picker *p)
{
    uint32_t members = 0;
    for (uint32_t id = 0; id < p->clusters; id++) {
        const struct picker_cluster *c = &p->cluster[id];
        uint32_t live = 0;
        assert(c->count == 0 || c->count + SET_PAD <= c->capacity);
        for (uint32_t i = 0; i < c->count; i++) {
            uint32_t slot = (uint32_t)c->entry[i] & SET_SLOT_MASK;
            const struct picker_slot *s = &p->slot[slot];
            assert(s->member && s->cluster == id);
            if (c->policy == SNAPSHOT_ROUND_ROBIN)
                assert(s->live && s->position == i && c->entry[i] == slot);
            else {
                assert(i == 0 || (int64_t)(c->entry[i] - c->entry[(i - 1) / 4]) >= 0);
                uint64_t units = (c->entry[i] >> SET_SLOT_BITS) - (c->now >> SET_SLOT_BITS);
                assert(!s->live || (units << SET_SLOT_BITS) >> SET_SLOT_BITS <= (uint64_t)s->stride + 1);
                (void)units;
            }
            live += s->live;
        }
        assert(live == c->ready && c->cursor <= c->count);
        members += c->count;
        (void)live;
    }
    for (uint32_t slot = 0; slot < p->slots; slot++) {
        const struct picker_slot *s = &p->slot[slot];
        assert(!s->live || s->member);
        assert(s->live == wanted(p, s));
        members -= s->member;
    }
    assert(members == 0);
    (void)members;
}
