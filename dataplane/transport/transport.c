#include "transport.h"

struct transport transport_connect(struct tcp *t, const struct base_flow *flow, uint64_t now)
{
    struct tcp_conn *c = tcp_connect(t, flow, 0, now);
    return c != NULL ? transport_of_tcp(c) : (struct transport){.kind = TRANSPORT_NONE};
}

uint64_t transport_kept(const struct transport *t, uint64_t *acked)
{
    struct tcp_info i;
    tcp_conn_info(t->tcp, &i);
    *acked = i.bytes_out;
    return (uint64_t)i.in_flight + i.unsent;
}

uint64_t transport_rtt(const struct transport *t, uint64_t *unsent)
{
    struct tcp_info i;
    tcp_conn_info(t->tcp, &i);
    *unsent = i.unsent;
    return i.srtt_ns;
}

void transport_close(struct transport *t, uint64_t now)
{
    if (t->kind == TRANSPORT_TCP)
        tcp_close(t->tcp, now);
    t->kind = TRANSPORT_NONE;
    t->tcp = NULL;
}

void transport_abort(struct transport *t, uint64_t now)
{
    if (t->kind == TRANSPORT_TCP)
        tcp_abort(t->tcp, now);
    t->kind = TRANSPORT_NONE;
    t->tcp = NULL;
}
