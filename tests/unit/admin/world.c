#include "world.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const char default_config[] =
    "ports = ( { name = \"front\"; device = \"net_tap0\"; address = [ \"198.18.0.2/24\" ]; } );\n"
    "etcd: { endpoints = [ \"http://127.0.0.1:2379\" ]; };\n"
    "listeners = ( { name = \"grpc\"; bind = \"198.18.0.2:50051\"; routes = ( { path = \"/echo.Echo/\"; cluster = "
    "\"echo\"; }, { path = \"/\"; cluster = \"pay\"; } ); } );\n"
    "clusters = ( { name = \"echo\"; target = \"etcd:///services/echo/\"; lb_policy = \"weighted_round_robin\"; },\n"
    "             { name = \"pay\"; target = \"static:///198.18.0.1:50061\"; } );\n";

/* A port that was free a moment ago. */
static uint16_t free_port(bool v6)
{
    struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t n = v6 ? sizeof(a6) : sizeof(a4);
    struct sockaddr *sa = v6 ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4;
    if (bind(fd, sa, n) != 0 || getsockname(fd, sa, &n) != 0)
        abort();
    close(fd);
    return ntohs(v6 ? a6.sin6_port : a4.sin_port);
}

static const struct config *view_config(void *user)
{
    return ((struct world *)user)->config;
}

static bool view_ports_up(void *user)
{
    return !((struct world *)user)->ports_down;
}

static bool view_draining(void *user)
{
    return ((struct world *)user)->draining;
}

static void view_shutdown(void *user)
{
    ((struct world *)user)->shut = true;
}

static uint32_t view_connections(void *user, unsigned worker, unsigned side)
{
    (void)user;
    return worker * 10 + side + 1;
}

static void make_stats(struct world *w, unsigned i)
{
    size_t n = stats_footprint(WORLD_SLOTS, 16);
    struct base_arena arena;
    w->arena[i] = aligned_alloc(BASE_CACHE_LINE, n);
    memset(w->arena[i], 0, n);
    base_arena_init(&arena, w->arena[i], n);
    w->stats[i] = stats_create(&arena, WORLD_SLOTS, 16);
    stats_object_add(w->stats[i], "tcp_conn", &w->in_use, 100);
}

struct world *world_open(const char *config, void (*change)(struct world *w))
{
    struct world *w = calloc(1, sizeof(*w));
    struct config_errors e;
    char error[512];
    w->loop = loop_create();
    w->config = config_parse("t.conf", config != NULL ? config : default_config, &e);
    if (w->config == NULL)
        abort();
    config_errors_free(&e);
    w->config->admin.port = free_port(!base_addr_is_v4(&w->config->admin.addr));
    w->membership = membership_create(WORLD_WORKERS);
    membership_configure(w->membership, w->config, loop_now(w->loop));
    w->door = snapshot_door_create(WORLD_WORKERS);
    for (unsigned i = 0; i < WORLD_WORKERS; i++) {
        w->mailbox[i] = mailbox_create(i, -1);
        make_stats(w, i);
    }
    w->publish = publish_create(w->door, w->membership, w->mailbox, WORLD_WORKERS);
    w->view = (struct admin_view){.user = w,
                                  .config = view_config,
                                  .membership = w->membership,
                                  .publish = w->publish,
                                  .stats = w->stats,
                                  .mailboxes = w->mailbox,
                                  .worker_count = WORLD_WORKERS,
                                  .started_ns = loop_now(w->loop),
                                  .ports_up = view_ports_up,
                                  .draining = view_draining,
                                  .connections = view_connections,
                                  .shutdown = view_shutdown};
    if (change != NULL)
        change(w);
    w->admin = admin_create(w->loop, &w->view, error, sizeof(error));
    if (w->admin == NULL) {
        fprintf(stderr, "%s\n", error);
        abort();
    }
    return w;
}

void world_close(struct world *w)
{
    admin_destroy(w->admin);
    publish_destroy(w->publish);
    for (unsigned i = 0; i < WORLD_WORKERS; i++) {
        mailbox_destroy(w->mailbox[i]);
        free(w->arena[i]);
    }
    snapshot_door_destroy(w->door);
    membership_destroy(w->membership);
    loop_destroy(w->loop);
    config_free(w->config);
    free(w);
}

void world_set(struct world *w, const char *cluster, const char *endpoints)
{
    static struct membership_entry entry[SNAPSHOT_SLOTS_MAX];
    unsigned n = 0;
    char *copy = strdup(endpoints), *save = NULL;
    for (char *word = strtok_r(copy, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
        char *star = strchr(word, '*');
        entry[n] = (struct membership_entry){.weight = star != NULL ? (uint32_t)atoi(star + 1) : 1};
        if (star != NULL)
            *star = '\0';
        if (!base_endpoint_parse(word, &entry[n++].address))
            abort();
    }
    membership_set(w->membership, membership_find(w->membership, cluster), entry, n, 7, loop_now(w->loop));
    free(copy);
}

struct stats_slot *world_slot(struct world *w, unsigned worker, const char *cluster, const char *address)
{
    struct base_endpoint e;
    if (!base_endpoint_parse(address, &e))
        abort();
    const struct membership_endpoint *m = membership_endpoint(membership_find(w->membership, cluster), &e);
    struct stats_slot *s = &w->stats[worker]->slots[m->slot];
    if (s->serial != m->serial) {
        memset(s, 0, sizeof(*s));
        s->serial = m->serial;
    }
    return s;
}

void world_empty(struct world *w, uint32_t slot, uint32_t serial)
{
    for (unsigned i = 0; i < WORLD_WORKERS; i++)
        membership_report_empty(w->membership, i, slot, serial);
}

struct call {
    const char *method, *url, *body, *header;
    struct reply reply;
    FILE *body_file, *head_file;
    size_t body_size, head_size;
    int done;
};

static void *call_run(void *user)
{
    struct call *c = user;
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    if (c->header != NULL)
        headers = curl_slist_append(headers, c->header);
    c->body_file = open_memstream(&c->reply.body, &c->body_size);
    c->head_file = open_memstream(&c->reply.head, &c->head_size);
    curl_easy_setopt(curl, CURLOPT_URL, c->url);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 10L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, c->body_file);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, c->head_file);
    if (strcmp(c->method, "HEAD") == 0)
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    else if (c->body != NULL)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, c->body);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, c->method);
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &c->reply.status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    fclose(c->body_file);
    fclose(c->head_file);
    __atomic_store_n(&c->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

struct reply world_ask(struct world *w, const char *method, const char *path, const char *body, const char *header)
{
    char url[512], text[BASE_ENDPOINT_TEXT];
    snprintf(url, sizeof(url), "http://%s%s", base_endpoint_format(&w->config->admin, text), path);
    struct call c = {.method = method, .url = url, .body = body, .header = header};
    pthread_t thread;
    pthread_create(&thread, NULL, call_run, &c);
    while (!__atomic_load_n(&c.done, __ATOMIC_ACQUIRE))
        loop_turn(w->loop, 2);
    pthread_join(thread, NULL);
    return c.reply;
}

void reply_free(struct reply *r)
{
    free(r->body);
    free(r->head);
}

struct program {
    const char *command;
    char *output;
    size_t size;
    int status, done;
};

static void *program_run(void *user)
{
    struct program *p = user;
    FILE *out = open_memstream(&p->output, &p->size), *in = popen(p->command, "r");
    for (int c; in != NULL && (c = fgetc(in)) != EOF;)
        fputc(c, out);
    fclose(out);
    p->status = in != NULL ? pclose(in) : -1;
    __atomic_store_n(&p->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

char *world_run(struct world *w, const char *command, int *status)
{
    struct program p = {.command = command};
    pthread_t thread;
    pthread_create(&thread, NULL, program_run, &p);
    while (!__atomic_load_n(&p.done, __ATOMIC_ACQUIRE))
        loop_turn(w->loop, 2);
    pthread_join(thread, NULL);
    *status = WIFEXITED(p.status) ? WEXITSTATUS(p.status) : -1;
    return p.output;
}
