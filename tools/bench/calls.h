/* calls: the ledger of a run.  What is in a message follows from its RPC's number and its own, so that whoever receives one can tell whether it
 * is the right one, whole, in order, and here for the first time.
 *
 * Owns: who has seen which RPC.  Uses: base.  Thread: one.  Time: none.  Memory: an octet an RPC.  Errors: counted in `wrong`; the first is told. */
#ifndef CALLS_H
#define CALLS_H

#include "base/base.h"

enum header_set { HEADERS_STATIC, HEADERS_DEADLINE, HEADERS_TRACE };
enum call_kind { CALL_UNARY, CALL_CLIENT, CALL_SERVER, CALL_BIDI };
enum call_direction { CALL_REQUEST, CALL_RESPONSE };

#define CALLS_REFUSED 0x80

struct calls {
    uint64_t count, begun, answered; /* ids are 0 .. count - 1 */
    uint8_t *seen;                   /* by id: 1 a backend has it, 2 its client has its answer; CALLS_REFUSED: a backend has refused it */
    uint64_t *by_backend;
    uint32_t size, endpoints, messages;
    enum call_kind kind;
    enum header_set headers;
    uint64_t wrong; /* whatever was not as it should be */
    char first_wrong[160];
};

struct call_end { /* one end of one RPC */
    uint64_t id;
    bool known;                 /* the id: a client's from the beginning, a backend's from the first message */
    bool status_good;           /* client: 200 and application/grpc */
    uint32_t in_index, in_at;   /* the message that comes, and how much of it has */
    uint32_t out_index, out_at; /* the message that goes */
    uint32_t endpoint;          /* backend */
};

void calls_create(struct calls *c, uint64_t count, uint32_t endpoints);
void calls_destroy(struct calls *c);
void calls_wrong(struct calls *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Messages of one RPC that way. */
uint32_t calls_messages(const struct calls *c, enum call_direction d);
/* Octets [from, from + n) of a message, whose first five are its prefix. */
void calls_bytes(const struct calls *c, uint64_t id, enum call_direction d, uint32_t index, uint32_t from, uint32_t n, uint8_t *out);
static inline uint32_t calls_message_len(const struct calls *c)
{
    return 5 + c->size;
}

uint64_t calls_begin(struct calls *c);
/* A piece of what the other end sent.  False: not what it should be. */
bool calls_take(struct calls *c, struct call_end *e, enum call_direction d, const uint8_t *data, uint32_t n);
/* A backend has all of a request; a client has all of an answer, of this grpc-status. */
void calls_requested(struct calls *c, const struct call_end *e);
void calls_answered(struct calls *c, const struct call_end *e, bool grpc_ok);
/* At the end: every RPC that began was seen by one backend and answered once, and backends had equal shares, to `slack`. */
void calls_judge(struct calls *c, uint64_t slack);

#define CALL_TEXT 128
void calls_request_fields(const struct calls *c, uint64_t id, uint8_t *text, struct base_headers *h);
void calls_response_fields(struct base_headers *h);
void calls_trailer_fields(struct base_headers *h);
/* What came is what calls_request_fields() gives, but for fields that a gateway may add. */
void calls_request_check(struct calls *c, const struct base_headers *h);

#endif
