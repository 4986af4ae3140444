/* gRPC service config (grpc/doc/service_config.md, gRFC A6) in JSON -> methods with their caps and retry policies. */
#include "policy.h"

#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ATTEMPTS_MAX 5 /* gRFC A6, "Limits on Retries and Hedges" */

struct reader {
    char *error;
    size_t room;
};

static bool wrong(struct reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool wrong(struct reader *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r->error, r->room, format, args);
    va_end(args);
    return false;
}

/* google.protobuf.Duration: seconds with up to nine digits behind the point, and "s". */
static bool duration(struct reader *r, const cJSON *j, const char *name, uint64_t *ns)
{
    const char *s = cJSON_IsString(j) ? j->valuestring : "";
    uint64_t whole = 0, part = 0;
    size_t n = strspn(s, "0123456789"), digits = 0;
    for (size_t i = 0; i < n && n <= 9; i++)
        whole = whole * 10 + (uint64_t)(s[i] - '0');
    const char *at = s + n;
    if (*at == '.') {
        digits = strspn(at + 1, "0123456789");
        for (size_t i = 0; i < 9 && digits <= 9; i++)
            part = part * 10 + (uint64_t)(i < digits ? at[1 + i] - '0' : 0);
        at += 1 + digits;
    }
    if (n + digits == 0 || n > 9 || digits > 9 || strcmp(at, "s") != 0)
        return wrong(r, "`%s` must be a duration such as \"0.5s\"", name);
    *ns = whole * 1000000000ull + part;
    return true;
}

static bool code_read(struct reader *r, const cJSON *j, uint32_t *codes)
{
    static const char *const names[] = {"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
                                        "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
                                        "DATA_LOSS", "UNAUTHENTICATED"};
    for (unsigned i = 1; i < sizeof(names) / sizeof(*names); i++)
        if ((cJSON_IsString(j) && strcmp(j->valuestring, names[i]) == 0) || (cJSON_IsNumber(j) && j->valuedouble == i)) {
            *codes |= UINT32_C(1) << i;
            return true;
        }
    return wrong(r, "`retryableStatusCodes`: %s is no status that can be retried", cJSON_IsString(j) ? j->valuestring : "that");
}

static bool retry_read(struct reader *r, const cJSON *j, struct snapshot_retry *out)
{
    const cJSON *attempts = cJSON_GetObjectItemCaseSensitive(j, "maxAttempts"), *factor = cJSON_GetObjectItemCaseSensitive(j, "backoffMultiplier");
    const cJSON *codes = cJSON_GetObjectItemCaseSensitive(j, "retryableStatusCodes"), *one;
    if (!cJSON_IsNumber(attempts) || attempts->valuedouble < 2 || attempts->valuedouble != (double)(long)attempts->valuedouble)
        return wrong(r, "`retryPolicy.maxAttempts` must be an integer of at least 2");
    if (!cJSON_IsNumber(factor) || !(factor->valuedouble > 0) || factor->valuedouble > 1000)
        return wrong(r, "`retryPolicy.backoffMultiplier` must be a number above 0");
    if (!duration(r, cJSON_GetObjectItemCaseSensitive(j, "initialBackoff"), "retryPolicy.initialBackoff", &out->initial_ns) ||
        !duration(r, cJSON_GetObjectItemCaseSensitive(j, "maxBackoff"), "retryPolicy.maxBackoff", &out->max_ns))
        return false;
    if (out->initial_ns == 0 || out->max_ns == 0)
        return wrong(r, "`retryPolicy`: initialBackoff and maxBackoff must be above 0");
    if (!cJSON_IsArray(codes) || cJSON_GetArraySize(codes) == 0)
        return wrong(r, "`retryPolicy.retryableStatusCodes` must name at least one status");
    cJSON_ArrayForEach(one, codes)
        if (!code_read(r, one, &out->codes))
            return false;
    out->attempts = attempts->valuedouble > ATTEMPTS_MAX ? ATTEMPTS_MAX : (uint32_t)attempts->valuedouble;
    out->factor_x1024 = (uint32_t)(factor->valuedouble * 1024);
    return true;
}

static bool name_read(struct reader *r, const cJSON *j, struct policy_method *m)
{
    const cJSON *service = cJSON_GetObjectItemCaseSensitive(j, "service"), *method = cJSON_GetObjectItemCaseSensitive(j, "method");
    const char *s = cJSON_IsString(service) ? service->valuestring : "", *f = cJSON_IsString(method) ? method->valuestring : "";
    if (!cJSON_IsObject(j) || (service != NULL && !cJSON_IsString(service)) || (method != NULL && !cJSON_IsString(method)))
        return wrong(r, "`name` must be an object with \"service\" and \"method\"");
    if (s[0] == '\0' && f[0] != '\0')
        return wrong(r, "`name`: a method without a service");
    int n = s[0] == '\0' ? 0 : snprintf(m->path, sizeof(m->path), "/%s/%s", s, f);
    if (n >= (int)sizeof(m->path))
        return wrong(r, "`name`: \"%.40s...\" is too long", s);
    m->match = s[0] == '\0' ? SNAPSHOT_ANY : f[0] == '\0' ? SNAPSHOT_PREFIX : SNAPSHOT_EXACT;
    return true;
}

static bool method_config_read(struct reader *r, const cJSON *j, struct policy_service *out)
{
    struct policy_method base = {0};
    const cJSON *names = cJSON_GetObjectItemCaseSensitive(j, "name"), *one;
    const cJSON *timeout = cJSON_GetObjectItemCaseSensitive(j, "timeout"), *retry = cJSON_GetObjectItemCaseSensitive(j, "retryPolicy");
    if (!cJSON_IsObject(j) || (names != NULL && !cJSON_IsArray(names)))
        return wrong(r, "every element of `methodConfig` must be an object with a list `name`");
    if (cJSON_HasObjectItem(j, "hedgingPolicy"))
        return wrong(r, "`hedgingPolicy`: not yet; a later version brings it");
    if ((timeout != NULL && !duration(r, timeout, "timeout", &base.timeout_ns)) || (retry != NULL && !retry_read(r, retry, &base.retry)))
        return false;
    cJSON_ArrayForEach(one, names)
    {
        struct policy_method m = base;
        if (out->count == POLICY_METHODS_MAX)
            return wrong(r, "more than %d names in `methodConfig`", POLICY_METHODS_MAX);
        if (!name_read(r, one, &m))
            return false;
        for (unsigned i = 0; i < out->count; i++)
            if (out->method[i].match == m.match && strcmp(out->method[i].path, m.path) == 0)
                return wrong(r, "`name`: \"%s\" stands twice", m.match == SNAPSHOT_ANY ? "{}" : m.path);
        out->method[out->count++] = m;
    }
    return true;
}

static bool throttle_read(struct reader *r, const cJSON *j, struct policy_service *out)
{
    const cJSON *max = cJSON_GetObjectItemCaseSensitive(j, "maxTokens"), *ratio = cJSON_GetObjectItemCaseSensitive(j, "tokenRatio");
    if (!cJSON_IsNumber(max) || !(max->valuedouble > 0) || max->valuedouble > 1000)
        return wrong(r, "`retryThrottling.maxTokens` must be above 0 and at most 1000");
    if (!cJSON_IsNumber(ratio) || !(ratio->valuedouble > 0) || ratio->valuedouble > 1000)
        return wrong(r, "`retryThrottling.tokenRatio` must be above 0");
    out->throttle_max = (uint32_t)(max->valuedouble * 1000);
    out->throttle_ratio = (uint32_t)(ratio->valuedouble * 1000); /* three places, as gRPC has it */
    return true;
}

/* The most specific first: exact, service, all. */
static int by_match(const void *a, const void *b)
{
    static const uint8_t rank[] = {[SNAPSHOT_EXACT] = 0, [SNAPSHOT_PREFIX] = 1, [SNAPSHOT_ANY] = 2};
    const struct policy_method *x = a, *y = b;
    return x->match != y->match ? rank[x->match] - rank[y->match] : strcmp(x->path, y->path);
}

bool policy_service_parse(const char *json, struct policy_service *out, char *error, size_t room)
{
    struct reader r = {error, room};
    memset(out, 0, sizeof(*out));
    cJSON *root = cJSON_ParseWithOpts(json, NULL, true);
    const cJSON *methods = cJSON_GetObjectItemCaseSensitive(root, "methodConfig"), *one;
    const cJSON *throttle = cJSON_GetObjectItemCaseSensitive(root, "retryThrottling");
    bool ok = cJSON_IsObject(root) || wrong(&r, "this is no JSON object");
    if (ok && methods != NULL && !cJSON_IsArray(methods))
        ok = wrong(&r, "`methodConfig` must be a list");
    if (ok)
        cJSON_ArrayForEach(one, methods)
            if (ok)
                ok = method_config_read(&r, one, out);
    if (ok && throttle != NULL)
        ok = throttle_read(&r, throttle, out);
    cJSON_Delete(root);
    qsort(out->method, out->count, sizeof(*out->method), by_match);
    return ok;
}
