/* penstockctl connections, penstockctl capture.  A capture is streamed by the admin server and written here: so it works wherever penstockctl
 * runs and as whomever, and the file belongs to who asked for it. */
#include "penstockctl_eyes.h"

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK, FAILED, USAGE };

struct arguments {
    const char *address, *command, *file, *filter, *seconds, *snaplen;
    bool json;
};

static volatile sig_atomic_t interrupts;

static void on_interrupt(int number)
{
    (void)number;
    interrupts++;
}

/* ---- HTTP ---- */

struct text {
    char *text;
    size_t length;
};

static size_t collect(char *data, size_t size, size_t n, void *user)
{
    struct text *t = user;
    n *= size;
    char *more = realloc(t->text, t->length + n + 1);
    if (more == NULL)
        return 0;
    t->text = more;
    memcpy(more + t->length, data, n);
    t->length += n;
    more[t->length] = '\0';
    return n;
}

static CURL *request(const char *address, const char *path, const char *body, char *detail)
{
    char url[512];
    CURL *curl = curl_easy_init();
    if (curl == NULL || (size_t)snprintf(url, sizeof(url), "http://%s%s", address, path) >= sizeof(url)) {
        fprintf(stderr, "penstockctl: \"%s\" is no HOST:PORT\n", address);
        curl_easy_cleanup(curl);
        return NULL;
    }
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "penstockctl/" PENSTOCK_VERSION);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    if (body != NULL)
        curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, body);
    return curl;
}

static void explain(const char *address, CURLcode code, const char *detail)
{
    if (code == CURLE_COULDNT_CONNECT)
        fprintf(stderr, "penstockctl: nothing answers at %s (%s). Is penstock running? Its admin.bind is the address to give with -a\n", address, detail);
    else
        fprintf(stderr, "penstockctl: asking %s failed: %s\n", address, detail[0] != '\0' ? detail : curl_easy_strerror(code));
}

static void explain_status(const char *address, long status, const struct text *t)
{
    cJSON *root = cJSON_ParseWithLength(t->text != NULL ? t->text : "", t->length);
    const char *why = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "error"));
    if (why != NULL)
        fprintf(stderr, "penstockctl: %s\n", why);
    else
        fprintf(stderr, "penstockctl: %s answered with HTTP status %ld, not as penstock does: is it penstock's admin.bind?\n", address, status);
    cJSON_Delete(root);
}

/* NULL: said why, unless `quiet`. */
static cJSON *ask(const char *address, const char *path, bool quiet)
{
    char detail[CURL_ERROR_SIZE] = "";
    struct text t = {0};
    long status = 0;
    cJSON *root = NULL;
    CURL *curl = request(address, path, NULL, detail);
    if (curl == NULL)
        return NULL;
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 10L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &t);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    if (code == CURLE_OK && status == 200)
        root = cJSON_ParseWithLength(t.text != NULL ? t.text : "", t.length);
    if (root == NULL && !quiet && code != CURLE_OK)
        explain(address, code, detail);
    else if (root == NULL && !quiet)
        explain_status(address, status, &t);
    free(t.text);
    return root;
}

/* ---- connections ---- */

static void print_connection(const cJSON *c)
{
    bool client = strcmp(text_of(c, "side"), "client") == 0;
    printf("%-12s %-8s worker %.0f  %s <-> %s  %s%s%s%s\n", text_of(c, "state"), text_of(c, "side"), number_of(c, "worker"), text_of(c, "local"),
           text_of(c, "remote"), client ? "listener " : "cluster ", text_of(c, client ? "listener" : "cluster"),
           cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(c, "closing")) ? "  closing" : "", "");
    printf("\t mss:%.0f cwnd:%.0f rtt:%.3f/%.3f rto:%.0f bytes_in:%.0f bytes_out:%.0f retrans:%.0f unsent:%.0f unread:%.0f in_flight:%.0f "
           "snd_wnd:%.0f rcv_wnd:%.0f\n",
           number_of(c, "mss"), number_of(c, "cwnd"), number_of(c, "srtt_us") / 1e3, number_of(c, "rttvar_us") / 1e3, number_of(c, "rto_us") / 1e3,
           number_of(c, "bytes_in"), number_of(c, "bytes_out"), number_of(c, "retransmits"), number_of(c, "unsent"), number_of(c, "unread"),
           number_of(c, "in_flight"), number_of(c, "send_window"), number_of(c, "receive_window"));
    if (cJSON_GetObjectItemCaseSensitive(c, "streams") != NULL)
        printf("\t streams:%.0f h2_snd_wnd:%.0f h2_rcv_wnd:%.0f age:%.1fs\n", number_of(c, "streams"), number_of(c, "h2_send_window"),
               number_of(c, "h2_receive_window"), number_of(c, "age_seconds"));
}

static int connections(const struct arguments *a)
{
    cJSON *root = ask(a->address, "/api/v1/connections", false);
    const cJSON *c;
    if (root == NULL)
        return FAILED;
    bool complete = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "complete"));
    if (a->json) {
        char *text = cJSON_Print(root);
        puts(text != NULL ? text : "");
        cJSON_free(text);
    } else {
        cJSON_ArrayForEach (c, cJSON_GetObjectItemCaseSensitive(root, "connections"))
            print_connection(c);
    }
    if (!complete)
        fprintf(stderr, "penstockctl: %s\n", text_of(root, "words"));
    cJSON_Delete(root);
    return complete && fflush(stdout) == 0 ? OK : FAILED;
}

/* ---- capture ---- */

struct capture {
    const char *file;
    FILE *to; /* opened with the first bytes: a refusal leaves what is there alone */
    CURL *curl;
    uint64_t written;
    uint64_t whole;     /* bytes up to the end of the last whole block */
    uint8_t head[8];    /* type and length of the block that is coming */
    uint32_t head_have;
    uint64_t left;      /* of the block, behind its head */
    bool failed;
    struct text refusal;
};

/* pcapng blocks: type, length, body (draft-ietf-opsawg-pcapng section 3.1). */
static void follow_blocks(struct capture *c, const uint8_t *data, size_t n)
{
    uint64_t at = c->written;
    while (n > 0) {
        size_t k;
        if (c->left > 0) {
            k = n < c->left ? n : (size_t)c->left;
            c->left -= k;
        } else {
            k = sizeof(c->head) - c->head_have < n ? sizeof(c->head) - c->head_have : n;
            memcpy(c->head + c->head_have, data, k);
            c->head_have += (uint32_t)k;
            if (c->head_have == sizeof(c->head)) {
                uint32_t length;
                memcpy(&length, c->head + 4, 4);
                c->left = length > 8 ? length - 8 : 0;
            }
        }
        data += k, n -= k, at += k;
        if (c->left == 0 && c->head_have == sizeof(c->head)) {
            c->whole = at;
            c->head_have = 0;
        }
    }
}

static size_t take(char *data, size_t size, size_t n, void *user)
{
    struct capture *c = user;
    long status = 0;
    n *= size;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
        return collect(data, 1, n, &c->refusal);
    if (c->to == NULL)
        c->to = strcmp(c->file, "-") == 0 ? stdout : fopen(c->file, "wb");
    follow_blocks(c, (const uint8_t *)data, n);
    if (c->to == NULL || fwrite(data, 1, n, c->to) != n || fflush(c->to) != 0) {
        c->failed = true;
        return 0;
    }
    c->written += n;
    return n;
}

static char *capture_body(const struct arguments *a)
{
    cJSON *o = cJSON_CreateObject();
    if (a->filter != NULL)
        cJSON_AddStringToObject(o, "filter", a->filter);
    if (a->seconds != NULL)
        cJSON_AddNumberToObject(o, "seconds", strtod(a->seconds, NULL));
    if (a->snaplen != NULL)
        cJSON_AddNumberToObject(o, "snaplen", strtod(a->snaplen, NULL));
    char *text = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    return text;
}

/* Runs until the answer has ended.  The first Ctrl-C asks for the end and waits for the rest, the second one leaves at once. */
static CURLcode stream(const struct arguments *a, struct capture *c)
{
    char detail[CURL_ERROR_SIZE] = "";
    struct text nothing = {0};
    CURLM *multi = curl_multi_init();
    CURL *stop = NULL;
    CURLcode code = CURLE_ABORTED_BY_CALLBACK;
    curl_multi_add_handle(multi, c->curl);
    for (bool over = false; !over && interrupts < 2;) {
        int running, left;
        if (interrupts == 1 && stop == NULL) {
            stop = request(a->address, "/api/v1/capture/stop", "", detail);
            curl_easy_setopt(stop, CURLOPT_WRITEFUNCTION, collect);
            curl_easy_setopt(stop, CURLOPT_WRITEDATA, &nothing);
            curl_multi_add_handle(multi, stop);
        }
        curl_multi_perform(multi, &running);
        for (CURLMsg *m; (m = curl_multi_info_read(multi, &left)) != NULL;)
            if (m->msg == CURLMSG_DONE && m->easy_handle == c->curl) {
                code = m->data.result;
                over = true;
            }
        if (!over)
            curl_multi_poll(multi, NULL, 0, 200, NULL);
    }
    curl_multi_remove_handle(multi, c->curl);
    if (stop != NULL) {
        curl_multi_remove_handle(multi, stop);
        curl_easy_cleanup(stop);
    }
    curl_multi_cleanup(multi);
    free(nothing.text);
    return code;
}

/* Frames and losses, on stderr: the file may be standard output. */
static void tell(const struct arguments *a)
{
    cJSON *root = ask(a->address, "/api/v1/capture/status", true);
    double lost = number_of(root, "lost");
    if (root == NULL)
        return;
    fprintf(stderr, "%.0f frames written to %s, %.0f seen, %.0f lost for want of room%s\n", number_of(root, "frames"), a->file, number_of(root, "seen"),
            lost, lost > 0 ? " (a narrower --filter or a smaller --snaplen loses fewer)" : "");
    cJSON_Delete(root);
}

static int capture_end(const struct arguments *a, struct capture *c, CURLcode code, const char *detail)
{
    long status = 0;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 0 && status != 200) {
        explain_status(a->address, status, &c->refusal);
        return FAILED;
    }
    if (c->written > c->whole && ftruncate(fileno(c->to), (off_t)c->whole) != 0 && errno != EINVAL)
        fprintf(stderr, "penstockctl: the last frame in %s is not whole\n", a->file);
    if (c->failed) {
        fprintf(stderr, "penstockctl: %s can't be written: %s\n", a->file, strerror(errno));
        return FAILED;
    }
    if (code != CURLE_OK && interrupts == 0) {
        if (c->written == 0)
            explain(a->address, code, detail);
        else
            fprintf(stderr, "penstockctl: the capture ended early (%s); what came is in %s\n", detail[0] != '\0' ? detail : curl_easy_strerror(code), a->file);
        return FAILED;
    }
    tell(a);
    return OK;
}

static int capture(const struct arguments *a)
{
    char detail[CURL_ERROR_SIZE] = "";
    struct sigaction sa = {.sa_handler = on_interrupt};
    struct capture c = {.file = a->file};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    char *body = capture_body(a);
    c.curl = request(a->address, "/api/v1/capture", body, detail);
    free(body);
    int status = FAILED;
    if (c.curl != NULL) {
        curl_easy_setopt(c.curl, CURLOPT_WRITEFUNCTION, take);
        curl_easy_setopt(c.curl, CURLOPT_WRITEDATA, &c);
        CURLcode code = stream(a, &c);
        status = capture_end(a, &c, code, detail);
        curl_easy_cleanup(c.curl);
    }
    free(c.refusal.text);
    bool closed = c.to == NULL || c.to == stdout || fclose(c.to) == 0;
    return closed ? status : FAILED;
}

/* ---- arguments ---- */

static bool number(const char *text)
{
    char *end;
    double v = strtod(text, &end);
    return end != text && *end == '\0' && v >= 0;
}

static int check(const struct arguments *a, int rest)
{
    const char *wrong = NULL;
    if (strcmp(a->command, "connections") == 0)
        wrong = rest > 0 ? "connections takes no argument" : NULL;
    else if (a->file == NULL)
        wrong = "capture wants the FILE to write";
    else if (rest > 0)
        wrong = "capture takes one FILE; a filter goes behind --filter, in quotes";
    if (a->seconds != NULL && !number(a->seconds))
        wrong = "--seconds wants a number";
    if (a->snaplen != NULL && !number(a->snaplen))
        wrong = "--snaplen wants a number of bytes";
    if (wrong == NULL)
        return -1;
    fprintf(stderr, "penstockctl: %s\nTry: penstockctl --help\n", wrong);
    return USAGE;
}

int eyes_main(int argc, char **argv, const char *default_address)
{
    enum { FILTER = 256, SECONDS, SNAPLEN };
    static const struct option options[] = {{"admin", required_argument, NULL, 'a'},       {"json", no_argument, NULL, 'j'},
                                            {"filter", required_argument, NULL, FILTER},   {"seconds", required_argument, NULL, SECONDS},
                                            {"snaplen", required_argument, NULL, SNAPLEN}, {NULL, 0, NULL, 0}};
    struct arguments a = {.address = default_address};
    bool strange = false;
    opterr = 0;
    for (int o; (o = getopt_long(argc, argv, "a:j", options, NULL)) != -1;)
        switch (o) {
        case 'a':
            a.address = optarg;
            break;
        case 'j':
            a.json = true;
            break;
        case FILTER:
            a.filter = optarg;
            break;
        case SECONDS:
            a.seconds = optarg;
            break;
        case SNAPLEN:
            a.snaplen = optarg;
            break;
        default:
            strange = true;
            break;
        }
    a.command = optind < argc ? argv[optind++] : "";
    bool captures = strcmp(a.command, "capture") == 0;
    if (strange || (!captures && strcmp(a.command, "connections") != 0)) {
        optind = 0; /* getopt begins anew */
        opterr = 1;
        return -1;
    }
    if (captures && optind < argc)
        a.file = argv[optind++];
    int status = check(&a, argc - optind);
    if (status >= 0)
        return status;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    status = captures ? capture(&a) : connections(&a);
    curl_global_cleanup();
    return status;
}
