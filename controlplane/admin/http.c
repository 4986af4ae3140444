/* Requests: which path does what, and with which method.  Every request gets an answer; a body is read up to a bound
 * and belongs to POSTs alone. */
#include "internal.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

struct request {
    struct admin_dump_request *dump; /* NULL: none asked for */
    size_t length;
    bool too_large;
    char body[ADMIN_BODY_BYTES_MAX + 1];
};

enum method { GET = 1, POST = 2 };

struct answer {
    unsigned status;
    const char *type;
    char *text; /* malloc'ed; goes with the response */
};

#define JSON "application/json"
#define TEXT "text/plain; charset=utf-8"

/* {"error":"..."} */
static struct answer refuse(unsigned status, const char *sentence)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "error", sentence);
    char *text = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    return (struct answer){status, JSON, text};
}

static struct answer say(unsigned status, const char *type, const char *text)
{
    return (struct answer){status, type, strdup(text)};
}

static struct answer whole(const char *type, char *text)
{
    return text != NULL ? (struct answer){MHD_HTTP_OK, type, text}
                        : refuse(MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
}

static struct answer metrics(struct admin *a, struct MHD_Connection *c, const struct request *r)
{
    (void)c, (void)r;
    return whole("text/plain; version=0.0.4; charset=utf-8", admin_metrics_text(a));
}

static struct answer healthz(struct admin *a, struct MHD_Connection *c, const struct request *r)
{
    (void)a, (void)c, (void)r;
    return say(MHD_HTTP_OK, TEXT, "ok\n");
}

static struct answer readyz(struct admin *a, struct MHD_Connection *c, const struct request *r)
{
    const char *cluster = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "cluster");
    (void)r;
    if (cluster == NULL)
        cluster = "";
    const struct membership_cluster *m = cluster[0] != '\0' ? membership_find(a->view.membership, cluster) : NULL;
    if (cluster[0] != '\0' && (m == NULL || !m->configured))
        return refuse(MHD_HTTP_NOT_FOUND, "there is no such cluster; GET /api/v1/clusters lists them");
    const char *why = admin_not_ready(a, cluster);
    char text[128];
    snprintf(text, sizeof(text), why != NULL ? "not ready: %s\n" : "ready\n", why);
    return say(why != NULL ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_OK, TEXT, text);
}

static struct answer status(struct admin *a, struct MHD_Connection *c, const struct request *r)
{
    (void)c, (void)r;
    return whole(JSON, admin_status_json(a));
}

static struct answer clusters(struct admin *a, struct MHD_Connection *c, const struct request *r)
{
    (void)c, (void)r;
    return whole(JSON, admin_clusters_json(a));
}

static struct answer workers(struct admin *a, struct MHD_Connection *c, const struct request *r)
{
    (void)c, (void)r;
    return whole(JSON, admin_workers_json(a));
}

static struct answer not_yet(struct admin *a, struct MHD_Connection *c, const struct request *r)
{
    (void)a, (void)c, (void)r;
    return refuse(MHD_HTTP_NOT_IMPLEMENTED, "not yet; a later version brings it");
}

static struct answer shutdown_now(struct admin *a, struct MHD_Connection *c, const struct request *r)
{
    if (a->view.shutdown == NULL)
        return not_yet(a, c, r);
    a->view.shutdown(a->view.user);
    return say(MHD_HTTP_ACCEPTED, JSON, "{\"state\":\"draining\"}");
}

static void add_lines(cJSON *o, const char *name, char *const *lines, unsigned count)
{
    cJSON *list = cJSON_AddArrayToObject(o, name);
    for (unsigned i = 0; i < count; i++)
        cJSON_AddItemToArray(list, cJSON_CreateString(lines[i]));
}

/* {"reloaded","pending","generation","warnings":[...]}, or {"error","errors":[...],"warnings":[...]}: all sentences of the check. */
static struct answer reload(struct admin *a, struct MHD_Connection *c, const struct request *r)
{
    struct admin_reload what = {0};
    if (a->view.reload == NULL)
        return not_yet(a, c, r);
    bool ok = a->view.reload(a->view.user, &what);
    cJSON *o = cJSON_CreateObject();
    if (ok) {
        cJSON_AddTrueToObject(o, "reloaded");
        cJSON_AddBoolToObject(o, "pending", what.pending);
        cJSON_AddNumberToObject(o, "generation", (double)what.generation);
    } else {
        cJSON_AddStringToObject(o, "error", what.said.count > 0 ? what.said.text[0] : "refused");
        add_lines(o, "errors", what.said.text, what.said.count);
    }
    add_lines(o, "warnings", what.said.warnings, what.said.warning_count);
    config_errors_free(&what.said);
    struct answer answer = whole(JSON, cJSON_PrintUnformatted(o));
    if (!ok && answer.status == MHD_HTTP_OK)
        answer.status = MHD_HTTP_CONFLICT;
    cJSON_Delete(o);
    return answer;
}

/* {"cluster","endpoint"[,"weight"]}: NULL and the two names, or what is wrong. */
static const char *read_order(const cJSON *o, const char **cluster, struct base_endpoint *e)
{
    const char *endpoint = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "endpoint"));
    *cluster = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "cluster"));
    if (!cJSON_IsObject(o))
        return "the body must be a JSON object {\"cluster\":\"NAME\",\"endpoint\":\"IP:PORT\"}";
    if (*cluster == NULL)
        return "\"cluster\" is missing: the name of a cluster";
    if (endpoint == NULL || !base_endpoint_parse(endpoint, e))
        return "\"endpoint\" must be IP:PORT or [IPv6]:PORT";
    return NULL;
}

/* "weight": 0 to 65535, or "auto" for the registry's again. */
static bool read_weight(const cJSON *o, uint32_t *weight)
{
    const cJSON *w = cJSON_GetObjectItemCaseSensitive(o, "weight");
    const char *word = cJSON_GetStringValue(w);
    *weight = MEMBERSHIP_NO_OVERRIDE;
    if (word != NULL)
        return strcmp(word, "auto") == 0;
    if (!cJSON_IsNumber(w) || !(w->valuedouble >= 0 && w->valuedouble <= 65535) ||
        w->valuedouble != (double)(uint32_t)w->valuedouble)
        return false;
    *weight = (uint32_t)w->valuedouble;
    return true;
}

enum order { WEIGHT, DRAIN, UNDRAIN };

static struct answer order(struct admin *a, const struct request *r, enum order kind)
{
    char error[512] = "";
    const char *cluster;
    struct base_endpoint e;
    uint32_t weight = kind == DRAIN ? 0 : MEMBERSHIP_NO_OVERRIDE;
    if (a->view.weight == NULL)
        return refuse(MHD_HTTP_NOT_IMPLEMENTED, "not yet; a later version brings it");
    cJSON *o = cJSON_ParseWithLength(r->body, r->length);
    const char *wrong = read_order(o, &cluster, &e);
    if (wrong == NULL && kind == WEIGHT && !read_weight(o, &weight))
        wrong = "\"weight\" must be a whole number from 0 to 65535, or \"auto\"";
    struct answer answer;
    if (wrong != NULL)
        answer = refuse(MHD_HTTP_BAD_REQUEST, wrong);
    else if (a->view.weight(a->view.user, cluster, &e, weight, error, sizeof(error))) {
        /* The generation that has it: once every worker has applied that, none picks otherwise. */
        snprintf(error, sizeof(error), "{\"done\":true,\"generation\":%llu}", (unsigned long long)publish_promised(a->view.publish));
        answer = say(MHD_HTTP_OK, JSON, error);
    } else
        answer = refuse(MHD_HTTP_NOT_FOUND, error);
    cJSON_Delete(o);
    return answer;
}

static struct answer set_weight(struct admin *a, struct MHD_Connection *c, const struct request *r)
{
    (void)c;
    return order(a, r, WEIGHT);
}

static struct answer drain(struct admin *a, struct MHD_Connection *c, const struct request *r)
{
    (void)c;
    return order(a, r, DRAIN);
}

static struct answer undrain(struct admin *a, struct MHD_Connection *c, const struct request *r)
{
    (void)c;
    return order(a, r, UNDRAIN);
}

/* "filter", "seconds", "snaplen": all may be missing, and so may the body. NULL, or what is wrong. */
static const char *read_capture(const cJSON *o, struct admin_capture_order *order)
{
    const cJSON *filter = cJSON_GetObjectItemCaseSensitive(o, "filter"), *seconds = cJSON_GetObjectItemCaseSensitive(o, "seconds"),
                *snaplen = cJSON_GetObjectItemCaseSensitive(o, "snaplen");
    *order = (struct admin_capture_order){.filter = ""};
    if (o != NULL && !cJSON_IsObject(o))
        return "the body must be a JSON object {\"filter\":\"tcp port 50051\",\"seconds\":10,\"snaplen\":256}; each may be missing";
    if (filter != NULL && !cJSON_IsString(filter))
        return "\"filter\" must be a string: an expression as tcpdump takes it";
    if (seconds != NULL && (!cJSON_IsNumber(seconds) || !(seconds->valuedouble >= 0 && seconds->valuedouble <= 1e6)))
        return "\"seconds\" must be a number from 0 (until the client goes) to 1000000";
    if (snaplen != NULL && (!cJSON_IsNumber(snaplen) || !(snaplen->valuedouble >= 14 && snaplen->valuedouble <= 65535)))
        return "\"snaplen\" must be a whole number from 14 to 65535";
    if (filter != NULL)
        order->filter = filter->valuestring;
    order->seconds = seconds != NULL ? seconds->valuedouble : 0;
    order->snaplen = snaplen != NULL ? (uint32_t)snaplen->valuedouble : 0;
    return NULL;
}

/* Queues the stream itself; an answer with a text is a refusal. */
static struct answer capture(struct admin *a, struct MHD_Connection *c, const struct request *r)
{
    struct admin_capture_order o;
    struct MHD_Response *response = NULL;
    struct answer refusal = {0};
    char error[512];
    cJSON *root = r->length > 0 ? cJSON_ParseWithLength(r->body, r->length) : NULL;
    const char *wrong = r->length > 0 && root == NULL ? "the body is no JSON" : read_capture(root, &o);
    unsigned status = MHD_HTTP_BAD_REQUEST;
    if (wrong == NULL) {
        wrong = error;
        status = a->view.mailboxes != NULL ? admin_capture_begin(a->capture, &o, c, &response, error, sizeof(error)) : MHD_HTTP_NOT_IMPLEMENTED;
    }
    if (status != 0) {
        refusal = refuse(status, status == MHD_HTTP_NOT_IMPLEMENTED ? "there are no workers here" : wrong);
    } else {
        MHD_queue_response(c, MHD_HTTP_OK, response);
        MHD_destroy_response(response);
    }
    cJSON_Delete(root);
    return refusal;
}

static struct answer capture_stop(struct admin *a, struct MHD_Connection *c, const struct request *r)
{
    (void)c, (void)r;
    admin_capture_end(a->capture);
    return whole(JSON, admin_capture_json(a->capture));
}

static struct answer capture_status(struct admin *a, struct MHD_Connection *c, const struct request *r)
{
    (void)c, (void)r;
    return whole(JSON, admin_capture_json(a->capture));
}

static const struct path {
    const char *path;
    enum method method;
    struct answer (*answer)(struct admin *a, struct MHD_Connection *c, const struct request *r);
} paths[] = {
    {"/", GET, not_yet},
    {"/metrics", GET, metrics},
    {"/healthz", GET, healthz},
    {"/readyz", GET, readyz},
    {"/api/v1/status", GET, status},
    {"/api/v1/clusters", GET, clusters},
    {"/api/v1/workers", GET, workers},
    {"/api/v1/connections", GET, NULL}, /* see connections() */
    {"/api/v1/capture", POST, capture},
    {"/api/v1/capture/stop", POST, capture_stop},
    {"/api/v1/capture/status", GET, capture_status},
    {"/api/v1/explain", GET, not_yet},
    {"/api/v1/shutdown", POST, shutdown_now},
    {"/api/v1/reload", POST, reload},
    {"/api/v1/drain", POST, drain},
    {"/api/v1/undrain", POST, undrain},
    {"/api/v1/weight", POST, set_weight},
};

static const struct path *find_path(const char *url)
{
    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
        if (strcmp(paths[i].path, url) == 0)
            return &paths[i];
    return NULL;
}

static bool allowed(const struct path *p, const char *method)
{
    if (p->method == POST)
        return strcmp(method, "POST") == 0;
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

static enum MHD_Result send_answer(struct MHD_Connection *c, const struct answer *answer, const char *allow)
{
    struct answer a = *answer;
    if (a.text == NULL)
        return MHD_NO;
    struct MHD_Response *response = MHD_create_response_from_buffer(strlen(a.text), a.text, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(a.text);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, a.type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (allow != NULL)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
    enum MHD_Result result = MHD_queue_response(c, a.status, response);
    MHD_destroy_response(response);
    return result;
}

static struct answer dispatch(struct admin *a, struct MHD_Connection *c, const struct path *p, const char *method,
                              const struct request *r)
{
    if (p == NULL)
        return refuse(
            MHD_HTTP_NOT_FOUND,
            "there is nothing at this path; see /metrics, /healthz, /readyz, /api/v1/status, /api/v1/clusters");
    if (!allowed(p, method))
        return refuse(MHD_HTTP_METHOD_NOT_ALLOWED,
                      p->method == POST ? "this path takes POST" : "this path takes GET and HEAD");
    if (r->too_large)
        return refuse(MHD_HTTP_CONTENT_TOO_LARGE, "the body is larger than any order here");
    /* An order never comes from another site's page in a browser of this machine. */
    if (p->method == POST && MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Origin") != NULL)
        return refuse(MHD_HTTP_FORBIDDEN, "orders are not taken from web pages (Origin is set)");
    return p->answer(a, c, r);
}

/* Asked for on the first call, answered on the one after the dump. False: suspended, nothing to send yet. */
static bool connections(struct admin *a, struct MHD_Connection *c, struct request *r, struct answer *answer)
{
    if (r->dump == NULL && a->view.mailboxes != NULL) {
        r->dump = admin_dump_ask(a->dump, c);
        if (r->dump != NULL)
            return false;
    }
    *answer = r->dump != NULL ? whole(JSON, admin_dump_take(r->dump)) : refuse(MHD_HTTP_NOT_IMPLEMENTED, "there are no workers here");
    return true;
}

enum MHD_Result admin_http_handle(void *user, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **slot)
{
    struct admin *a = user;
    struct request *r = *slot;
    (void)version;
    if (r == NULL) { /* the head alone; the body follows */
        *slot = calloc(1, sizeof(*r));
        return *slot != NULL ? MHD_YES : MHD_NO;
    }
    if (*upload_size > 0) {
        size_t room = ADMIN_BODY_BYTES_MAX - r->length, n = *upload_size < room ? *upload_size : room;
        memcpy(r->body + r->length, upload, n);
        r->length += n;
        r->too_large = r->too_large || n < *upload_size;
        *upload_size = 0;
        return MHD_YES;
    }
    const struct path *p = find_path(url);
    struct answer answer;
    if (p == NULL || p->answer != NULL || !allowed(p, method))
        answer = dispatch(a, c, p, method, r);
    else if (!connections(a, c, r, &answer))
        return MHD_YES;
    a->requests++;
    if (answer.status == 0) /* it is on its way already */
        return MHD_YES;
    return send_answer(c, &answer,
                       p != NULL && !allowed(p, method) ? (p->method == POST ? "POST" : "GET, HEAD") : NULL);
}

void admin_http_done(void *user, struct MHD_Connection *c, void **slot, enum MHD_RequestTerminationCode why)
{
    struct request *r = *slot;
    (void)user, (void)c, (void)why;
    if (r != NULL)
        admin_dump_forget(r->dump);
    free(r);
    *slot = NULL;
}
