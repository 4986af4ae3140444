/* load: what an end of a stream does: a source or a sink of bytes, a client or a server of RPCs.  The same words over our sockets and the kernel's. */
#include "grid.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { PERIOD = 1000003, CHUNK = 65536, AHEAD = 64 };

struct call {
    struct io io;
    uint32_t sent, done; /* RPCs */
    uint32_t in, out;    /* octets of the message that is being read; of those still to be written */
    uint64_t begun[AHEAD], due; /* due: of the next one; 0: not connected yet */
    uint8_t message[MESSAGE], got[MESSAGE];
};

struct load {
    const struct cell *cell;
    struct result *result;
    bool sends, wants;
    uint32_t count, calls;
    uint64_t random, position, begun, hash;
    uint8_t *stream; /* PERIOD octets of it, and CHUNK more */
    struct call call[];
};

static uint8_t *stream_octets(void)
{
    uint8_t *s = malloc(PERIOD + CHUNK);
    for (uint32_t i = 0; i < PERIOD; i++)
        s[i] = (uint8_t)base_mix64(i);
    memcpy(s + PERIOD, s, CHUNK);
    return s;
}

static uint64_t hash_more(uint64_t h, const uint8_t *data, size_t n) /* FNV-1a */
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ data[i]) * 0x100000001b3ull;
    return h;
}

#define HASH_FIRST 0xcbf29ce484222325ull

uint64_t load_hash(uint64_t bytes)
{
    uint8_t *s = stream_octets();
    uint64_t h = HASH_FIRST;
    for (uint64_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < CHUNK ? bytes - at : CHUNK;
        h = hash_more(h, s + at % PERIOD, n);
    }
    free(s);
    return h;
}

struct load *load_create(const struct cell *c, int host, struct result *r, uint64_t now)
{
    uint32_t count = c->connections > 0 ? c->connections : 1;
    struct load *l = calloc(1, sizeof(*l) + count * sizeof(struct call));
    *l = (struct load){.cell = c, .result = r, .sends = host == 0, .count = count, .random = c->seed, .begun = now, .hash = HASH_FIRST};
    l->stream = stream_octets();
    return l;
}

bool load_full(const struct load *l)
{
    return l->calls == l->count;
}

void load_add(struct load *l, struct io io, uint64_t now)
{
    l->call[l->calls++] = (struct call){.io = io};
    l->begun = now;
}

bool load_wants_room(const struct load *l)
{
    return l->wants;
}

static long io_read(const struct io *io, void *data, size_t n)
{
    if (io->ours != NULL)
        return front_read(io->ours, data, n);
    ssize_t k = recv(io->fd, data, n, MSG_DONTWAIT);
    return k >= 0 ? k : errno == EAGAIN ? FRONT_AGAIN : FRONT_FAILED;
}

static long io_write(const struct io *io, const void *data, size_t n)
{
    if (io->ours != NULL)
        return front_write(io->ours, data, n);
    ssize_t k = send(io->fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    return k >= 0 ? k : errno == EAGAIN ? FRONT_AGAIN : FRONT_FAILED;
}

static void finish(struct load *l, bool good, uint64_t now)
{
    l->result->good = good;
    l->result->ns = now - l->begun;
    l->result->hash = l->hash;
    atomic_store(&l->result->done, true);
}

static uint64_t source_turn(struct load *l)
{
    const struct cell *c = l->cell;
    uint64_t end = c->form == FORM_WHOLE ? c->bytes : UINT64_MAX;
    l->wants = false;
    while (l->position < end) {
        uint64_t most = end - l->position < CHUNK ? end - l->position : CHUNK;
        long n = io_write(&l->call[0].io, l->stream + l->position % PERIOD, most);
        if (n <= 0) {
            l->wants = n == FRONT_AGAIN;
            return UINT64_MAX;
        }
        l->position += (uint64_t)n;
        if (l->position < end)
            continue;
        if (l->call[0].io.ours != NULL)
            front_shutdown(l->call[0].io.ours);
        else
            shutdown(l->call[0].io.fd, SHUT_WR);
    }
    return UINT64_MAX;
}

static uint64_t sink_turn(struct load *l, uint64_t now)
{
    static uint8_t data[CHUNK];
    const struct cell *c = l->cell;
    struct result *r = l->result;
    uint64_t end = c->form == FORM_WHOLE ? UINT64_MAX : l->begun + c->seconds * S;
    long n;
    if (atomic_load(&r->done))
        return UINT64_MAX;
    while ((n = io_read(&l->call[0].io, data, CHUNK)) > 0) {
        if (memcmp(data, l->stream + r->bytes % PERIOD, (size_t)n) != 0) {
            finish(l, false, now);
            return UINT64_MAX;
        }
        if (c->form == FORM_WHOLE)
            l->hash = hash_more(l->hash, data, (size_t)n);
        r->bytes += (uint64_t)n;
    }
    if (n != FRONT_AGAIN)
        finish(l, n == 0 && r->bytes == c->bytes, now);
    else if (now >= end)
        finish(l, r->bytes > 0, now);
    return end;
}

/* ---- RPCs: the first eight octets of a message are its connection and its number, complemented in the answer ---- */

static void message_make(uint8_t *message, uint64_t number)
{
    for (uint32_t i = 0; i < MESSAGE; i += 4) {
        uint32_t word = (uint32_t)base_mix64(number + i);
        memcpy(message + i, &word, 4);
    }
    memcpy(message, &number, 8);
}

static void say(struct call *k, uint64_t number)
{
    message_make(k->message, number);
    k->out = MESSAGE;
}

/* False: there is no room. */
static bool message_write(struct load *l, struct call *k, uint64_t now)
{
    long n = io_write(&k->io, k->message + MESSAGE - k->out, k->out);
    if (n == FRONT_FAILED)
        finish(l, false, now);
    if (n <= 0) {
        l->wants = true;
        return false;
    }
    if (l->sends && k->due == 0) /* connected: its time begins */
        k->begun[0] = k->due = now;
    k->out -= (uint32_t)n;
    l->wants |= k->out > 0;
    return k->out == 0;
}

/* True: a message is whole. */
static bool message_read(struct load *l, struct call *k, uint64_t now)
{
    long n = io_read(&k->io, k->got + k->in, MESSAGE - k->in);
    if (n == FRONT_FAILED || (n == 0 && l->sends))
        finish(l, false, now);
    if (n <= 0)
        return false;
    k->in = (k->in + (uint32_t)n) % MESSAGE;
    return k->in == 0;
}

static uint64_t number_of(const struct load *l, const struct call *k, uint32_t n)
{
    return (uint64_t)(k - l->call) << 32 | n;
}

static void answered(struct load *l, struct call *k, uint64_t now)
{
    struct result *r = l->result;
    uint8_t want[MESSAGE];
    message_make(want, ~number_of(l, k, k->done));
    if (k->done == k->sent || memcmp(k->got, want, MESSAGE) != 0) {
        finish(l, false, now);
        return;
    }
    r->latency_us[r->rpcs++] = (uint32_t)((now - k->begun[k->done % AHEAD]) / 1000);
    k->done++;
    if (r->rpcs == l->count * l->cell->rpcs)
        finish(l, true, now);
}

static bool may_send(const struct load *l, const struct call *k, uint64_t now)
{
    if (k->sent == l->cell->rpcs)
        return false;
    return l->cell->form == FORM_RPC ? k->sent == k->done : now >= k->due && k->sent - k->done < AHEAD;
}

static uint64_t client_call(struct load *l, struct call *k, uint64_t now)
{
    if (k->out > 0 && !message_write(l, k, now))
        return UINT64_MAX;
    while (!atomic_load(&l->result->done) && message_read(l, k, now))
        answered(l, k, now);
    while (may_send(l, k, now)) {
        bool open = l->cell->form == FORM_OPEN && k->sent > 0;
        k->begun[k->sent % AHEAD] = open ? k->due : now;
        if (open) /* whatever became of the last one */
            k->due += base_mix64(++l->random) % (2 * l->cell->gap_ns);
        say(k, number_of(l, k, k->sent++));
        if (!message_write(l, k, now))
            return UINT64_MAX;
    }
    return l->cell->form == FORM_OPEN && k->sent < l->cell->rpcs ? k->due : UINT64_MAX;
}

static void server_call(struct load *l, struct call *k, uint64_t now)
{
    uint64_t number;
    while ((k->out == 0 || message_write(l, k, now)) && message_read(l, k, now)) {
        memcpy(&number, k->got, 8);
        say(k, ~number);
    }
}

static uint64_t rpc_turn(struct load *l, uint64_t now)
{
    uint64_t next = UINT64_MAX, at;
    l->wants = false;
    for (uint32_t i = 0; i < l->calls && !atomic_load(&l->result->done); i++) {
        if (!l->sends) {
            server_call(l, &l->call[i], now);
        } else if ((at = client_call(l, &l->call[i], now)) < next) {
            next = at;
        }
    }
    return next;
}

uint64_t load_turn(struct load *l, uint64_t now)
{
    if (l->cell->form == FORM_RPC || l->cell->form == FORM_OPEN)
        return rpc_turn(l, now);
    if (l->calls == 0)
        return UINT64_MAX;
    return l->sends ? source_turn(l) : sink_turn(l, now);
}
