#include "transport.h"

struct transport transport_connect(struct tcp *t, const struct base_flow *flow, uint64_t now)
{
    struct tcp_conn *c = tcp_connect(t, flow, 0, now);
    return c != NULL ? transport_of_tcp(c) : (struct transport){.kind = TRANSPORT_NONE};
}

bool transport_acked(const struct transport *t, uint64_t *octets)
{
    struct tcp_info i;
    tcp_conn_info(t->tcp, &i);
    *octets = i.bytes_out;
    return i.in_flight + i.unsent > 0;
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
