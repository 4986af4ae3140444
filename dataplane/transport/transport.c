#include "transport.h"

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
