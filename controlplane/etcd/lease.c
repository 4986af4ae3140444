/* Leases and puts, for those who register themselves. */
#include "internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define KEEPALIVE_TIMEOUT_NS 2000000000ull /* a hung member is left while the lease still lives */

static char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *text(const char *format, ...)
{
    va_list ap;
    char *out = NULL;
    va_start(ap, format);
    if (vasprintf(&out, format, ap) < 0)
        out = NULL;
    va_end(ap);
    return out;
}

static struct etcd_call *start(struct etcd *e, const char *path, char *body,
                               void (*reply)(struct etcd_call *, cJSON *, const struct etcd_error *), etcd_done_fn *done, void *user)
{
    struct etcd_call *c = etcd_call_new(e, path, body, done, user);
    if (c == NULL)
        return NULL;
    c->reply = reply;
    etcd_call_send(c);
    return c;
}

static void grant_reply(struct etcd_call *c, cJSON *root, const struct etcd_error *error)
{
    struct etcd_error said = *error;
    int64_t id = 0;
    if (said.code == ETCD_OK && (!etcd_json_header(root, &c->header) || !etcd_json_i64(root, "ID", &id) || id == 0))
        etcd_error_set(&said, ETCD_NONSENSE, "a lease without an id");
    etcd_call_end(c, &said, id);
}

struct etcd_call *etcd_lease_grant(struct etcd *e, uint64_t ttl_s, etcd_done_fn *done, void *user)
{
    return start(e, "/v3/lease/grant", text("{\"TTL\":\"%" PRIu64 "\"}", ttl_s), grant_reply, done, user);
}

/* A lease that is gone is answered with 200 and without "TTL". */
static void keepalive_reply(struct etcd_call *c, cJSON *root, const struct etcd_error *error)
{
    struct etcd_error said = *error;
    int64_t ttl = 0;
    const cJSON *result = cJSON_GetObjectItemCaseSensitive(root, "result");
    if (said.code == ETCD_OK && (!etcd_json_header(result, &c->header) || !etcd_json_i64(result, "TTL", &ttl)))
        etcd_error_set(&said, ETCD_NONSENSE, "a renewal that cannot be read");
    else if (said.code == ETCD_OK && ttl <= 0)
        etcd_error_set(&said, ETCD_NOT_FOUND, "the lease has expired");
    etcd_call_end(c, &said, ttl);
}

struct etcd_call *etcd_lease_keepalive(struct etcd *e, int64_t lease, etcd_done_fn *done, void *user)
{
    struct etcd_call *c = etcd_call_new(e, "/v3/lease/keepalive", text("{\"ID\":\"%" PRId64 "\"}", lease), done, user);
    if (c == NULL)
        return NULL;
    c->reply = keepalive_reply;
    c->timeout_ns = KEEPALIVE_TIMEOUT_NS;
    etcd_call_send(c);
    return c;
}

static void plain_reply(struct etcd_call *c, cJSON *root, const struct etcd_error *error)
{
    if (error->code == ETCD_OK)
        etcd_json_header(root, &c->header);
    etcd_call_end(c, error, 0);
}

struct etcd_call *etcd_lease_revoke(struct etcd *e, int64_t lease, etcd_done_fn *done, void *user)
{
    return start(e, "/v3/lease/revoke", text("{\"ID\":\"%" PRId64 "\"}", lease), plain_reply, done, user);
}

struct etcd_call *etcd_put(struct etcd *e, const char *key, const char *value, int64_t lease, etcd_done_fn *done, void *user)
{
    char *key64 = etcd_text_base64(key, strlen(key)), *value64 = etcd_text_base64(value, strlen(value)), *body = NULL;
    if (key64 != NULL && value64 != NULL)
        body = text("{\"key\":\"%s\",\"value\":\"%s\",\"lease\":\"%" PRId64 "\"}", key64, value64, lease);
    free(key64);
    free(value64);
    return start(e, "/v3/kv/put", body, plain_reply, done, user);
}
