/* penstockctl: what a running penstock says about itself, as tables for people or JSON for scripts.  It speaks to the
 * admin server and knows nothing else. */
#include "penstockctl_eyes.h"

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEFAULT_ADDRESS  "127.0.0.1:9901"
#define ANSWER_BYTES_MAX (256u << 20)
#define TIMEOUT_S        10

enum { OK, FAILED, USAGE }; /* exit statuses */

struct arguments {
    const char *address;
    bool json;
    const char *command;
    const char *operand; /* NULL: none */
    const char *endpoint, *weight; /* of an order */
    bool wait;
};

static void help(FILE *to)
{
    fputs("Usage: penstockctl [-a HOST:PORT] [--json] COMMAND [ARGUMENT]\n"
          "\n"
          "Asks a running penstock how it does.\n"
          "\n"
          "Commands\n"
          "  status               version, uptime, listeners, connections and RPCs in a few lines\n"
          "  clusters             a line for each cluster: policy, endpoints, how fresh the registry's word is\n"
          "  endpoints [CLUSTER]  a line for each endpoint: weight, state, RPCs\n"
          EYES_COMMANDS
          "  reload               loads the configuration file anew; where it is refused every fault is told\n"
          "  drain CLUSTER ENDPOINT [--wait]\n"
          "                       no new RPC goes there; --wait: returns when none runs there any more\n"
          "  undrain CLUSTER ENDPOINT\n"
          "  weight CLUSTER ENDPOINT N|auto\n"
          "                       a weight by hand, which beats the registry's until undrain or \"auto\", or a restart\n"
          "\n"
          "Not yet (they exit 1)\n"
          "  explain, top\n"
          "\n"
          "Options\n"
          "  -a, --admin HOST:PORT  penstock's admin.bind; " DEFAULT_ADDRESS " if not given; [IPv6]:PORT too\n"
          "  -w, --wait             drain: until its RPCs have ended\n"
          "  -j, --json             the answer as JSON, for scripts\n"
          EYES_OPTIONS
          "  -h, --help             this text\n"
          "  -V, --version          the version\n"
          "\n"
          "Examples\n"
          "  penstockctl status\n"
          "  penstockctl endpoints echo\n"
          "  penstockctl --json clusters | jq '.clusters[].endpoints[] | select(.state != \"READY\")'\n"
          "\n"
          "Exit status: 0 done; 1 it could not be done, stderr says why; 2 wrong usage.\n",
          to);
}

static int misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int misuse(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("penstockctl: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\nTry: penstockctl --help\n", stderr);
    va_end(args);
    return USAGE;
}

/* The answer's text, grown as it comes. */
struct answer {
    char *text;
    size_t length;
    long status;
};

static size_t collect(char *data, size_t size, size_t n, void *user)
{
    struct answer *a = user;
    n *= size;
    if (a->length + n > ANSWER_BYTES_MAX)
        return 0;
    char *text = realloc(a->text, a->length + n + 1);
    if (text == NULL)
        return 0;
    a->text = text;
    memcpy(text + a->length, data, n);
    a->length += n;
    text[a->length] = '\0';
    return n;
}

static void explain_failure(CURLcode code, const char *address, const char *detail)
{
    switch (code) {
    case CURLE_COULDNT_CONNECT:
        fprintf(stderr,
                "penstockctl: nothing answers at %s (%s). Is penstock running? Its admin.bind is the address to give "
                "with -a; the default is %s.\n",
                address, detail, DEFAULT_ADDRESS);
        break;
    case CURLE_OPERATION_TIMEDOUT:
        fprintf(stderr,
                "penstockctl: %s did not answer within %d s: is it penstock's admin.bind, and is the way to it open?\n",
                address, TIMEOUT_S);
        break;
    case CURLE_COULDNT_RESOLVE_HOST:
        fprintf(stderr, "penstockctl: the host of \"%s\" can't be resolved; -a takes HOST:PORT, such as %s\n", address,
                DEFAULT_ADDRESS);
        break;
    default:
        fprintf(stderr, "penstockctl: asking %s failed: %s\n", address, detail);
        break;
    }
}

/* GET, or POST where there is a body.  False: said on stderr why. */
static bool get(const char *address, const char *path, const char *body, struct answer *out)
{
    char url[512], detail[CURL_ERROR_SIZE] = "";
    CURL *curl = curl_easy_init();
    if (curl == NULL || (size_t)snprintf(url, sizeof(url), "http://%s%s", address, path) >= sizeof(url)) {
        fprintf(stderr, "penstockctl: \"%s\" is no HOST:PORT\n", address);
        curl_easy_cleanup(curl);
        return false;
    }
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* an operator's http_proxy is not meant for this */
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "penstockctl/" PENSTOCK_VERSION);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
    if (body != NULL)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &out->status);
    curl_easy_cleanup(curl);
    if (code == CURLE_OK)
        return true;
    explain_failure(code, address, detail[0] != '\0' ? detail : curl_easy_strerror(code));
    return false;
}

static const char *text_of(const cJSON *o, const char *name);

/* A reload that was refused: each of its sentences stands as it is, so that an editor finds the line. */
static void print_lines(const cJSON *root, const char *name)
{
    const cJSON *line;
    cJSON_ArrayForEach (line, cJSON_GetObjectItemCaseSensitive(root, name))
        if (cJSON_IsString(line))
            fprintf(stderr, "%s\n", line->valuestring);
}

static cJSON *ask_with(const char *address, const char *path, const char *body)
{
    struct answer a = {0};
    cJSON *root = NULL;
    if (get(address, path, body, &a)) {
        root = cJSON_ParseWithLength(a.text != NULL ? a.text : "", a.length);
        const char *why = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "error"));
        if (a.status != 200 || !cJSON_IsObject(root)) {
            print_lines(root, "warnings");
            print_lines(root, "errors");
            if (cJSON_GetObjectItemCaseSensitive(root, "errors") != NULL)
                fprintf(stderr, "penstockctl: refused; what runs stays as it is\n");
            else if (why != NULL)
                fprintf(stderr, "penstockctl: %s\n", why);
            else
                fprintf(stderr,
                        "penstockctl: %s answered with HTTP status %ld, not as penstock does: is it penstock's "
                        "admin.bind?\n",
                        address, a.status);
            cJSON_Delete(root);
            root = NULL;
        }
    }
    free(a.text);
    return root;
}

static cJSON *ask(const char *address, const char *path)
{
    return ask_with(address, path, NULL);
}

#define COLUMNS_MAX 8
#define CELL        160

/* A table whose columns are as wide as their widest cell; numbers stand to the right. */
struct table {
    unsigned columns, rows;
    const char *head[COLUMNS_MAX];
    bool right[COLUMNS_MAX];
    char (*cell)[COLUMNS_MAX][CELL];
};

static void cell(struct table *t, unsigned row, unsigned column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void cell(struct table *t, unsigned row, unsigned column, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(t->cell[row][column], CELL, format, args);
    va_end(args);
    for (char *p = t->cell[row][column]; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            *p = '?'; /* a terminal obeys what it is shown */
}

static void print_row(const struct table *t, const unsigned *width, unsigned row, bool head)
{
    for (unsigned i = 0; i < t->columns; i++) {
        const char *s = head ? t->head[i] : t->cell[row][i];
        bool last = i + 1 == t->columns;
        if (t->right[i])
            printf("%*s%s", (int)width[i], s, last ? "\n" : "  ");
        else if (last)
            printf("%s\n", s);
        else
            printf("%-*s  ", (int)width[i], s);
    }
}

static void print_table(const struct table *t)
{
    unsigned width[COLUMNS_MAX];
    for (unsigned i = 0; i < t->columns; i++) {
        width[i] = (unsigned)strlen(t->head[i]);
        for (unsigned r = 0; r < t->rows; r++)
            if (strlen(t->cell[r][i]) > width[i])
                width[i] = (unsigned)strlen(t->cell[r][i]);
    }
    print_row(t, width, 0, true);
    for (unsigned r = 0; r < t->rows; r++)
        print_row(t, width, r, false);
}

static bool make_rows(struct table *t, unsigned rows)
{
    t->cell = calloc(rows != 0 ? rows : 1, sizeof(*t->cell));
    if (t->cell == NULL)
        fputs("penstockctl: out of memory\n", stderr);
    return t->cell != NULL;
}

static void format_seconds(char out[CELL], double s)
{
    if (s < 120)
        snprintf(out, CELL, "%.1f s", s);
    else if (s < 7200)
        snprintf(out, CELL, "%.0f min", s / 60);
    else if (s < 172800)
        snprintf(out, CELL, "%.1f h", s / 3600);
    else
        snprintf(out, CELL, "%.1f days", s / 86400);
}

static void print_status(const cJSON *root)
{
    const cJSON *endpoints = cJSON_GetObjectItemCaseSensitive(root, "endpoints"),
                *rpcs = cJSON_GetObjectItemCaseSensitive(root, "rpcs"), *l;
    const cJSON *connections = cJSON_GetObjectItemCaseSensitive(root, "connections");
    char uptime[CELL];
    bool ready = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "ready"));
    format_seconds(uptime, number_of(root, "uptime_seconds"));
    printf("penstock %s, %s for %s, %s%s\n", text_of(root, "version"), text_of(root, "state"), uptime,
           ready ? "ready" : "not ready: ", ready ? "" : text_of(root, "not_ready"));
    printf("configuration  %s, generation %.0f, %.0f worker%s\n", text_of(root, "config"),
           number_of(root, "generation"), number_of(root, "workers"), number_of(root, "workers") == 1 ? "" : "s");
    cJSON_ArrayForEach (l, cJSON_GetObjectItemCaseSensitive(root, "listeners"))
        printf("listener       %s at %s\n", text_of(l, "name"), text_of(l, "bind"));
    printf("endpoints      %.0f READY of %.0f, in %.0f cluster%s\n", number_of(endpoints, "ready"),
           number_of(endpoints, "present"), number_of(root, "clusters"), number_of(root, "clusters") == 1 ? "" : "s");
    if (connections != NULL)
        printf("connections    %.0f of clients, %.0f to backends\n", number_of(connections, "client"),
               number_of(connections, "backend"));
    printf("RPCs           %.0f now, %.0f ended, %.0f of them not OK\n", number_of(rpcs, "active"),
           number_of(rpcs, "ended"), number_of(rpcs, "not_ok"));
}

static bool print_clusters(const cJSON *root)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "clusters"), *c, *e;
    struct table t = {.columns = 8,
                      .head = {"CLUSTER", "POLICY", "READY", "ENDPOINTS", "STREAMS", "RPCS", "FRESH", "SOURCE"},
                      .right = {0, 0, 1, 1, 1, 1, 1, 0}};
    if (!make_rows(&t, (unsigned)cJSON_GetArraySize(list)))
        return false;
    cJSON_ArrayForEach (c, list) {
        unsigned ready = 0, n = 0;
        double streams = 0, rpcs = 0;
        char age[CELL];
        cJSON_ArrayForEach (e, cJSON_GetObjectItemCaseSensitive(c, "endpoints")) {
            n++;
            ready += strcmp(text_of(e, "state"), "READY") == 0;
            streams += number_of(e, "active_streams");
            rpcs += number_of(e, "rpcs");
        }
        format_seconds(age, number_of(c, "stale_seconds"));
        cell(&t, t.rows, 0, "%s", text_of(c, "name"));
        cell(&t, t.rows, 1, "%s", text_of(c, "policy"));
        cell(&t, t.rows, 2, "%u", ready);
        cell(&t, t.rows, 3, "%u", n);
        cell(&t, t.rows, 4, "%.0f", streams);
        cell(&t, t.rows, 5, "%.0f", rpcs);
        cell(&t, t.rows, 6, "%s", age);
        cell(&t, t.rows, 7, "%s", text_of(c, "source"));
        t.rows++;
    }
    print_table(&t);
    free(t.cell);
    return true;
}

static bool print_endpoints(const cJSON *root)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "clusters"), *c, *e;
    struct table t = {.columns = 8,
                      .head = {"CLUSTER", "ENDPOINT", "STATE", "WEIGHT", "STREAMS", "RPCS", "CONNECTS", "FAILURES"},
                      .right = {0, 0, 0, 1, 1, 1, 1, 1}};
    unsigned n = 0;
    cJSON_ArrayForEach (c, list)
        n += (unsigned)cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(c, "endpoints"));
    if (!make_rows(&t, n))
        return false;
    cJSON_ArrayForEach (c, list)
        cJSON_ArrayForEach (e, cJSON_GetObjectItemCaseSensitive(c, "endpoints")) {
            cell(&t, t.rows, 0, "%s", text_of(c, "name"));
            cell(&t, t.rows, 1, "%s", text_of(e, "address"));
            cell(&t, t.rows, 2, "%s", text_of(e, "state"));
            cell(&t, t.rows, 3, "%.0f", number_of(e, "weight"));
            cell(&t, t.rows, 4, "%.0f", number_of(e, "active_streams"));
            cell(&t, t.rows, 5, "%.0f", number_of(e, "rpcs"));
            cell(&t, t.rows, 6, "%.0f", number_of(e, "connects"));
            cell(&t, t.rows, 7, "%.0f", number_of(e, "failures"));
            t.rows++;
        }
    print_table(&t);
    free(t.cell);
    return true;
}

/* Keeps one cluster of the answer.  False: there is none of that name. */
static bool keep_cluster(cJSON *root, const char *name)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "clusters");
    for (int i = cJSON_GetArraySize(list) - 1; i >= 0; i--)
        if (strcmp(text_of(cJSON_GetArrayItem(list, i), "name"), name) != 0)
            cJSON_DeleteItemFromArray(list, i);
    return cJSON_GetArraySize(list) > 0;
}

static void print_json(const cJSON *root)
{
    char *text = cJSON_Print(root);
    if (text != NULL)
        puts(text);
    cJSON_free(text);
}

static void pause_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* Until all of it is in force: new clusters get their connections first. */
static int reload(const struct arguments *a)
{
    cJSON *root = ask_with(a->address, "/api/v1/reload", "");
    if (root == NULL)
        return FAILED;
    print_lines(root, "warnings");
    bool pending = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "pending"));
    while (pending) {
        pause_ms(50);
        cJSON *status = ask(a->address, "/api/v1/status");
        if (status == NULL) {
            cJSON_Delete(root);
            return FAILED;
        }
        pending = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(status, "reloading"));
        cJSON_Delete(status);
    }
    if (a->json)
        print_json(root);
    else
        puts("the configuration is in force");
    cJSON_Delete(root);
    return OK;
}

static const cJSON *find_endpoint(const cJSON *clusters, const char *cluster, const char *endpoint)
{
    const cJSON *c, *e;
    cJSON_ArrayForEach (c, cJSON_GetObjectItemCaseSensitive(clusters, "clusters"))
        if (strcmp(text_of(c, "name"), cluster) == 0)
            cJSON_ArrayForEach (e, cJSON_GetObjectItemCaseSensitive(c, "endpoints"))
                if (strcmp(text_of(e, "address"), endpoint) == 0)
                    return e;
    return NULL;
}

/* Every worker has taken up the order, and none has a stream there. */
static int wait_drained(const struct arguments *a, double generation)
{
    for (;; pause_ms(100)) {
        cJSON *root = ask(a->address, "/api/v1/clusters");
        if (root == NULL)
            return FAILED;
        const cJSON *e = find_endpoint(root, a->operand, a->endpoint);
        bool taken = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "current")) || number_of(root, "applied") >= generation;
        bool drained = taken && (e == NULL || number_of(e, "active_streams") == 0);
        bool undone = e != NULL && number_of(e, "weight") != 0;
        cJSON_Delete(root);
        if (undone) {
            fprintf(stderr, "penstockctl: %s %s is not drained any more: somebody has given it a weight\n", a->operand, a->endpoint);
            return FAILED;
        }
        if (drained)
            return OK;
    }
}

/* drain, undrain, weight */
static int order(const struct arguments *a)
{
    char path[64];
    int status = OK;
    cJSON *body = cJSON_CreateObject();
    cJSON_AddStringToObject(body, "cluster", a->operand);
    cJSON_AddStringToObject(body, "endpoint", a->endpoint);
    if (a->weight != NULL && strcmp(a->weight, "auto") == 0)
        cJSON_AddStringToObject(body, "weight", "auto");
    else if (a->weight != NULL)
        cJSON_AddNumberToObject(body, "weight", strtod(a->weight, NULL));
    char *text = cJSON_PrintUnformatted(body);
    cJSON_Delete(body);
    snprintf(path, sizeof(path), "/api/v1/%s", a->command);
    cJSON *root = ask_with(a->address, path, text != NULL ? text : "");
    cJSON_free(text);
    if (root == NULL)
        return FAILED;
    if (a->wait)
        status = wait_drained(a, number_of(root, "generation"));
    if (a->json && status == OK)
        print_json(root);
    cJSON_Delete(root);
    return status;
}

static int run(const struct arguments *a)
{
    if (strcmp(a->command, "reload") == 0)
        return reload(a);
    if (a->endpoint != NULL)
        return order(a);
    bool status = strcmp(a->command, "status") == 0, clusters = strcmp(a->command, "clusters") == 0, ok = true;
    cJSON *root = ask(a->address, status ? "/api/v1/status" : "/api/v1/clusters");
    if (root == NULL)
        return FAILED;
    if (a->operand != NULL && !keep_cluster(root, a->operand)) {
        fprintf(stderr, "penstockctl: there is no cluster \"%s\"; penstockctl clusters lists them\n", a->operand);
        ok = false;
    } else if (a->json) {
        print_json(root);
    } else if (status) {
        print_status(root);
    } else {
        ok = clusters ? print_clusters(root) : print_endpoints(root);
    }
    cJSON_Delete(root);
    return ok && fflush(stdout) == 0 ? OK : FAILED;
}

static bool among(const char *word, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcmp(word, *words) == 0)
            return true;
    return false;
}

/* CLUSTER ENDPOINT [N|auto].  -1: go on. */
static int parse_order(int argc, char **argv, struct arguments *a)
{
    bool weight = strcmp(a->command, "weight") == 0;
    char *end = NULL;
    if (argc - optind < (weight ? 3 : 2))
        return misuse("%s wants %s", a->command, weight ? "CLUSTER ENDPOINT N|auto" : "CLUSTER ENDPOINT");
    a->operand = argv[optind++];
    a->endpoint = argv[optind++];
    if (weight) {
        a->weight = argv[optind++];
        unsigned long n = strtoul(a->weight, &end, 10);
        if (strcmp(a->weight, "auto") != 0 && (a->weight[0] < '0' || a->weight[0] > '9' || *end != '\0' || n > 65535))
            return misuse("\"%s\" is no weight: 0 to 65535, or auto", a->weight);
    }
    return -1;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {{"admin", required_argument, NULL, 'a'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"wait", no_argument, NULL, 'w'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'V'},
                                            {NULL, 0, NULL, 0}};
    static const char *const now[] = {"status", "clusters", "endpoints", "reload", "drain", "undrain", "weight", NULL},
                            *const orders[] = {"drain", "undrain", "weight", NULL},
                            *const later[] = {"explain", "top", NULL};
    for (int o; (o = getopt_long(argc, argv, "a:jwhV", options, NULL)) != -1;)
        switch (o) {
        case 'a':
            a->address = optarg;
            break;
        case 'j':
            a->json = true;
            break;
        case 'w':
            a->wait = true;
            break;
        case 'h':
            help(stdout);
            return OK;
        case 'V':
            puts("penstockctl " PENSTOCK_VERSION);
            return OK;
        default:
            fputs("Try: penstockctl --help\n", stderr);
            return USAGE;
        }
    if (optind == argc)
        return misuse("a command is missing, such as status, clusters or endpoints");
    a->command = argv[optind++];
    if (among(a->command, later)) {
        fprintf(stderr, "penstockctl: %s: not yet; a later version brings it\n", a->command);
        return FAILED;
    }
    if (!among(a->command, now))
        return misuse("there is no command \"%s\"", a->command);
    if (strcmp(a->command, "endpoints") == 0 && optind < argc)
        a->operand = argv[optind++];
    int status = among(a->command, orders) ? parse_order(argc, argv, a) : -1;
    if (status >= 0)
        return status;
    if (a->wait && strcmp(a->command, "drain") != 0)
        return misuse("--wait belongs to drain");
    if (optind < argc)
        return misuse("\"%s\" is one argument too many for %s", argv[optind], a->command);
    return -1;
}

int main(int argc, char **argv)
{
    struct arguments a = {.address = DEFAULT_ADDRESS};
    int status = eyes_main(argc, argv, DEFAULT_ADDRESS);
    if (status >= 0)
        return status;
    status = parse(argc, argv, &a);
    if (status >= 0)
        return status;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    status = run(&a);
    curl_global_cleanup();
    return status;
}
