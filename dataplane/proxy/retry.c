/* Requests that go to an endpoint once more.
 *
 * Without anybody's leave where the backend cannot have looked at it (gRFC A6, "Transparent Retries"; RFC 9113 section 8.7): nothing of it was on the wire, its
 * stream is above the last id of a GOAWAY, or it was reset with REFUSED_STREAM. */
#include "internal.h"

/* How often, an RPC. A backend that refuses is asked once: more would be load for those that are short of room already. */
static const uint8_t retold_max[3] = {[STATS_RETRY_UNSENT] = 16, [STATS_RETRY_GOAWAY] = 4, [STATS_RETRY_REFUSED] = 1};

bool proxy_retell(struct proxy *p, struct proxy_rpc *rpc, enum stats_retry kind, uint64_t now)
{
    struct proxy_replay *r = rpc->replay;
    if (r == NULL || rpc->headers_sent || r->retold[kind] >= retold_max[kind])
        return false;
    r->retold[kind]++;
    r->avoid = rpc->slot;
    stats_add(&p->stats->clusters[rpc->cluster].retries[kind], 1);
    replay_unsent(rpc);
    rpc_drop_up(p, rpc, HTTP2_CANCEL, PICKER_FAILED, now);
    proxy_again(p, rpc);
    return true;
}
