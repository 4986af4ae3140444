/* The client: endpoints, token, and one call's way: [authenticate] -> post -> answer -> [authenticate again, once] -> end. */
#include "internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#define UNARY_TIMEOUT_NS 8000000000ull /* without a leader etcd itself gives up after 7 s */
#define PASSWORD_BYTES_MAX 512

static char *copy(const char *text)
{
    return strdup(text != NULL ? text : "");
}

static void run_deferred(void *user)
{
    struct etcd *e = user;
    base_list_each_safe(it, &e->calls) {
        struct etcd_call *c = base_container(it, struct etcd_call, link);
        if (c->failed.code == ETCD_OK)
            continue;
        loop_timer_set(e->defer, 0); /* the handler may end other calls, or everything: one at a time */
        struct etcd_error error = c->failed;
        c->reply(c, NULL, &error);
        return;
    }
}

struct etcd *etcd_create(struct loop *l, const struct etcd_options *o)
{
    struct etcd *e = calloc(1, sizeof(*e));
    if (e == NULL)
        return NULL;
    e->loop = l;
    base_list_init(&e->calls);
    e->endpoints = calloc(o->endpoint_count + 1, sizeof(*e->endpoints));
    for (unsigned i = 0; e->endpoints != NULL && i < o->endpoint_count; i++)
        e->endpoints[i] = copy(o->endpoints[i]);
    e->endpoint_count = o->endpoint_count;
    e->username = copy(o->username);
    e->password_file = copy(o->password_file);
    e->ca = copy(o->ca);
    e->cert = copy(o->cert);
    e->key = copy(o->key);
    e->defer = loop_timer_add(l, run_deferred, e);
    if (getrandom(&e->random, sizeof(e->random), 0) != sizeof(e->random))
        e->random = loop_now(l);
    if (e->endpoints == NULL || e->endpoint_count == 0 || e->defer == NULL) {
        etcd_destroy(e);
        return NULL;
    }
    e->at = (unsigned)(e->random % e->endpoint_count); /* gateways spread over the members */
    return e;
}

void etcd_destroy(struct etcd *e)
{
    if (e == NULL)
        return;
    while (!base_list_empty(&e->calls))
        etcd_cancel(base_container(e->calls.next, struct etcd_call, link));
    for (unsigned i = 0; e->endpoints != NULL && i < e->endpoint_count; i++)
        free(e->endpoints[i]);
    free(e->endpoints);
    free(e->username);
    free(e->password_file);
    free(e->ca);
    free(e->cert);
    free(e->key);
    free(e->token);
    loop_timer_remove(e->defer);
    free(e);
}

const char *etcd_endpoint(const struct etcd *e)
{
    return e->endpoints[e->at];
}

uint64_t etcd_failed(struct etcd *e)
{
    unsigned round = e->failures / e->endpoint_count; /* each endpoint gets its turn before the wait grows */
    e->failures += e->failures < 1000000;
    e->at = (e->at + 1) % e->endpoint_count;
    e->no_auth = false;
    uint64_t wait = ETCD_BACKOFF_NS_MIN << (round < 10 ? round : 10);
    if (wait > ETCD_BACKOFF_NS_MAX)
        wait = ETCD_BACKOFF_NS_MAX;
    e->random = base_mix64(e->random + 0x9e3779b97f4a7c15ull);
    return wait / 2 + e->random % (wait / 2);
}

void etcd_succeeded(struct etcd *e)
{
    e->failures = 0;
}

/* calls */

struct etcd_call *etcd_call_new(struct etcd *e, const char *path, char *body, etcd_done_fn *done, void *user)
{
    struct etcd_call *c = body != NULL ? calloc(1, sizeof(*c)) : NULL;
    if (c == NULL) {
        free(body);
        return NULL;
    }
    *c = (struct etcd_call){.e = e, .path = path, .body = body, .timeout_ns = UNARY_TIMEOUT_NS, .done = done, .user = user};
    base_list_push_back(&e->calls, &c->link);
    return c;
}

void etcd_cancel(struct etcd_call *c)
{
    if (c == NULL)
        return;
    if (c->gone != NULL)
        *c->gone = true;
    loop_http_cancel(c->http);
    base_list_remove(&c->link);
    for (unsigned i = 0; i < c->fragment_count; i++)
        cJSON_Delete(c->fragments[i]);
    free(c->fragments);
    free(c->events);
    free(c->prefix);
    free(c->body);
    free(c);
}

void etcd_call_end(struct etcd_call *c, const struct etcd_error *error, int64_t number)
{
    etcd_done_fn *done = c->done;
    void *user = c->user;
    struct etcd_header header = c->header;
    struct etcd_error said = *error; /* it may stand in the call */
    if (said.code != ETCD_OK)
        snprintf(said.text, sizeof(said.text), "%s: %.250s", etcd_endpoint(c->e), error->text);
    etcd_cancel(c);
    done(user, &said, &header, number);
}

static void fail_later(struct etcd_call *c, enum etcd_code code, const char *text)
{
    etcd_error_set(&c->failed, code, "%s", text);
    loop_timer_set(c->e->defer, 0);
}

static bool post(struct etcd_call *c, const char *path, const char *body, bool stream, void (*done)(void *, const struct loop_http_result *));
static void send_body(struct etcd_call *c);

/* authentication */

static bool read_password(const char *file, char out[PASSWORD_BYTES_MAX])
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, PASSWORD_BYTES_MAX - 1);
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return false;
    out[n] = '\0';
    out[strcspn(out, "\r\n")] = '\0';
    return true;
}

static char *authenticate_body(const struct etcd *e)
{
    char password[PASSWORD_BYTES_MAX];
    if (!read_password(e->password_file, password))
        return NULL;
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "name", e->username);
    cJSON_AddStringToObject(o, "password", password);
    char *body = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    explicit_bzero(password, sizeof(password));
    return body;
}

static void authenticated(void *user, const struct loop_http_result *r)
{
    struct etcd_call *c = user;
    struct etcd *e = c->e;
    c->http = NULL;
    struct etcd_error error = {0};
    cJSON *root = r->ok && r->status == 200 ? etcd_json_parse(r->body, r->length) : NULL;
    const cJSON *token = cJSON_GetObjectItemCaseSensitive(root, "token");
    if (cJSON_IsString(token) && strpbrk(token->valuestring, "\r\n") == NULL) {
        free(e->token);
        e->token = strdup(token->valuestring);
    } else if (!r->ok) {
        etcd_error_set(&error, ETCD_UNAVAILABLE, "%s", r->error);
    } else {
        etcd_error_read(r->status, r->content_type, r->body, &error);
        if (strstr(error.text, "authentication is not enabled") != NULL) {
            e->no_auth = true;
            error.code = ETCD_OK;
        }
    }
    cJSON_Delete(root);
    if (error.code != ETCD_OK)
        c->reply(c, NULL, &error);
    else
        send_body(c);
}

static void authenticate(struct etcd_call *c)
{
    char *body = authenticate_body(c->e);
    if (body == NULL)
        fail_later(c, ETCD_DENIED, "the password file cannot be read");
    else if (!post(c, "/v3/auth/authenticate", body, false, authenticated))
        fail_later(c, ETCD_UNAVAILABLE, "out of memory");
    if (body != NULL)
        explicit_bzero(body, strlen(body));
    free(body);
}

/* sending and receiving */

static void answered(struct etcd_call *c, cJSON *root, const struct etcd_error *error)
{
    if (error->code == ETCD_UNAUTHENTICATED && c->e->username[0] != '\0' && !c->reauthenticated) {
        c->reauthenticated = true;
        c->plain[0] = '\0';
        c->e->no_auth = false;
        free(c->e->token);
        c->e->token = NULL;
        loop_http_cancel(c->http);
        c->http = NULL;
        etcd_call_send(c);
        return;
    }
    c->reply(c, root, error);
}

static void unary_done(void *user, const struct loop_http_result *r)
{
    struct etcd_call *c = user;
    c->http = NULL;
    struct etcd_error error = {0};
    cJSON *root = r->ok && r->status == 200 ? etcd_json_parse(r->body, r->length) : NULL;
    if (r->too_large)
        etcd_error_set(&error, ETCD_TOO_LARGE, "%s", r->error);
    else if (!r->ok)
        etcd_error_set(&error, ETCD_UNAVAILABLE, "%s", r->error);
    else if (root == NULL || etcd_error_json(&error, root))
        etcd_error_read(r->status, r->content_type, r->body, &error);
    answered(c, error.code == ETCD_OK ? root : NULL, &error);
    cJSON_Delete(root);
}

static void stream_done(void *user, const struct loop_http_result *r)
{
    struct etcd_call *c = user;
    c->http = NULL;
    struct etcd_error error = {0};
    if (r->too_large)
        etcd_error_set(&error, ETCD_TOO_LARGE, "%s", r->error);
    else if (!r->ok)
        etcd_error_set(&error, ETCD_UNAVAILABLE, "%s", r->error);
    else if (r->status != 200 || c->plain[0] != '\0')
        etcd_error_read(r->status, r->content_type, c->plain, &error);
    else
        etcd_error_set(&error, ETCD_UNAVAILABLE, "the stream ended");
    answered(c, NULL, &error);
}

void etcd_call_line(struct etcd_call *c, const char *line, size_t n)
{
    cJSON *root = etcd_json_parse(line, n);
    if (root == NULL) { /* judged with the HTTP status, at the end */
        snprintf(c->plain, sizeof(c->plain), "%s", line);
        return;
    }
    struct etcd_error error = {0};
    bool gone = false;
    c->gone = &gone;
    if (etcd_error_json(&error, root)) {
        cJSON_Delete(root);
    } else if (c->message(c, root, &error) || gone) { /* takes root over */
        if (!gone)
            c->gone = NULL;
        return;
    }
    c->gone = NULL;
    answered(c, NULL, &error);
}

static void stream_line(void *user, const char *line, size_t n)
{
    etcd_call_line(user, line, n);
}

static bool post(struct etcd_call *c, const char *path, const char *body, bool stream, void (*done)(void *, const struct loop_http_result *))
{
    struct etcd *e = c->e;
    char url[1024], token[1100];
    snprintf(token, sizeof(token), "Authorization: %s", e->token != NULL ? e->token : "");
    /* Without it a member that lost its quorum keeps a watch open in silence. */
    const char *headers[] = {"Grpc-Metadata-hasleader: true", e->token != NULL ? token : NULL, NULL};
    size_t n = strlen(etcd_endpoint(e));
    while (n > 0 && etcd_endpoint(e)[n - 1] == '/')
        n--;
    snprintf(url, sizeof(url), "%.*s%s", (int)n, etcd_endpoint(e), path);
    struct loop_http_request r = {.url = url, .body = body, .headers = headers, .ca = e->ca, .cert = e->cert, .key = e->key,
                                  .timeout_ns = stream ? 0 : c->timeout_ns, .first_byte_ns = stream ? c->first_byte_ns : 0,
                                  .max_bytes = ETCD_ANSWER_BYTES_MAX, .stream = stream};
    c->http = loop_http_post(e->loop, &r, stream ? stream_line : NULL, done, c);
    return c->http != NULL;
}

static void send_body(struct etcd_call *c)
{
    if (!post(c, c->path, c->body, c->stream, c->stream ? stream_done : unary_done))
        fail_later(c, ETCD_UNAVAILABLE, "out of memory");
}

void etcd_call_send(struct etcd_call *c)
{
    if (c->e->username[0] != '\0' && c->e->token == NULL && !c->e->no_auth)
        authenticate(c);
    else
        send_body(c);
}
