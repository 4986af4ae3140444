/* RPCs, at their clients' end and at their backends'. */
#include "bench.h"

#include <stdlib.h>

#define CHUNK 16384 /* octets of a message written at once: what waits in a stream's queue is no more */

static struct call *call_new(struct peer *p, struct client *client, struct session_stream *st)
{
    struct call *call = p->spare;
    if (call == NULL)
        abort();
    p->spare = call->next;
    *call = (struct call){.client = client, .stream = st};
    base_list_init(&call->pump);
    base_timer_init(&call->timer);
    return call;
}

static void call_end(struct peer *p, struct call *call)
{
    base_list_remove(&call->pump);
    if (base_timer_armed(&call->timer))
        base_wheel_cancel(&p->ages.wheel, &call->timer);
    call->next = p->spare;
    p->spare = call;
}

/* ---- passage: what the gateway's turns took while an RPC was inside ---- */

static void enter(struct peer *p, uint64_t id)
{
    struct passage *g = &p->passages[id % PASSAGES];
    if (g->id != id + 1)
        *g = (struct passage){.id = id + 1, .interruptions = p->interruptions};
    g->entered = p->gateway_cycles;
}

static void leave(struct peer *p, uint64_t id)
{
    struct passage *g = &p->passages[id % PASSAGES];
    if (g->id == id + 1)
        g->cycles += p->gateway_cycles - g->entered;
}

static void passed(struct peer *p, uint64_t id)
{
    struct passage *g = &p->passages[id % PASSAGES];
    if (!p->recording || g->id != id + 1)
        return;
    if (g->interruptions != p->interruptions)
        p->residence_interrupted++;
    else
        histogram_add(&p->residence, g->cycles);
}

/* ---- sending messages ---- */

static void finish_answer(struct peer *p, struct call *call)
{
    calls_trailer_fields(&p->fields);
    if (!session_headers(call->stream, &p->fields, true))
        calls_wrong(&p->calls, "the generator is out of buffers");
    enter(p, call->end.id);
    session_release(call->stream);
    call_end(p, call);
}

/* Sends what may be sent by now; a backend's call is gone when all of it has been. */
static void pump(struct peer *p, struct call *call)
{
    struct calls *c = &p->calls;
    bool client = call->client != NULL;
    enum call_direction d = client ? CALL_REQUEST : CALL_RESPONSE;
    uint32_t total = calls_messages(c, d), len = calls_message_len(c);
    while (call->end.out_index < call->allowed) {
        if (call->stream->queued > 0) {
            if (base_list_empty(&call->pump))
                base_list_push_back(&p->pump, &call->pump);
            return;
        }
        uint32_t n = len - call->end.out_at < CHUNK ? len - call->end.out_at : CHUNK;
        bool whole = call->end.out_at + n == len, last = client && whole && call->end.out_index + 1 == total;
        calls_bytes(c, call->end.id, d, call->end.out_index, call->end.out_at, n, p->message);
        if (!session_data(call->stream, p->message, n, last))
            calls_wrong(c, "the generator is out of buffers");
        call->end.out_at = whole ? 0 : call->end.out_at + n;
        call->end.out_index += whole;
    }
    base_list_remove(&call->pump);
    if (!client && call->end.out_index == total)
        finish_answer(p, call);
}

void ends_pump(struct peer *p)
{
    base_list_each_safe(l, &p->pump)
        pump(p, base_container(l, struct call, pump));
}

/* ---- clients ---- */

void ends_begin(struct peer *p, struct client *client, uint64_t since_ns)
{
    struct call *call = call_new(p, client, NULL);
    call->end.id = calls_begin(&p->calls);
    call->end.known = true;
    call->since_ns = since_ns;
    client->open++;
    client->active++;
    client->life++;
    ends_send(p, call);
}

void ends_send(struct peer *p, struct call *call)
{
    struct calls *c = &p->calls;
    uint8_t text[CALL_TEXT];
    calls_request_fields(c, call->end.id, text, &p->fields);
    call->stream = session_open(call->client->session, &p->fields, false, call);
    if (call->stream == NULL) {
        calls_wrong(c, "the generator is out of streams");
        return;
    }
    enter(p, call->end.id);
    call->allowed = c->kind == CALL_BIDI ? 1 : calls_messages(c, CALL_REQUEST);
    pump(p, call);
}

static bool header_is(const struct base_headers *h, enum base_header_token token, const char *text)
{
    const struct base_header *f = base_headers_find(h, token);
    return f != NULL && base_header_value_is(f, text);
}

/* The place is free again, at once or after a rest. */
static void vacate(struct peer *p, struct client *client, uint64_t now)
{
    client->active--;
    if (p->options.think_ns == 0) {
        client->open--;
        client_able(p, client);
        return;
    }
    p->rests[(p->rest_first + p->rest_count++) % p->rest_room] = (struct rest){now + p->options.think_ns, client};
}

static void client_end(struct peer *p, struct call *call, const struct http2_event *ev, uint64_t now)
{
    leave(p, call->end.id);
    calls_answered(&p->calls, &call->end, ev->type == HTTP2_EVENT_HEADERS && header_is(ev->headers, BASE_HEADER_GRPC_STATUS, "0"));
    if (call->end.out_index != calls_messages(&p->calls, CALL_REQUEST))
        calls_wrong(&p->calls, "answer %llu came before all of its request was sent", (unsigned long long)call->end.id);
    passed(p, call->end.id);
    uint64_t at = peer_clock(p);
    if (p->recording)
        histogram_add(&p->latency, at > call->since_ns ? at - call->since_ns : 0);
    vacate(p, call->client, now);
    session_release(call->stream);
    call_end(p, call);
}

void ends_client_event(struct peer *p, struct session_stream *st, const struct http2_event *ev, uint64_t now)
{
    struct call *call = st != NULL ? st->user : NULL;
    struct calls *c = &p->calls;
    bool refused = ages_on(&p->options) && ev->code == HTTP2_REFUSED_STREAM;
    if (ev->type == HTTP2_EVENT_FATAL || ev->type == HTTP2_EVENT_GOAWAY || (ev->type == HTTP2_EVENT_RESET && !refused))
        calls_wrong(c, "a client got event %d, code %u", ev->type, ev->code);
    if (call == NULL)
        return;
    if (ev->type == HTTP2_EVENT_RESET && refused) {
        session_release(st);
        p->ages.refused_us++;
        ages_again(p, call);
        return;
    }
    if (ev->type == HTTP2_EVENT_RESET) { /* told as wrong, and found to be lost in the end */
        session_release(st);
        vacate(p, call->client, now);
        call_end(p, call);
        return;
    }
    if (ev->type == HTTP2_EVENT_HEADERS && !(ev->trailers || ev->end_stream))
        call->end.status_good = header_is(ev->headers, BASE_HEADER_STATUS, "200") && header_is(ev->headers, BASE_HEADER_CONTENT_TYPE, "application/grpc");
    if (ev->type == HTTP2_EVENT_DATA) {
        calls_take(c, &call->end, CALL_RESPONSE, ev->data, ev->len);
        if (!ev->end_stream)
            http2_stream_credit(ev->stream, ev->flow);
        if (c->kind == CALL_BIDI && call->end.in_index < calls_messages(c, CALL_REQUEST) && call->allowed < 1 + call->end.in_index) {
            call->allowed = 1 + call->end.in_index;
            pump(p, call);
        }
    }
    if (ev->end_stream)
        client_end(p, call, ev, now);
}

/* ---- backends ---- */

/* So many messages of the answer may go by now; its header fields go with the first. */
static void grant(struct peer *p, struct call *call, uint32_t messages)
{
    if (call->allowed == 0) {
        calls_response_fields(&p->fields);
        if (!session_headers(call->stream, &p->fields, false))
            calls_wrong(&p->calls, "the generator is out of buffers");
    }
    call->allowed = messages;
    pump(p, call);
}

static void requested(struct peer *p, struct call *call, uint64_t now)
{
    calls_requested(&p->calls, &call->end);
    leave(p, call->end.id);
    if (p->hold)
        p->held[p->held_count++] = call;
    else if (!ages_on(&p->options) || !ages_keep(p, call, now))
        grant(p, call, calls_messages(&p->calls, CALL_RESPONSE));
}

void ends_answer(struct peer *p, struct call *call)
{
    grant(p, call, calls_messages(&p->calls, CALL_RESPONSE));
}

void ends_release(struct peer *p)
{
    p->hold = false;
    while (p->held_count > 0)
        grant(p, p->held[--p->held_count], calls_messages(&p->calls, CALL_RESPONSE));
}

static struct call *backend_begin(struct peer *p, struct session *s, struct session_stream *st, const struct base_headers *h)
{
    struct call *call = call_new(p, NULL, st);
    call->end.endpoint = s->slot;
    st->user = call;
    calls_request_check(&p->calls, h);
    return call;
}

static void backend_data(struct peer *p, struct call *call, const struct http2_event *ev)
{
    struct calls *c = &p->calls;
    calls_take(c, &call->end, CALL_REQUEST, ev->data, ev->len);
    if (!ev->end_stream)
        http2_stream_credit(ev->stream, ev->flow);
    /* Message for message; the last one waits for the end of the request. */
    uint32_t total = calls_messages(c, CALL_RESPONSE), may = call->end.in_index < total ? call->end.in_index : total - 1;
    if (c->kind == CALL_BIDI && !p->hold && may > call->allowed)
        grant(p, call, may);
}

void ends_backend_event(struct peer *p, struct session *s, struct session_stream *st, const struct http2_event *ev, uint64_t now)
{
    if (ev->type == HTTP2_EVENT_FATAL || (ev->type == HTTP2_EVENT_RESET && !p->options.rude && p->options.attack == ATTACK_NONE))
        calls_wrong(&p->calls, "a backend got event %d, code %u", ev->type, ev->code);
    if (st == NULL)
        return;
    bool opened = ev->type == HTTP2_EVENT_HEADERS && ev->opened;
    if (p->options.attack != ATTACK_NONE && attack_backend_event(p, st, ev))
        return;
    struct call *call = opened ? backend_begin(p, s, st, ev->headers) : st->user;
    if (call == NULL)
        return;
    if (ev->type == HTTP2_EVENT_RESET) {
        session_release(st);
        call_end(p, call);
        return;
    }
    if (ev->type == HTTP2_EVENT_DATA)
        backend_data(p, call, ev);
    if (ages_refuses(p, call)) {
        session_reset(st, HTTP2_REFUSED_STREAM);
        call_end(p, call);
    } else if (ev->end_stream) {
        requested(p, call, now);
    }
}
