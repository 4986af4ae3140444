/* A watch: one message a line; a message in fragments is put together before it is handed out, so that no transaction is seen in halves.
 *
 * A watch that etcd cancels leaves its HTTP stream open and silent: it is closed here. */
#include "internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_BYTE_NS   4000000000ull
#define FRAGMENTS_MAX   256 /* of one message; each below 2 MiB as etcd cuts them */

static bool cancelled(struct etcd_call *c, cJSON *result, struct etcd_error *error)
{
    const cJSON *reason = cJSON_GetObjectItemCaseSensitive(result, "cancel_reason");
    if (!etcd_json_i64(result, "compact_revision", &c->number))
        c->number = 0;
    if (c->number != 0)
        etcd_error_set(error, ETCD_COMPACTED, "revisions below %" PRId64 " are compacted", c->number);
    else
        etcd_error_words(error, -1, cJSON_IsString(reason) && reason->valuestring[0] != '\0' ? reason->valuestring : "watch cancelled");
    return false;
}

static void drop_fragments(struct etcd_call *c)
{
    for (unsigned i = 0; i < c->fragment_count; i++)
        cJSON_Delete(c->fragments[i]);
    free(c->fragments);
    free(c->events);
    c->fragments = NULL;
    c->events = NULL;
    c->fragment_count = c->event_count = 0;
}

static bool event_read(cJSON *event, struct etcd_kv *out)
{
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(event, "type");
    if (!etcd_json_kv(cJSON_GetObjectItemCaseSensitive(event, "kv"), out))
        return false;
    if (type == NULL || (cJSON_IsString(type) && strcmp(type->valuestring, "PUT") == 0))
        return true;
    out->deleted = true;
    return cJSON_IsString(type) && strcmp(type->valuestring, "DELETE") == 0;
}

/* Keeps root, whose strings the events point to. */
static bool collect(struct etcd_call *c, cJSON *root, cJSON *events)
{
    unsigned more = (unsigned)cJSON_GetArraySize(events);
    cJSON **fragments = c->fragment_count < FRAGMENTS_MAX ? realloc(c->fragments, (c->fragment_count + 1) * sizeof(cJSON *)) : NULL;
    if (fragments == NULL)
        return false;
    c->fragments = fragments;
    c->fragments[c->fragment_count++] = root;
    struct etcd_kv *kv = realloc(c->events, (c->event_count + more + 1) * sizeof(*kv));
    if (kv == NULL)
        return false;
    c->events = kv;
    cJSON *event;
    cJSON_ArrayForEach(event, events)
        if (!event_read(event, &c->events[c->event_count++]))
            return false;
    return true;
}

static bool watch_message(struct etcd_call *c, cJSON *root, struct etcd_error *error)
{
    cJSON *result = cJSON_GetObjectItemCaseSensitive(root, "result");
    cJSON *events = cJSON_GetObjectItemCaseSensitive(result, "events");
    bool kept = false, good = true, go_on = true;
    if (!etcd_json_header(result, &c->header)) {
        etcd_error_set(error, ETCD_NONSENSE, "a watch message without a header");
        go_on = false;
    } else if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(result, "canceled"))) {
        go_on = cancelled(c, result, error);
    } else if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(result, "created"))) {
        c->watch.created(c->user, &c->header);
    } else if (cJSON_IsArray(events)) {
        unsigned before = c->fragment_count;
        good = collect(c, root, events);
        kept = c->fragment_count > before;
        if (!good) {
            etcd_error_set(error, ETCD_NONSENSE, "a watch message that cannot be read");
            go_on = false;
        } else if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(result, "fragment"))) {
            bool *gone = c->gone;
            c->watch.events(c->user, &c->header, c->events, c->event_count);
            if (*gone)
                return true; /* what was kept went with the call */
            drop_fragments(c);
        }
    } /* else: a progress notice; revisions in it are not ordered with events before 3.4.25: it says only that somebody lives */
    if (!kept)
        cJSON_Delete(root);
    return go_on;
}

static void watch_reply(struct etcd_call *c, cJSON *root, const struct etcd_error *error)
{
    (void)root;
    etcd_call_end(c, error, c->number);
}

struct etcd_call *etcd_watch(struct etcd *e, const char *prefix, int64_t start_revision, const struct etcd_watch_handlers *h, void *user)
{
    size_t n = strlen(prefix);
    char *end = malloc(n + 2), *body = NULL;
    if (end == NULL)
        return NULL;
    size_t end_len = etcd_prefix_end(prefix, n, end);
    char *key64 = n == 0 ? etcd_text_base64("", 1) : etcd_text_base64(prefix, n), *end64 = etcd_text_base64(end, end_len);
    if (key64 != NULL && end64 != NULL &&
        asprintf(&body, "{\"create_request\":{\"key\":\"%s\",\"range_end\":\"%s\",\"start_revision\":\"%" PRId64 "\",\"progress_notify\":true,\"fragment\":true}}",
                 key64, end64, start_revision) < 0)
        body = NULL;
    free(key64);
    free(end64);
    free(end);
    struct etcd_call *c = etcd_call_new(e, "/v3/watch", body, h->done, user);
    if (c == NULL)
        return NULL;
    c->stream = true;
    c->first_byte_ns = FIRST_BYTE_NS;
    c->reply = watch_reply;
    c->message = watch_message;
    c->watch = *h;
    etcd_call_send(c);
    return c;
}
