/* router: (authority, path) -> route, and so the cluster.
 *
 * Owns:   nothing.  A pure function of a listener in a snapshot and of the request.
 * Uses:   base, snapshot.
 * Thread: any; admin's `explain` asks the same question with the same answer.
 * Time:   none.
 * Memory: none.  The route that is returned lives as long as the snapshot: no longer than this turn of the loop.
 * Errors: NULL: no route matches.
 *
 * The authority is compared without regard to case (RFC 3986 section 3.2.2), its port is ignored; the path byte for byte.  The first
 * route that matches wins. */
#ifndef ROUTER_H
#define ROUTER_H

#include "base/base.h"
#include "snapshot/snapshot.h"

/* What a route may ask about. Pointers may be NULL where the length is 0.  What later routes match on joins here, so that those who
 * fill it in by name need not change. */
struct router_request {
    const uint8_t *authority; /* as received, port and all */
    const uint8_t *path;
    uint32_t authority_len, path_len;
};

const struct snapshot_route *router_match(const struct snapshot_listener *l, const struct router_request *request);

#endif
