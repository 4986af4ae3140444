/* What the files of pool share. */
#ifndef POOL_INTERNAL_H
#define POOL_INTERNAL_H

#include "pool.h"

struct pool_slot {
    /* -- every pick ------------------------------------------------------------------------- */
    uint32_t ready;    /* bit i: place i has a session whose SETTINGS have come */
    uint32_t draining; /* GOAWAY seen, or not wanted any more: takes no new streams */
    uint32_t spent;    /* serves until another is READY: nearly out of stream numbers */
    uint32_t taken;    /* has a session at all */
    uint32_t serial;   /* 0: this worker holds nothing here */
    uint32_t streams;
    struct session *session[POOL_CONNECTIONS_MAX];
    /* -- connections come and go -------------------------------------------------------------- */
    uint32_t slot;
    uint32_t flags; /* snapshot_endpoint.flags, without SNAPSHOT_PRESENT where it is another worker's */
    uint16_t cluster;
    uint8_t state;        /* enum mailbox_state */
    uint8_t kept_count;   /* connections that should exist: connections_per_endpoint */
    uint8_t wanted_count; /* now: more than kept_count while its streams need them */
    uint8_t most_count;   /* at most: max_connections_per_endpoint */
    bool resting;         /* the timer is armed for a look at connections that may be too many */
    bool known;           /* the snapshot has the endpoint, whoever connects to it */
    bool gone_reported;
    bool replacing;       /* told to go while READY; the replacement has not failed: counted in pool.replacing[cluster] */
    uint32_t tries;       /* failures in a row */
    uint8_t calm;         /* times that the endpoint has complained of PINGs */
    struct session_life life; /* of its sessions */
    struct base_endpoint address;
    uint64_t connect_timeout_ns, backoff_base_ns, backoff_max_ns;
    uint32_t backoff_factor_x1024;
    struct base_timer timer;  /* back-off, or connect timeout */
    struct base_list wanted;  /* in pool.wanted */
    struct base_list report;  /* in pool.reports */
    struct base_list idle;    /* in pool.idle: a session of this slot may be closed */
    struct base_list sparing; /* in pool.sparing: another worker's from now on, and the last that is READY here */
};

struct pool {
    struct pool_slot *slots;
    uint32_t slot_count;
    uint32_t worker;
    struct sessions *sessions;
    struct picker *picker;
    struct mailbox *mailbox;
    struct stats *stats;
    struct base_hash_key key;
    uint64_t draws;
    uint64_t generation;
    uint64_t page_version[SNAPSHOT_PAGES_MAX];
    uint16_t replacing[SNAPSHOT_CLUSTERS_MAX];
    struct base_list wanted, reports, idle, sparing;
    struct base_wheel wheel;
};

/* pool.c */
void pool_queue(struct base_list *head, struct base_list *link); /* harmless where it is queued already */
void pool_state_set(struct pool *p, struct pool_slot *e, enum mailbox_state state);
void pool_replacing_set(struct pool *p, struct pool_slot *e, bool replacing);
/* Places that hold a session which may get streams, one day or now. */
static inline unsigned pool_serving(const struct pool_slot *e)
{
    return (unsigned)__builtin_popcount(e->taken & ~e->draining & ~e->spent);
}
/* What this slot lacks is asked for now. */
void pool_want(struct pool *p, struct pool_slot *e);
/* The same, unless a back-off or a try runs: its end will ask. */
void pool_want_quietly(struct pool *p, struct pool_slot *e);

/* apply.c */
/* Its sessions live by e->life from now on. */
void pool_live(struct pool_slot *e, uint64_t now);
/* Those that were kept for want of another leave when there is one. */
void pool_spare(struct pool *p);

#endif
