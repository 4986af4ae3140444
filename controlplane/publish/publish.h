/* publish: membership + configuration -> the next snapshot: build, swap, wait for the grace period, free.  The door's only writer.
 *
 * Owns:   snapshots, pages, the two versions at most that wait to be reclaimed.
 * Uses:   base, stats, config, membership, policy, snapshot, mailbox.
 * Thread: the control plane's.
 * Time:   `now`, an argument.
 * Memory: the heap.  Cost follows the change: pages and clusters that did not change are shared between versions.
 * Errors: none; when two versions wait already, changes coalesce until one is free. */
#ifndef PUBLISH_H
#define PUBLISH_H

#include "config/config.h"
#include "mailbox/mailbox.h"
#include "membership/membership.h"
#include "policy/policy.h"
#include "snapshot/snapshot.h"

struct publish;

struct publish *publish_create(struct snapshot_door *door, struct membership *m, struct mailbox **mailboxes, uint32_t workers);
void publish_destroy(struct publish *p);

/* The configuration in force; everything is rebuilt on the next publish_turn().  It must live until the next call.
 * A listener that it does not have any more keeps its routes, for clients that have not finished. */
void publish_config(struct publish *p, const struct config *c);
/* The same, while one configuration follows another: clusters that only `also` (NULL: none) has are published too, as it says. */
void publish_config_change(struct publish *p, const struct config *c, const struct config *also);
/* Of a listener's id, for life; NULL: not used yet. */
const char *publish_listener_name(const struct publish *p, uint32_t id);
/* The generation that holds every change made so far, published or about to be; and the one that every worker has in force. */
uint64_t publish_promised(const struct publish *p);
uint64_t publish_applied(const struct publish *p);
/* What a cluster takes in connections. */
struct policy_budget publish_budget(const struct publish *p, uint16_t cluster);
/* Nothing waits to be published, and every worker has what is. */
bool publish_current(const struct publish *p);
void publish_drain(struct publish *p); /* snapshot.draining */
/* Once a turn of the control loop, and soon after a change: reads the workers' reports into membership, sends orders (repeated until
 * acknowledged), builds and swaps a version if something changed, frees what can be freed.  Returns the generation in force. */
uint64_t publish_turn(struct publish *p, uint64_t now);
uint64_t publish_generation(const struct publish *p);
/* Every worker has taken up the version in force. */
bool publish_settled(const struct publish *p);
/* Every worker has reported that its last client connection ended, since publish_drain(). */
bool publish_drained(const struct publish *p);
/* A worker that has not turned for more than a second, or -1. */
int publish_laggard(const struct publish *p, uint64_t now);

#endif
