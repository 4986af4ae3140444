/* Ranges: the list of a prefix in pages of one revision, and the count of its keys. */
#include "internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE_KEYS 1000 /* fewer where the values are large */

static char *range_body(const char *from, size_t from_len, const char *prefix, size_t prefix_len, const char *more)
{
    char *end = malloc(prefix_len + 2), *body = NULL;
    if (end == NULL)
        return NULL;
    size_t end_len = etcd_prefix_end(prefix, prefix_len, end);
    /* An empty key is refused: the range of all keys begins with "\0". */
    char *key64 = from_len == 0 ? etcd_text_base64("", 1) : etcd_text_base64(from, from_len);
    char *end64 = etcd_text_base64(end, end_len);
    if (key64 != NULL && end64 != NULL && asprintf(&body, "{\"key\":\"%s\",\"range_end\":\"%s\"%s}", key64, end64, more) < 0)
        body = NULL;
    free(key64);
    free(end64);
    free(end);
    return body;
}

/* From `key` on, at the revision of the first page. */
static char *page_body(struct etcd_call *c, const char *key, size_t key_len)
{
    char more[96];
    int n = snprintf(more, sizeof(more), ",\"limit\":\"%u\"", c->limit);
    if (c->header.revision != 0)
        snprintf(more + n, sizeof(more) - (size_t)n, ",\"revision\":\"%" PRId64 "\"", c->header.revision);
    return range_body(key, key_len, c->prefix, c->prefix_len, more);
}

static void send_page(struct etcd_call *c, char *body)
{
    if (body == NULL) {
        struct etcd_error error;
        etcd_error_set(&error, ETCD_UNAVAILABLE, "out of memory");
        etcd_call_end(c, &error, 0);
        return;
    }
    free(c->body);
    c->body = body;
    etcd_call_send(c);
}

/* The page's keys are handed out; the next page begins behind the last of them. */
static bool take_page(struct etcd_call *c, cJSON *root, struct etcd_error *error, char **next)
{
    cJSON *kvs = cJSON_GetObjectItemCaseSensitive(root, "kvs"), *item;
    struct etcd_header header;
    unsigned n = 0, count = kvs != NULL ? (unsigned)cJSON_GetArraySize(kvs) : 0;
    struct etcd_kv *kv = calloc(count + 1, sizeof(*kv));
    bool good = kv != NULL && etcd_json_header(root, &header);
    cJSON_ArrayForEach(item, kvs) good = good && etcd_json_kv(item, &kv[n]) && ++n > 0;
    if (!good) {
        etcd_error_set(error, ETCD_NONSENSE, "a list that cannot be read");
        free(kv);
        return false;
    }
    if (c->header.revision == 0)
        c->header = header;
    *next = NULL;
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "more"))) {
        *next = n > 0 ? page_body(c, kv[n - 1].key, kv[n - 1].key_len + 1) : NULL; /* + "\0": the next key that there can be */
        if (*next == NULL) {
            etcd_error_set(error, ETCD_NONSENSE, "a list that does not go on");
            free(kv);
            return false;
        }
    }
    bool gone = false;
    c->gone = &gone;
    if (n > 0)
        c->page(c->user, kv, n);
    free(kv);
    if (gone) {
        free(*next);
        return false;
    }
    c->gone = NULL;
    c->number += n;
    return true;
}

static void list_reply(struct etcd_call *c, cJSON *root, const struct etcd_error *error)
{
    if (error->code == ETCD_TOO_LARGE && c->limit > 1) {
        /* The request's body names the limit: the page is asked for anew, with a tenth of the keys. */
        char old[32], *at;
        snprintf(old, sizeof(old), "\"limit\":\"%u\"", c->limit);
        c->limit = c->limit >= 10 ? c->limit / 10 : 1;
        if ((at = strstr(c->body, old)) != NULL) {
            char *body = NULL;
            if (asprintf(&body, "%.*s\"limit\":\"%u\"%s", (int)(at - c->body), c->body, c->limit, at + strlen(old)) < 0)
                body = NULL;
            send_page(c, body);
            return;
        }
    }
    if (error->code != ETCD_OK) {
        etcd_call_end(c, error, 0);
        return;
    }
    struct etcd_error nonsense = {0};
    char *next = NULL;
    if (!take_page(c, root, &nonsense, &next)) {
        if (nonsense.code != ETCD_OK)
            etcd_call_end(c, &nonsense, 0);
        return;
    }
    if (next != NULL)
        send_page(c, next);
    else
        etcd_call_end(c, error, c->number);
}

struct etcd_call *etcd_list(struct etcd *e, const char *prefix, etcd_page_fn *page, etcd_done_fn *done, void *user)
{
    struct etcd_call *c = etcd_call_new(e, "/v3/kv/range", strdup(""), done, user);
    if (c == NULL)
        return NULL;
    c->reply = list_reply;
    c->page = page;
    c->limit = PAGE_KEYS;
    c->prefix = strdup(prefix);
    c->prefix_len = strlen(prefix);
    char *body = c->prefix != NULL ? page_body(c, prefix, c->prefix_len) : NULL;
    if (body == NULL) {
        etcd_cancel(c);
        return NULL;
    }
    send_page(c, body);
    return c;
}

static void count_reply(struct etcd_call *c, cJSON *root, const struct etcd_error *error)
{
    struct etcd_error said = *error;
    int64_t number = 0;
    if (said.code == ETCD_OK && (!etcd_json_header(root, &c->header) || !etcd_json_i64(root, "count", &number)))
        etcd_error_set(&said, ETCD_NONSENSE, "a count that cannot be read");
    etcd_call_end(c, &said, number);
}

struct etcd_call *etcd_count(struct etcd *e, const char *prefix, uint64_t timeout_ns, etcd_done_fn *done, void *user)
{
    struct etcd_call *c = etcd_call_new(e, "/v3/kv/range", range_body(prefix, strlen(prefix), prefix, strlen(prefix), ",\"count_only\":true"), done, user);
    if (c == NULL)
        return NULL;
    c->reply = count_reply;
    c->timeout_ns = timeout_ns;
    etcd_call_send(c);
    return c;
}
