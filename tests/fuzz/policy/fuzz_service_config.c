/* gRPC service config in JSON: any text; what is accepted keeps the bounds that the data plane counts on, what is not says why. */
#include "policy/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static void retry_check(const struct snapshot_retry *r)
{
    if (r->attempts == 0)
        return;
    must(r->attempts >= 2 && r->attempts <= 5, "attempts");
    must(r->initial_ns > 0 && r->max_ns > 0, "a back-off of nothing");
    must(r->codes != 0 && (r->codes & 1) == 0 && r->codes < 1u << 17, "codes");
    must(r->factor_x1024 <= 1000 * 1024, "factor");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct policy_service out;
    char error[200] = "";
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    memset(&out, 0xa5, sizeof(out)); /* nothing may be left to chance */
    if (policy_service_parse(text, &out, error, sizeof(error))) {
        must(out.count <= POLICY_METHODS_MAX, "too many methods");
        must(out.throttle_max <= 1000 * 1000, "throttling beyond gRFC A6");
        for (unsigned i = 0; i < out.count; i++) {
            const struct policy_method *m = &out.method[i];
            must(memchr(m->path, 0, sizeof(m->path)) != NULL, "a path without an end");
            must(m->match == SNAPSHOT_ANY || (m->match <= SNAPSHOT_PREFIX && m->path[0] == '/'), "a path that none is");
            must(i == 0 || m->match != SNAPSHOT_EXACT || out.method[i - 1].match == SNAPSHOT_EXACT, "the most specific comes first");
            retry_check(&m->retry);
        }
    } else {
        must(error[0] != 0 && memchr(error, 0, sizeof(error)) != NULL, "refused without a word");
    }
    free(text);
    return 0;
}
