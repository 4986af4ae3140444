/* Whatever etcd says when it refuses, as a code to act on and words that say what to do.
 *
 *   3.4 unary    {"error":"etcdserver: ...","message":"etcdserver: ...","code":N}
 *   3.4 stream   {"error":{"grpc_code":14,"http_code":503,"message":"...","http_status":"..."}}
 *   3.5+ unary   {"code":3,"message":"...","details":[...]}
 *   3.5+ stream  {"error":{"code":14,"message":"..."}}
 *   the server   text/plain: "404 page not found", "Method Not Allowed"
 *   a watch      "cancel_reason":"rpc error: code = PermissionDenied desc = ..." */
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>

void etcd_error_set(struct etcd_error *e, enum etcd_code code, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    e->code = code;
    vsnprintf(e->text, sizeof(e->text), format, ap);
    va_end(ap);
}

/* The first hit counts; words before codes, as the same cause comes with different codes in different versions. */
static const struct {
    const char *part;
    enum etcd_code code;
    const char *advice;
} known[] = {
    {"has been compacted", ETCD_COMPACTED, ""},
    {"required revision is a future revision", ETCD_COMPACTED, ""}, /* a wiped cluster: what we know is gone as well */
    {"requested lease not found", ETCD_NOT_FOUND, ""},
    {"user name is empty", ETCD_UNAUTHENTICATED, ": etcd has authentication switched on; set etcd.username and etcd.password_file"},
    {"invalid auth token", ETCD_UNAUTHENTICATED, ""},
    {"authentication is not enabled", ETCD_REFUSED, ""},
    {"authentication failed", ETCD_DENIED, ": check etcd.username and the file named by etcd.password_file"},
    {"permission denied", ETCD_DENIED, ": grant the user's role READ on the prefix (etcdctl role grant-permission ROLE --prefix=true read PREFIX)"},
    {"connection closed", ETCD_UNAVAILABLE,
     ": etcd's gateway cannot reach its own server; with --client-cert-auth the server's certificate needs the extended key usage clientAuth as well"},
    {"no leader", ETCD_UNAVAILABLE, ": the etcd cluster has lost its quorum"},
    {"leader changed", ETCD_UNAVAILABLE, ""},
    {"context deadline exceeded", ETCD_UNAVAILABLE, ""},
    {"request timed out", ETCD_UNAVAILABLE, ""},
    {"transport is closing", ETCD_UNAVAILABLE, ": etcd is shutting down"},
    {"error reading from server", ETCD_UNAVAILABLE, ": etcd is shutting down"},
    {"too many requests", ETCD_UNAVAILABLE, ""},
};

void etcd_error_words(struct etcd_error *e, int grpc_code, const char *words)
{
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (strstr(words, known[i].part) != NULL) {
            etcd_error_set(e, known[i].code, "etcd says \"%.120s\"%s", words, known[i].advice);
            return;
        }
    }
    enum etcd_code code = grpc_code == 16 || strstr(words, "code = Unauthenticated") != NULL ? ETCD_UNAUTHENTICATED
                          : grpc_code == 7 || strstr(words, "code = PermissionDenied") != NULL ? ETCD_DENIED
                          : grpc_code == 14 || strstr(words, "code = Unavailable") != NULL   ? ETCD_UNAVAILABLE
                                                                                             : ETCD_REFUSED;
    etcd_error_set(e, code, "etcd says \"%.200s\"", words);
}

bool etcd_error_json(struct etcd_error *e, const cJSON *root)
{
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(root, "error");
    const cJSON *from = cJSON_IsObject(error) ? error : root;
    const cJSON *message = cJSON_GetObjectItemCaseSensitive(from, "message");
    const cJSON *code = cJSON_GetObjectItemCaseSensitive(from, "grpc_code");
    if (code == NULL)
        code = cJSON_GetObjectItemCaseSensitive(from, "code");
    if (message == NULL && cJSON_IsString(error))
        message = error;
    if (error == NULL && (message == NULL || code == NULL))
        return false;
    etcd_error_words(e, cJSON_IsNumber(code) ? code->valueint : -1, cJSON_IsString(message) ? message->valuestring : "an error without words");
    return true;
}

void etcd_error_read(long status, const char *content_type, const char *body, struct etcd_error *out)
{
    cJSON *root = etcd_json_parse(body, strlen(body));
    bool said = root != NULL && etcd_error_json(out, root);
    cJSON_Delete(root);
    if (said)
        return;
    bool plain = strncmp(content_type, "text/plain", 10) == 0;
    if (status == 404 && plain)
        etcd_error_set(out, ETCD_GATEWAY_OFF,
                       "answers 404 to /v3: if this is etcd, its gRPC gateway is switched off; start it with --enable-grpc-gateway, or with "
                       "\"enable-grpc-gateway: true\" in the file named by --config-file (etcd 3.4 needs it there), and use its client URL");
    else if (status >= 500)
        etcd_error_set(out, ETCD_UNAVAILABLE, "answers HTTP %ld \"%.80s\"", status, body);
    else if (status == 200)
        etcd_error_set(out, ETCD_NONSENSE, "answers with something that is not etcd's JSON; is this an etcd client URL?");
    else
        etcd_error_set(out, ETCD_GATEWAY_OFF, "answers HTTP %ld \"%.80s\"; is this an etcd client URL?", status, body);
}
