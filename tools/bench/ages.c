/* Connections that end while calls flow.
 *
 * Clients: the gateway's GOAWAY takes a connection out of use at once and another one is made; what it leaves out, and what is refused, is sent once more, as gRPC's
 * clients do.  Half of the clients hang up when their last call has ended, the others wait for the gateway's end.
 *
 * Backends: connections grow too old (the two-step GOAWAY of session/life.c), and one backend after another restarts: it listens no more, says GOAWAY on all its
 * connections, ends when their calls have, and comes back.
 *
 * Rude backends, besides: a call in 64 is refused once; a connection says a single GOAWAY that leaves out whatever is under way; or it reads nothing for a while and says
 * that then.  None of it may lose a call: nobody has looked at those.
 *
 *   all up --- due ---> going: unlisten, GOAWAY --- no connection left ---> down --- 0.1 to 0.4 s ---> back: listen --- accepted, and 0.2 s ---> all up */
#include "bench.h"

#include <stdlib.h>

#define LOOK_NS    1000000ull
#define GRACE_NS   20000000000ull
#define SETTLE_NS  200000000ull
#define RUDE_NS    200000000ull /* between two acts */
#define STALL_NS   400000000ull

static uint64_t draw(struct ages *a, uint64_t most)
{
    return base_mix64(++a->draws * 0x9e3779b97f4a7c15ull) % most;
}

void ages_create(struct peer *p, uint64_t now)
{
    const struct options *o = &p->options;
    struct ages *a = &p->ages;
    a->life = (struct session_life){.age_ns = o->age_ns, .grace_ns = GRACE_NS};
    a->accepted = calloc(o->endpoints, sizeof(*a->accepted));
    if (a->accepted == NULL)
        abort();
    base_list_init(&a->again);
    base_wheel_init(&a->wheel, now);
    a->draws = now;
    a->victim = UINT32_MAX;
}

/* ---- clients ---- */

static bool current(const struct peer *p, const struct session *s)
{
    return p->clients[s->slot].session == s;
}

/* The stream is gone, or is nobody's. */
void ages_again(struct peer *p, struct call *call)
{
    uint64_t id = call->end.id;
    base_list_remove(&call->pump);
    call->end = (struct call_end){.id = id, .known = true};
    call->stream = NULL;
    call->allowed = 0;
    base_list_push_back(&p->ages.again, &call->pump);
}

void ages_told_to_go(struct peer *p, struct session *s, uint32_t last_id, uint64_t now)
{
    struct client *client = &p->clients[s->slot];
    p->ages.goaways++;
    base_list_each_safe(l, &s->streams)
    {
        struct session_stream *st = base_container(l, struct session_stream, link);
        struct call *call = st->user;
        if (call == NULL || (st->h2 != NULL && st->h2->id <= last_id))
            continue;
        session_reset(st, HTTP2_CANCEL);
        p->ages.excluded++;
        ages_again(p, call);
    }
    if (client->session == s) {
        p->ready -= client->ready;
        client_connect(p, client, now);
    }
}

static void send_again(struct peer *p)
{
    base_list_each_safe(l, &p->ages.again)
    {
        struct call *call = base_container(l, struct call, pump);
        if (!call->client->ready || session_available(call->client->session) == 0)
            continue;
        base_list_remove(&call->pump);
        ends_send(p, call);
    }
}

/* ---- backends ---- */

void ages_accepted(struct peer *p, struct session *s, uint64_t now)
{
    struct ages *a = &p->ages;
    session_live(s, &a->life, now);
    a->accepted[s->slot]++;
    if (a->victim == s->slot && a->phase != AGES_BACK)
        session_drain(s, "restarts", GRACE_NS, now);
}

static uint32_t drain_all(struct peer *p, uint32_t slot, uint64_t now)
{
    uint32_t left = 0;
    base_list_each_safe(l, &p->sessions->all[SESSION_DOWN])
    {
        struct session *s = base_container(l, struct session, link);
        if (s->slot != slot)
            continue;
        left++;
        session_drain(s, "restarts", GRACE_NS, now);
    }
    return left;
}

static void restart(struct peer *p, uint64_t now)
{
    struct ages *a = &p->ages;
    const struct options *o = &p->options;
    uint16_t port = (uint16_t)(o->backend_port + a->victim);
    if (a->until_ns > now)
        return;
    switch (a->phase) {
    case AGES_UP:
        if (a->until_ns != 0 && p->calls.begun < p->until) {
            a->victim = (uint32_t)draw(a, o->endpoints);
            tcp_unlisten(p->tcp, &o->address, (uint16_t)(o->backend_port + a->victim));
            a->phase = AGES_GOING;
            return;
        }
        a->until_ns = now + o->restart_ns / 2 + draw(a, o->restart_ns);
        return;
    case AGES_GOING:
        if (drain_all(p, a->victim, now) > 0)
            return;
        a->phase = AGES_DOWN;
        a->until_ns = now + 100000000ull + draw(a, 300000000ull);
        return;
    case AGES_DOWN:
        a->accepted[a->victim] = 0;
        if (!tcp_listen(p->tcp, &o->address, port, a->victim))
            calls_wrong(&p->calls, "backend %u cannot listen again", a->victim);
        a->phase = AGES_BACK;
        return;
    case AGES_BACK:
        if (a->accepted[a->victim] == 0)
            return;
        a->restarts++;
        a->victim = UINT32_MAX;
        a->phase = AGES_UP;
        a->until_ns = now + SETTLE_NS + o->restart_ns / 2 + draw(a, o->restart_ns);
        return;
    }
}

/* ---- rudeness ---- */

bool ages_refuses(struct peer *p, struct call *call)
{
    struct calls *c = &p->calls;
    uint64_t id = call->end.id;
    if (!p->options.rude || !call->end.known || id >= c->begun || base_mix64(id) % 64 != 0 || c->seen[id] != 0)
        return false;
    c->seen[id] = CALLS_REFUSED;
    p->ages.refused++;
    return true;
}

/* One GOAWAY, and what is above it is not looked at. */
static void leave_out(struct peer *p, struct session *s, uint64_t now)
{
    http2_goaway(s->h2, http2_last_id(s->h2), HTTP2_NO_ERROR, "rude");
    session_drain(s, "rude", GRACE_NS, now);
    p->ages.rudenesses++;
}

bool ages_stalled(const struct peer *p, const struct session *s)
{
    return p->ages.stalled == s && s != NULL;
}

static void be_rude(struct peer *p, uint64_t now)
{
    struct ages *a = &p->ages;
    struct base_list *all = &p->sessions->all[SESSION_DOWN];
    if (a->rude_ns > now)
        return;
    if (a->stalled != NULL) {
        struct session *s = a->stalled;
        a->stalled = NULL;
        leave_out(p, s, now);
        peer_read(p, s, now);
    }
    a->rude_ns = now + RUDE_NS;
    uint32_t nth = (uint32_t)draw(a, p->sessions->count[SESSION_DOWN] + 1u);
    base_list_each_safe(l, all)
    {
        struct session *s = base_container(l, struct session, link);
        if (nth-- > 0 || s->drain_ns != 0 || p->calls.begun >= p->until)
            continue;
        if (draw(a, 4) == 0) {
            a->stalled = s;
            a->rude_ns = now + STALL_NS;
            a->stalls++;
        } else {
            leave_out(p, s, now);
        }
        break;
    }
}

/* ---- answers that take their time ---- */

bool ages_keep(struct peer *p, struct call *call, uint64_t now)
{
    uint64_t most = p->options.answer_ns, wait = most > 0 ? base_mix64(call->end.id + 7) % most : 0;
    if (wait == 0)
        return false;
    base_wheel_arm(&p->ages.wheel, &call->timer, now + wait);
    return true;
}

void ages_turn(struct peer *p, uint64_t now)
{
    struct ages *a = &p->ages;
    for (struct base_timer *t; (t = base_wheel_expire(&a->wheel, now)) != NULL;)
        ends_answer(p, base_container(t, struct call, timer));
    send_again(p);
    if (now - a->looked_ns < LOOK_NS)
        return;
    a->looked_ns = now;
    base_list_each_safe(l, &p->sessions->all[SESSION_UP])
    {
        struct session *s = base_container(l, struct session, link);
        if (!current(p, s) && s->stream_count == 0 && s->slot % 2 == 0)
            session_destroy(s, true, now);
    }
    if (p->options.restart_ns > 0)
        restart(p, now);
    if (p->options.rude)
        be_rude(p, now);
}

void ages_over(struct peer *p, struct session *s, bool closed, uint64_t now)
{
    bool down = s->role == SESSION_DOWN;
    if (s->stream_count > 0)
        calls_wrong(&p->calls, "the gateway closed a connection (%s) with %u calls", down ? "to a backend" : "a client's", s->stream_count);
    else if (!down && current(p, s))
        calls_wrong(&p->calls, "the gateway closed a client's connection without a word");
    else {
        if (p->ages.stalled == s)
            p->ages.stalled = NULL;
        session_destroy(s, !closed, now);
    }
}

void ages_ended(struct peer *p, struct session *s, uint64_t now)
{
    if (!s->gently)
        calls_wrong(&p->calls, "a session of the generator broke: %s", s->why != NULL ? s->why : "no reason");
    if (p->ages.stalled == s)
        p->ages.stalled = NULL;
    if (s->gently)
        session_destroy(s, true, now);
}
