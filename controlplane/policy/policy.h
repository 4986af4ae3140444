/* policy: what the configuration asks for, in the words of the snapshot.
 *
 * Owns:   nothing: pure functions.
 * Uses:   config, membership.
 * Thread: the control plane's.
 * Time, memory: none.
 * Errors: none; the configuration was checked. */
#ifndef POLICY_H
#define POLICY_H

#include "config/config.h"
#include "membership/membership.h"

/* The picker's algorithm. */
enum snapshot_policy policy_picker(const struct config_cluster *c);
/* Weight and flags of an endpoint as workers see it: round_robin knows no weights, but 0 still drains.  An
 * endpoint that leaves has neither flag. */
void policy_endpoint(const struct config_cluster *c, const struct membership_endpoint *e, struct snapshot_endpoint *out);

#endif
