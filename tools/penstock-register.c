/* penstock-register: puts one backend into etcd under a lease, keeps it there, and takes it out at the end.
 *
 *   grant a lease -> put the key under it -> renew every TTL/3 -> (at the end) revoke
 *
 * A lease that etcd has forgotten (an outage longer than the TTL, a wiped registry) is granted anew and the key put again. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "etcd/etcd.h"
#include "loop/log.h"

#define SECOND         1000000000ull
#define ENDPOINTS_MAX  16
#define METADATA_MAX   32
#define FAREWELL_NS    (2 * SECOND) /* for the revocation */

struct arguments {
    const char *endpoints[ENDPOINTS_MAX];
    unsigned endpoint_count;
    const char *service, *address, *weight;
    const char *metadata[METADATA_MAX];
    unsigned metadata_count;
    uint64_t ttl_s;
    struct etcd_options etcd;
    char **command; /* NULL: none */
};

struct job {
    const struct arguments *a;
    struct loop *loop;
    struct etcd *etcd;
    struct etcd_call *call;
    struct loop_timer *timer;
    char *key, *value;
    int64_t lease;
    uint64_t renewed_at;
    bool registered; /* the key stands under `lease` */
    bool ever;       /* it stood at least once */
    bool failing;
    pid_t child; /* 0: none */
    int signals; /* signalfd */
    struct loop_watch *signal_watch;
    bool leaving, over;
    int status;
};

static const char help[] =
    "usage: penstock-register --etcd URL[,URL...] --service NAME --addr IP:PORT [options] [-- COMMAND ...]\n"
    "\n"
    "Registers a gRPC backend in etcd, in the layout of etcd's own gRPC naming, under a lease that is renewed for as long as this\n"
    "program (or COMMAND) runs. When it ends, the registration is withdrawn at once; when it is killed, after the lease's TTL.\n"
    "\n"
    "  --etcd URL[,URL...]   client URLs of etcd (http://127.0.0.1:2379)\n"
    "  --service NAME        the prefix of the key, e.g. services/echo; the key is NAME/IP:PORT\n"
    "  --addr IP:PORT        where the backend listens; IPv6 as [IP]:PORT\n"
    "  --weight N            its share under weighted_round_robin (0 drains; default: none written, which counts as 1)\n"
    "  --ttl DURATION        how long the entry outlives a killed program: 10s, 1m (default 10s)\n"
    "  --metadata K=V        a further member of the entry's metadata; may be repeated\n"
    "  --username NAME --password-file FILE    where etcd asks for a user\n"
    "  --ca FILE --cert FILE --key FILE        TLS: whom to trust, and who we are\n"
    "  --help, --version\n"
    "\n"
    "With COMMAND: starts it, passes SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 on to it, and exits with its status (128 + N if signal N\n"
    "ended it). Without: runs until SIGTERM or SIGINT. While etcd is away it keeps trying.\n"
    "\n"
    "Exit status: 0 withdrawn in good order, 1 a failure that stderr explains, 2 wrong usage.\n"
    "\n"
    "Example:\n"
    "  penstock-register --etcd http://127.0.0.1:2379 --service services/echo --addr 198.18.0.11:50051 --weight 3 -- ./echo-server\n"
    "and in the gateway's configuration:  target = \"etcd:///services/echo/\";\n";

/* arguments */

static int wrong(const char *format, const char *what)
{
    fputs("penstock-register: ", stderr);
    fprintf(stderr, format, what);
    fputs("\nTry --help.\n", stderr);
    return 2;
}

static bool ttl_parse(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0 || end == text || text[0] == '-' || n == 0 || n > 86400)
        return false;
    if (strcmp(end, "m") == 0)
        n *= 60;
    else if (strcmp(end, "s") != 0 && *end != '\0')
        return false;
    *out = n;
    return true;
}

static bool urls_parse(struct arguments *a, char *list)
{
    char *save;
    for (char *url = strtok_r(list, ",", &save); url != NULL; url = strtok_r(NULL, ",", &save)) {
        if (a->endpoint_count == ENDPOINTS_MAX || (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0))
            return false;
        a->endpoints[a->endpoint_count++] = url;
    }
    return a->endpoint_count > 0;
}

enum { ETCD = 256, SERVICE, ADDR, WEIGHT, TTL, METADATA, USERNAME, PASSWORD_FILE, CA, CERT, KEY, HELP, VERSION };

static const struct option options[] = {
    {"etcd", required_argument, NULL, ETCD},         {"service", required_argument, NULL, SERVICE},
    {"addr", required_argument, NULL, ADDR},         {"weight", required_argument, NULL, WEIGHT},
    {"ttl", required_argument, NULL, TTL},           {"metadata", required_argument, NULL, METADATA},
    {"username", required_argument, NULL, USERNAME}, {"password-file", required_argument, NULL, PASSWORD_FILE},
    {"ca", required_argument, NULL, CA},             {"cert", required_argument, NULL, CERT},
    {"key", required_argument, NULL, KEY},           {"help", no_argument, NULL, HELP},
    {"version", no_argument, NULL, VERSION},         {NULL, 0, NULL, 0}};

/* -1: go on; else the exit status. */
static int option_take(struct arguments *a, int o)
{
    struct base_endpoint address;
    switch (o) {
    case ETCD:
        return urls_parse(a, optarg) ? -1 : wrong("--etcd wants http:// or https:// URLs with commas between, not \"%s\"", optarg);
    case SERVICE:
        a->service = optarg;
        return *optarg != '\0' ? -1 : wrong("--service must not be empty%s", "");
    case ADDR:
        a->address = optarg;
        return base_endpoint_parse(optarg, &address) ? -1 : wrong("--addr wants IP:PORT or [IPv6]:PORT, not \"%s\"", optarg);
    case WEIGHT:
        a->weight = optarg;
        return *optarg != '\0' && strlen(optarg) <= 5 && strspn(optarg, "0123456789") == strlen(optarg) && atoi(optarg) <= 65535
                   ? -1 : wrong("--weight wants a number from 0 to 65535, not \"%s\"", optarg);
    case TTL:
        return ttl_parse(optarg, &a->ttl_s) ? -1 : wrong("--ttl wants whole seconds or minutes such as 10s, not \"%s\"", optarg);
    case METADATA:
        if (strchr(optarg, '=') == NULL || a->metadata_count == METADATA_MAX)
            return wrong("--metadata wants K=V, at most 32 times, not \"%s\"", optarg);
        a->metadata[a->metadata_count++] = optarg;
        return -1;
    case USERNAME:
        a->etcd.username = optarg;
        return -1;
    case PASSWORD_FILE:
        a->etcd.password_file = optarg;
        return -1;
    case CA:
        a->etcd.ca = optarg;
        return -1;
    case CERT:
        a->etcd.cert = optarg;
        return -1;
    case KEY:
        a->etcd.key = optarg;
        return -1;
    case HELP:
        fputs(help, stdout);
        return 0;
    case VERSION:
        puts("penstock-register " PENSTOCK_VERSION);
        return 0;
    default:
        fputs("Try --help.\n", stderr); /* getopt has said why */
        return 2;
    }
}

static int arguments_parse(struct arguments *a, int argc, char **argv)
{
    a->ttl_s = 10;
    for (int o; (o = getopt_long(argc, argv, "+h", options, NULL)) != -1;) {
        int status = option_take(a, o == 'h' ? HELP : o);
        if (status >= 0)
            return status;
    }
    if (a->endpoint_count == 0 || a->service == NULL || a->address == NULL)
        return wrong("%s", "--etcd, --service and --addr are needed");
    a->command = optind < argc ? &argv[optind] : NULL;
    a->etcd.endpoints = a->endpoints;
    a->etcd.endpoint_count = a->endpoint_count;
    return -1;
}

static char *value_text(const struct arguments *a)
{
    cJSON *o = cJSON_CreateObject(), *m;
    cJSON_AddNumberToObject(o, "Op", 0);
    cJSON_AddStringToObject(o, "Addr", a->address);
    if (a->weight == NULL && a->metadata_count == 0) {
        cJSON_AddNullToObject(o, "Metadata");
    } else {
        m = cJSON_AddObjectToObject(o, "Metadata");
        if (a->weight != NULL)
            cJSON_AddNumberToObject(m, "weight", atoi(a->weight));
        for (unsigned i = 0; i < a->metadata_count; i++) {
            const char *equals = strchr(a->metadata[i], '=');
            char *name = strndup(a->metadata[i], (size_t)(equals - a->metadata[i]));
            cJSON_AddStringToObject(m, name, equals + 1);
            free(name);
        }
    }
    char *text = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    return text;
}

/* the registration */

static void register_begin(struct job *j);
static void renew(struct job *j);

static void next_step(struct job *j, uint64_t in_ns)
{
    loop_timer_set(j->timer, in_ns);
}

static void timer_due(void *user)
{
    struct job *j = user;
    if (j->leaving)
        j->over = true; /* the farewell has had its time; the lease runs out by itself */
    else if (j->registered)
        renew(j);
    else
        register_begin(j);
}

static void failed(struct job *j, const struct etcd_error *e)
{
    bool hopeless = e->code == ETCD_DENIED || e->code == ETCD_GATEWAY_OFF || e->code == ETCD_UNAUTHENTICATED || e->code == ETCD_REFUSED;
    if (!j->failing || hopeless)
        loop_log(LOOP_LOG_WARN, "register: %s; %s", e->text, hopeless && !j->ever && j->child == 0 ? "giving up" : "trying again");
    j->failing = true;
    if (hopeless && !j->ever && j->child == 0) { /* a mistake in what was asked for: said at once */
        j->status = 1;
        j->over = true;
        return;
    }
    uint64_t wait = etcd_failed(j->etcd);
    next_step(j, hopeless && wait < SECOND ? SECOND : wait);
}

static void put_done(void *user, const struct etcd_error *e, const struct etcd_header *h, int64_t number)
{
    (void)number;
    struct job *j = user;
    j->call = NULL;
    if (e->code == ETCD_NOT_FOUND)
        j->lease = 0;
    if (e->code != ETCD_OK) {
        failed(j, e);
        return;
    }
    loop_log(LOOP_LOG_INFO, "register: %s stands at revision %lld under a lease of %llu s", j->key, (long long)h->revision, (unsigned long long)j->a->ttl_s);
    etcd_succeeded(j->etcd);
    j->registered = j->ever = true;
    j->failing = false;
    next_step(j, j->a->ttl_s * SECOND / 3);
}

static void put(struct job *j)
{
    j->call = etcd_put(j->etcd, j->key, j->value, j->lease, put_done, j);
    if (j->call == NULL)
        next_step(j, SECOND);
}

static void grant_done(void *user, const struct etcd_error *e, const struct etcd_header *h, int64_t lease)
{
    (void)h;
    struct job *j = user;
    j->call = NULL;
    if (e->code != ETCD_OK) {
        failed(j, e);
        return;
    }
    j->lease = lease;
    put(j);
}

static void register_begin(struct job *j)
{
    if (j->lease != 0) {
        put(j);
        return;
    }
    j->call = etcd_lease_grant(j->etcd, j->a->ttl_s, grant_done, j);
    if (j->call == NULL)
        next_step(j, SECOND);
}

static void renew_done(void *user, const struct etcd_error *e, const struct etcd_header *h, int64_t ttl)
{
    (void)h;
    (void)ttl;
    struct job *j = user;
    j->call = NULL;
    if (e->code == ETCD_NOT_FOUND) {
        loop_log(LOOP_LOG_WARN, "register: etcd has forgotten the lease of %s; registering anew", j->key);
        j->lease = 0;
        j->registered = false;
        register_begin(j);
        return;
    }
    if (e->code != ETCD_OK) {
        failed(j, e);
        return;
    }
    if (j->failing)
        loop_log(LOOP_LOG_INFO, "register: etcd answers again, %s stands", j->key);
    j->failing = false;
    etcd_succeeded(j->etcd);
    next_step(j, j->a->ttl_s * SECOND / 3);
}

static void renew(struct job *j)
{
    j->call = etcd_lease_keepalive(j->etcd, j->lease, renew_done, j);
    if (j->call == NULL)
        next_step(j, SECOND);
}

static void revoke_done(void *user, const struct etcd_error *e, const struct etcd_header *h, int64_t number)
{
    (void)h;
    (void)number;
    struct job *j = user;
    j->call = NULL;
    if (e->code == ETCD_OK)
        loop_log(LOOP_LOG_INFO, "register: %s is withdrawn", j->key);
    else if (e->code != ETCD_NOT_FOUND)
        loop_log(LOOP_LOG_WARN, "register: %s; %s disappears with its lease, in %llu s at most", e->text, j->key, (unsigned long long)j->a->ttl_s);
    j->over = true;
}

static void leave(struct job *j)
{
    if (j->leaving)
        return;
    j->leaving = true;
    etcd_cancel(j->call);
    j->call = j->lease != 0 ? etcd_lease_revoke(j->etcd, j->lease, revoke_done, j) : NULL;
    if (j->call == NULL)
        j->over = true;
    else
        next_step(j, FAREWELL_NS);
}

/* signals and the command */

static void child_ended(struct job *j)
{
    int status;
    if (j->child == 0 || waitpid(j->child, &status, WNOHANG) != j->child)
        return;
    j->child = 0;
    j->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    leave(j);
}

static void take_signal(struct job *j, const struct signalfd_siginfo *s)
{
    int signal_number = (int)s->ssi_signo;
    if (signal_number == SIGCHLD)
        child_ended(j);
    else if (j->child != 0 && s->ssi_code != SI_KERNEL) /* what the terminal sends, the command gets from it as well */
        kill(j->child, signal_number);
    else if (j->child == 0 && (signal_number == SIGTERM || signal_number == SIGINT))
        leave(j);
}

static void signals_ready(void *user, uint32_t events)
{
    (void)events;
    struct job *j = user;
    struct signalfd_siginfo s;
    while (read(j->signals, &s, sizeof(s)) == sizeof(s))
        take_signal(j, &s);
}

static bool signals_open(struct job *j, sigset_t *before)
{
    static const int taken[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(taken) / sizeof(*taken); i++)
        if (taken[i] == SIGTERM || taken[i] == SIGINT || j->a->command != NULL)
            sigaddset(&set, taken[i]);
    sigprocmask(SIG_BLOCK, &set, before);
    j->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (j->signals >= 0)
        j->signal_watch = loop_watch_add(j->loop, j->signals, EPOLLIN, signals_ready, j);
    return j->signal_watch != NULL;
}

static bool command_start(struct job *j, const sigset_t *before)
{
    if (j->a->command == NULL)
        return true;
    j->child = fork();
    if (j->child == 0) {
        sigprocmask(SIG_SETMASK, before, NULL);
        signal(SIGPIPE, SIG_DFL);
        execvp(j->a->command[0], j->a->command);
        fprintf(stderr, "penstock-register: %s: %s\n", j->a->command[0], strerror(errno));
        _exit(errno == ENOENT ? 127 : 126);
    }
    return j->child > 0;
}

static bool job_prepare(struct job *j)
{
    size_t n = strlen(j->a->service);
    if (asprintf(&j->key, "%s%s%s", j->a->service, j->a->service[n - 1] == '/' ? "" : "/", j->a->address) < 0)
        j->key = NULL;
    j->value = value_text(j->a);
    j->loop = loop_create();
    j->etcd = j->loop != NULL ? etcd_create(j->loop, &j->a->etcd) : NULL;
    j->timer = j->loop != NULL ? loop_timer_add(j->loop, timer_due, j) : NULL;
    return j->key != NULL && j->value != NULL && j->etcd != NULL && j->timer != NULL;
}

static void job_free(struct job *j)
{
    etcd_destroy(j->etcd);
    loop_timer_remove(j->timer);
    loop_watch_remove(j->signal_watch);
    loop_destroy(j->loop);
    free(j->key);
    free(j->value);
}

int main(int argc, char **argv)
{
    struct arguments a = {0};
    int status = arguments_parse(&a, argc, argv);
    if (status >= 0)
        return status;
    struct job j = {.a = &a, .signals = -1};
    sigset_t before;
    if (!job_prepare(&j) || !signals_open(&j, &before) || !command_start(&j, &before)) {
        fprintf(stderr, "penstock-register: cannot start: %s\n", strerror(errno));
        job_free(&j);
        return 1;
    }
    register_begin(&j);
    while (!j.over)
        loop_turn(j.loop, -1);
    status = j.status;
    job_free(&j);
    return status;
}
