/* Access records: one for each RPC that is sampled, begun with its request and sent up when its outcome is known.  Off, an RPC pays two branches. */
#include "internal.h"

static uint8_t keep(char *to, size_t room, const struct base_header *h)
{
    size_t n = h == NULL ? 0 : h->value_len < room ? h->value_len : room;
    if (n > 0)
        memcpy(to, h->value, n);
    return (uint8_t)n;
}

void proxy_access_begin(struct proxy *p, struct proxy_rpc *rpc, const struct base_headers *h)
{
    const struct session_stream *down = rpc->down;
    struct mailbox_access *a = base_slab_alloc(&p->access);
    rpc->access = a;
    if (a == NULL) {
        stats_drop(p->stats, STATS_DROP_ACCESS_FULL);
        return;
    }
    const struct base_flow *flow = session_flow(down->session);
    *a = (struct mailbox_access){.client = {flow->remote, flow->remote_port}, .listener = rpc->listener};
    a->stream_down = down->h2 != NULL ? down->h2->id : 0;
    a->method_len = keep(a->method, sizeof(a->method), base_headers_find(h, BASE_HEADER_PATH));
    a->trace_len = keep(a->trace, sizeof(a->trace), base_headers_find(h, BASE_HEADER_TRACEPARENT));
}

void proxy_access_end(struct proxy *p, struct proxy_rpc *rpc, enum grpc_code code, uint64_t now)
{
    struct mailbox_access *a = rpc->access;
    rpc->access = NULL;
    a->duration_ns = now - rpc->started_ns;
    a->bytes_down = rpc->bytes;
    a->code = (uint8_t)code;
    a->grpc = rpc->grpc;
    a->cluster = rpc->routed ? rpc->cluster : UINT16_MAX;
    a->slot = rpc->slot;
    a->serial = rpc->serial;
    a->stream_up = rpc->up != NULL && rpc->up->h2 != NULL ? rpc->up->h2->id : 0;
    if (!mailbox_access(p->mailbox, a))
        stats_drop(p->stats, STATS_DROP_ACCESS_FULL);
    base_slab_free(&p->access, a);
}
