/* What the files of the etcd room share: one call, and the reading of JSON. */
#ifndef ETCD_INTERNAL_H
#define ETCD_INTERNAL_H

#include <cjson/cJSON.h>

#include "etcd.h"

struct etcd {
    struct loop *loop;
    char **endpoints;
    unsigned endpoint_count, at;
    unsigned failures; /* in a row */
    char *username, *password_file, *ca, *cert, *key;
    char *token;
    bool no_auth; /* this etcd has authentication switched off: no token is needed */
    uint64_t random;
    struct base_list calls;
    struct loop_timer *defer; /* ends calls that failed before they were sent */
};

struct etcd_call {
    struct etcd *e;
    struct base_list link;
    struct loop_http *http;
    const char *path; /* static */
    char *body;
    uint64_t timeout_ns, first_byte_ns;
    bool stream;
    bool reauthenticated;
    bool *gone; /* set when the call ends while a handler of its runs */
    struct etcd_error failed; /* for the deferred end */
    /* What to do with the answer. root: NULL with an error. */
    void (*reply)(struct etcd_call *c, cJSON *root, const struct etcd_error *error);
    /* Stream: one message; root is taken over.  False: *error ends the call. */
    bool (*message)(struct etcd_call *c, cJSON *root, struct etcd_error *error);
    etcd_done_fn *done;
    void *user;
    struct etcd_header header;
    int64_t number;
    /* list */
    char *prefix;
    size_t prefix_len;
    etcd_page_fn *page;
    unsigned limit;
    /* watch */
    struct etcd_watch_handlers watch;
    struct etcd_kv *events; /* of a message in fragments */
    unsigned event_count;
    cJSON **fragments;      /* what `events` points into */
    unsigned fragment_count;
    char plain[96];         /* of an answer that is not JSON */
};

/* client.c.  NULL: no memory.  The body is taken over, NULL included. */
struct etcd_call *etcd_call_new(struct etcd *e, const char *path, char *body, etcd_done_fn *done, void *user);
void etcd_call_send(struct etcd_call *c);
void etcd_call_end(struct etcd_call *c, const struct etcd_error *error, int64_t number);
/* One line of a stream. The call may be gone afterwards. */
void etcd_call_line(struct etcd_call *c, const char *line, size_t n);

/* codec.c */
cJSON *etcd_json_parse(const char *text, size_t n); /* NULL: not exactly one JSON object */
/* Absent: 0 and true.  False: there, and not an integer. */
bool etcd_json_i64(const cJSON *o, const char *name, int64_t *out);
bool etcd_json_u64(const cJSON *o, const char *name, uint64_t *out);
bool etcd_json_header(const cJSON *o, struct etcd_header *out);
/* Decodes in place: `out` points into o. */
bool etcd_json_kv(cJSON *o, struct etcd_kv *out);
char *etcd_text_base64(const char *data, size_t n); /* the caller frees it */

/* error.c */
void etcd_error_set(struct etcd_error *e, enum etcd_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* From etcd's own words and gRPC code (-1: unknown). */
void etcd_error_words(struct etcd_error *e, int grpc_code, const char *words);
/* From an object of any of the forms; false: it says no error. */
bool etcd_error_json(struct etcd_error *e, const cJSON *root);

#endif
