/* What an etcd gone mad may answer: lists, watch messages in fragments, errors, base64. The first byte chooses. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "etcd/etcd.h"
#include "etcd/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static unsigned seen;

static void look(const struct etcd_kv *kv, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (kv[i].key_len == 0 || kv[i].key[kv[i].key_len] != '\0' || kv[i].value[kv[i].value_len] != '\0')
            abort();
        seen += (unsigned)kv[i].key[0];
    }
}

static void page(void *user, const struct etcd_kv *kv, unsigned n)
{
    (void)user;
    look(kv, n);
}

static void created(void *user, const struct etcd_header *header)
{
    (void)user;
    seen += (unsigned)header->revision;
}

static void events(void *user, const struct etcd_header *header, const struct etcd_kv *kv, unsigned n)
{
    (void)user;
    (void)header;
    look(kv, n);
}

static void done(void *user, const struct etcd_error *error, const struct etcd_header *header, int64_t number)
{
    (void)header;
    (void)number;
    *(bool *)user = true;
    if ((error->code == ETCD_OK) != (error->text[0] == '\0'))
        abort();
}

static void watch_lines(struct etcd *e, char *text)
{
    static const struct etcd_watch_handlers handlers = {created, events, done};
    bool over = false;
    struct etcd_call *c = etcd_watch(e, "x/", 1, &handlers, &over);
    char *save;
    for (char *line = strtok_r(text, "\n", &save); line != NULL && !over; line = strtok_r(NULL, "\n", &save))
        etcd_call_line(c, line, strlen(line));
    if (!over)
        etcd_cancel(c);
}

static void unary(struct etcd *e, unsigned kind, const char *text, size_t n)
{
    bool over = false;
    struct etcd_call *c = kind == 0   ? etcd_list(e, "x/", page, done, &over)
                          : kind == 1 ? etcd_count(e, "x/", 1000000000, done, &over)
                          : kind == 2 ? etcd_lease_grant(e, 5, done, &over)
                                      : etcd_lease_keepalive(e, 5, done, &over);
    struct etcd_error none = {0};
    loop_http_cancel(c->http); /* an answer comes when its transfer is over */
    c->http = NULL;
    cJSON *root = etcd_json_parse(text, n);
    if (root != NULL)
        c->reply(c, root, &none);
    cJSON_Delete(root);
    if (!over)
        etcd_cancel(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct loop *loop;
    if (n == 0)
        return 0;
    if (loop == NULL)
        loop = loop_create();
    const char *const endpoints[] = {"http://127.0.0.1:1"};
    struct etcd *e = etcd_create(loop, &(struct etcd_options){.endpoints = endpoints, .endpoint_count = 1});
    char *text = malloc(n), *decoded = malloc(n / 4 * 3 + 1);
    memcpy(text, data + 1, n - 1);
    text[n - 1] = '\0';
    struct etcd_error error = {0};
    switch (data[0] % 7) {
    case 0:
        etcd_error_read(data[0] < 128 ? 200 : 503, data[0] & 8 ? "text/plain" : "application/json", text, &error);
        if (error.code == ETCD_OK || error.text[0] == '\0')
            abort();
        break;
    case 1:
        etcd_base64_decode(text, n - 1, decoded);
        break;
    case 2:
        watch_lines(e, text);
        break;
    default:
        unary(e, data[0] % 7 - 3, text, n - 1);
    }
    free(text);
    free(decoded);
    etcd_destroy(e);
    loop_turn(loop, 0);
    return 0;
}
