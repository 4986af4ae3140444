#include "etcd_lab.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "etcd/etcd.h"

int64_t lab_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&a, n) != 0 || getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        return 0;
    close(fd);
    return ntohs(a.sin_port);
}

bool lab_open(struct lab *l)
{
    memset(l, 0, sizeof(*l));
    l->loop = loop_create();
    snprintf(l->data, sizeof(l->data), "/tmp/penstock-etcd.XXXXXX");
    l->client_port = free_port();
    l->away_port = free_port();
    l->peer_port = free_port();
    snprintf(l->url, sizeof(l->url), "http://127.0.0.1:%d", l->client_port);
    snprintf(l->away_url, sizeof(l->away_url), "http://127.0.0.1:%d", l->away_port);
    return l->loop != NULL && mkdtemp(l->data) != NULL && l->client_port && l->away_port && l->peer_port;
}

void lab_wipe(struct lab *l)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s/member", l->data);
    if (system(command) != 0)
        perror(command);
}

void lab_close(struct lab *l)
{
    lab_stop(l, SIGKILL);
    lab_wipe(l);
    char file[96];
    snprintf(file, sizeof(file), "%s/log", l->data);
    unlink(file);
    rmdir(l->data);
    loop_destroy(l->loop);
}

static void become_etcd(const struct lab *l, const char *url)
{
    char peer[64], cluster[80], log[96];
    snprintf(peer, sizeof(peer), "http://127.0.0.1:%d", l->peer_port);
    snprintf(cluster, sizeof(cluster), "lab=%s", peer);
    snprintf(log, sizeof(log), "%s/log", l->data);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, 1);
    dup2(fd, 2);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execlp("etcd", "etcd", "--name", "lab", "--data-dir", l->data, "--listen-client-urls", url, "--advertise-client-urls", url,
           "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster, "--initial-cluster-token",
           l->data, "--logger", "zap", (char *)NULL);
    _exit(127);
}

bool lab_start(struct lab *l, bool away)
{
    snprintf(l->at, sizeof(l->at), "%s", away ? l->away_url : l->url);
    l->etcd = fork();
    if (l->etcd == 0)
        become_etcd(l, l->at);
    for (int64_t end = lab_ms() + 15000; lab_ms() < end;) {
        if (lab_post(l, "/v3/kv/range", "{\"key\":\"AA==\",\"range_end\":\"AA==\",\"count_only\":true}") != NULL)
            return true;
        lab_rest(l, 20);
    }
    return false;
}

void lab_stop(struct lab *l, int signal_number)
{
    if (l->etcd <= 0)
        return;
    kill(l->etcd, signal_number);
    kill(l->etcd, SIGCONT);
    waitpid(l->etcd, NULL, 0);
    l->etcd = 0;
}

static bool never(void *user)
{
    (void)user;
    return false;
}

void lab_rest(struct lab *l, int ms)
{
    lab_until(l, never, NULL, ms, NULL);
}

static void tick(void *user)
{
    loop_timer_set(*(struct loop_timer **)user, 5000000);
}

bool lab_until(struct lab *l, bool (*true_now)(void *user), void *user, int ms, int *took)
{
    struct loop_timer *t = NULL;
    t = loop_timer_add(l->loop, tick, &t);
    loop_timer_set(t, 1);
    int64_t begin = lab_ms();
    bool is = true_now(user);
    while (!is && lab_ms() - begin < ms) {
        loop_turn(l->loop, ms);
        is = true_now(user);
    }
    loop_timer_remove(t);
    if (took != NULL)
        *took = (int)(lab_ms() - begin);
    return is;
}

/* requests */

static char answer[1 << 20];
static int answered; /* 1 good, -1 bad */

static void done(void *user, const struct loop_http_result *r)
{
    (void)user;
    snprintf(answer, sizeof(answer), "%s", r->body);
    answered = r->ok && r->status == 200 ? 1 : -1;
}

static bool is_answered(void *user)
{
    (void)user;
    return answered != 0;
}

const char *lab_post(struct lab *l, const char *path, const char *format, ...)
{
    char *body = NULL, url[256], token[300];
    va_list ap;
    va_start(ap, format);
    if (vasprintf(&body, format, ap) < 0)
        return NULL;
    va_end(ap);
    snprintf(url, sizeof(url), "%s%s", l->at, path);
    snprintf(token, sizeof(token), "Authorization: %s", l->token);
    const char *headers[] = {l->token[0] != '\0' ? token : NULL, NULL};
    struct loop_http_request r = {.url = url, .body = body, .headers = headers, .timeout_ns = 5000000000ull, .max_bytes = sizeof(answer) - 1};
    answered = 0;
    struct loop_http *h = loop_http_post(l->loop, &r, NULL, done, NULL);
    free(body);
    if (h == NULL || !lab_until(l, is_answered, NULL, 6000, NULL))
        return NULL;
    return answered == 1 ? answer : NULL;
}

char *lab_base64(const char *text)
{
    static char buffers[8][4096];
    static unsigned next;
    char *out = buffers[next++ % 8];
    etcd_base64_encode(text, strlen(text), out);
    return out;
}

void lab_put(struct lab *l, const char *key, const char *value, long long lease)
{
    char *value64 = malloc(strlen(value) * 4 / 3 + 8);
    etcd_base64_encode(value, strlen(value), value64);
    if (lab_post(l, "/v3/kv/put", "{\"key\":\"%s\",\"value\":\"%s\",\"lease\":\"%lld\"}", lab_base64(key), value64, lease) == NULL)
        printf("  put %s failed: %.200s\n", key, answer);
    free(value64);
}

void lab_delete(struct lab *l, const char *key)
{
    if (lab_post(l, "/v3/kv/deleterange", "{\"key\":\"%s\"}", lab_base64(key)) == NULL)
        printf("  delete %s failed\n", key);
}

long long lab_number(const char *json, const char *name)
{
    char quoted[64];
    snprintf(quoted, sizeof(quoted), "\"%s\":\"", name);
    const char *at = json != NULL ? strstr(json, quoted) : NULL;
    return at != NULL ? atoll(at + strlen(quoted)) : 0;
}

long long lab_lease(struct lab *l, int ttl_s)
{
    return lab_number(lab_post(l, "/v3/lease/grant", "{\"TTL\":\"%d\"}", ttl_s), "ID");
}
