/* Requests that go to an endpoint once more.
 *
 * Without anybody's leave where the backend cannot have looked at it (gRFC A6, "Transparent Retries"; RFC 9113 section 8.7): nothing of it was on the wire, its
 * stream is above the last id of a GOAWAY, or it was reset with REFUSED_STREAM.
 *
 * By the policy (gRFC A6, "Retry Policy") where it may have been looked at: an attempt that failed before response headers, with a status that the policy names, while
 * attempts, the throttle and the budget last.  Throttle and budget are a worker's own, as those of several clients are. */
#include "internal.h"

#include "base/backoff.h"

/* How often, an RPC. A backend that refuses is asked once: more would be load for those that are short of room already. */
static const uint8_t retold_max[3] = {[STATS_RETRY_UNSENT] = 16, [STATS_RETRY_GOAWAY] = 4, [STATS_RETRY_REFUSED] = 1};

static void remember(struct proxy_replay *r, uint32_t slot)
{
    uint32_t i = 0;
    while (i < r->tried_count && r->tried[i] != slot)
        i++;
    if (i == REPLAY_TRIED)
        i--;
    else if (i == r->tried_count)
        r->tried_count++;
    for (; i > 0; i--)
        r->tried[i] = r->tried[i - 1];
    r->tried[0] = (uint16_t)slot;
}

static void leave(struct proxy *p, struct proxy_rpc *rpc, uint64_t now)
{
    if (rpc->slot != UINT32_MAX)
        remember(rpc->replay, rpc->slot);
    if (rpc->up == NULL)
        return;
    replay_unsent(rpc);
    rpc_drop_up(p, rpc, HTTP2_CANCEL, PICKER_FAILED, now);
}

bool proxy_retell(struct proxy *p, struct proxy_rpc *rpc, enum stats_retry kind, uint64_t now)
{
    struct proxy_replay *r = rpc->replay;
    if (r == NULL || rpc->headers_sent || r->retold[kind] >= retold_max[kind])
        return false;
    r->retold[kind]++;
    stats_add(&p->stats->clusters[rpc->cluster].retries[kind], 1);
    leave(p, rpc, now);
    proxy_again(p, rpc);
    return true;
}

/* A backend that dies takes all that was in flight to it with it, at once: the busier the cluster, the more may be saved up for that. */
static void budget_earn(struct proxy_budget *b, uint64_t now)
{
    if (now - b->window_ns >= BUDGET_WINDOW_NS) {
        b->before = now - b->window_ns < 2 * BUDGET_WINDOW_NS ? b->begun : 0;
        b->begun = 0;
        b->window_ns = now;
    }
    b->begun += b->begun < UINT32_MAX;
    uint64_t rpcs = b->begun > b->before ? b->begun : b->before;
    uint64_t most = rpcs * BUDGET_SHARE + BUDGET_SAVED;
    most = most < UINT32_MAX ? most : UINT32_MAX;
    uint64_t have = b->credit + BUDGET_SHARE + (now - b->credited_ns) / 1000 * BUDGET_PER_SECOND / 1000000;
    b->credited_ns = now;
    b->credit = (uint32_t)(have < most ? have : most);
}

void proxy_policy(struct proxy *p, struct proxy_rpc *rpc, const struct snapshot_cluster *c, const struct snapshot_method *m, uint64_t now)
{
    struct proxy_budget *b = &p->budget[rpc->cluster];
    if (b->credited_ns == 0 || b->max != c->throttle_max || b->ratio != c->throttle_ratio)
        *b = (struct proxy_budget){.tokens = c->throttle_max, .max = c->throttle_max, .ratio = c->throttle_ratio, .credit = BUDGET_SAVED, .credited_ns = now, .window_ns = now};
    budget_earn(b, now);
    if (rpc->replay != NULL && m != NULL)
        rpc->replay->policy = m->retry;
}

void proxy_succeeded(struct proxy *p, uint32_t cluster)
{
    struct proxy_budget *b = &p->budget[cluster];
    b->tokens = b->max - b->tokens < b->ratio ? b->max : b->tokens + b->ratio;
}

/* ASCII, a signed 32-bit integer.  False: not to be tried again: negative, or unreadable. */
static bool pushback_read(const struct base_header *h, uint64_t *ns)
{
    uint64_t ms = 0;
    if (h->value_len == 0 || h->value_len > 10)
        return false;
    for (uint32_t i = 0; i < h->value_len; i++) {
        if (h->value[i] < '0' || h->value[i] > '9')
            return false;
        ms = ms * 10 + (uint64_t)(h->value[i] - '0');
    }
    *ns = ms * 1000000;
    return ms <= INT32_MAX;
}

static uint64_t backoff(struct proxy *p, const struct proxy_replay *r)
{
    uint64_t draw = base_mix64(++p->draws * 0x9e3779b97f4a7c15ull ^ (uint64_t)(uintptr_t)r);
    return base_backoff(r->policy.initial_ns, r->policy.max_ns, r->policy.factor_x1024, r->backoffs, draw);
}

bool proxy_retry(struct proxy *p, struct proxy_rpc *rpc, enum grpc_code code, const struct base_header *pushback, uint64_t now)
{
    struct proxy_replay *r = rpc->replay;
    if (r == NULL || rpc->headers_sent || r->policy.attempts == 0)
        return false;
    struct proxy_budget *b = &p->budget[rpc->cluster];
    uint64_t *counts = p->stats->clusters[rpc->cluster].retries, wait = 0;
    bool named = r->policy.codes >> code & 1, stop = pushback != NULL && !pushback_read(pushback, &wait);
    if (b->max > 0 && (named || stop))
        b->tokens = b->tokens > 1000 ? b->tokens - 1000 : 0;
    if (!named || stop || r->attempts + 1u >= r->policy.attempts)
        return false;
    if (b->max > 0 && b->tokens <= b->max / 2) {
        stats_add(&counts[STATS_RETRY_THROTTLED], 1);
        return false;
    }
    if (b->credit < 1000) {
        stats_add(&counts[STATS_RETRY_BUDGET], 1);
        return false;
    }
    b->credit -= 1000;
    if (pushback == NULL)
        wait = backoff(p, r);
    r->backoffs = pushback == NULL ? (uint8_t)(r->backoffs + 1) : 0;
    r->attempts++;
    stats_add(&counts[STATS_RETRY_POLICY], 1);
    leave(p, rpc, now);
    r->patience_ns = 0;
    memset(r->retold, 0, sizeof(r->retold));
    rpc->phase = RPC_BACKS_OFF;
    proxy_arm(p, rpc, now + wait);
    return true;
}
