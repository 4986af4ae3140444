/* penstock-register against a real etcd: what it writes, that it keeps it there, takes it out, and comes back after an outage.
 *
 *   etcd_register PATH-OF-PENSTOCK-REGISTER */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "etcd/etcd.h"
#include "etcd_lab.h"

#define KEY   "services/echo/198.18.0.1:50051"
#define VALUE "{\"Op\":0,\"Addr\":\"198.18.0.1:50051\",\"Metadata\":{\"weight\":3,\"zone\":\"az1\"}}"

static struct lab lab;
static const char *program;
static unsigned failures, passes;

#define CHECK(what)                                                                                                                                  \
    do {                                                                                                                                             \
        if (!(what)) {                                                                                                                               \
            printf("FAILED line %d: %s\n", __LINE__, #what);                                                                                         \
            failures++;                                                                                                                              \
        } else {                                                                                                                                     \
            passes++;                                                                                                                                \
        }                                                                                                                                            \
    } while (0)

static pid_t run(const char *const *arguments)
{
    const char *argv[32] = {program};
    for (int i = 0; i < 30 && arguments[i] != NULL; i++)
        argv[i + 1] = arguments[i];
    pid_t pid = fork();
    if (pid == 0) {
        if (getenv("VERBOSE") == NULL)
            dup2(open("/dev/null", O_WRONLY), 2);
        dup2(open("/dev/null", O_WRONLY), 1);
        execv(program, (char *const *)argv);
        _exit(127);
    }
    return pid;
}

static int run_and_wait(const char *const *arguments)
{
    int status;
    waitpid(run(arguments), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct ended {
    pid_t pid;
    int status;
};

static bool has_ended(void *user)
{
    struct ended *e = user;
    return waitpid(e->pid, &e->status, WNOHANG) == e->pid;
}

/* Its exit status, or -1: it still runs after ms. */
static int end_of(pid_t pid, int ms)
{
    struct ended e = {pid, 0};
    if (!lab_until(&lab, has_ended, &e, ms, NULL)) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return -1;
    }
    return WIFEXITED(e.status) ? WEXITSTATUS(e.status) : 128 + WTERMSIG(e.status);
}

/* The key's value; "" where it is not. */
static const char *value(void)
{
    static char text[1024];
    const char *answer = lab_post(&lab, "/v3/kv/range", "{\"key\":\"%s\"}", lab_base64(KEY));
    const char *at = answer != NULL ? strstr(answer, "\"value\":\"") : NULL;
    text[0] = '\0';
    if (at != NULL && strcspn(at + 9, "\"") < sizeof(text))
        etcd_base64_decode(at + 9, strcspn(at + 9, "\""), text);
    return text;
}

static bool value_is(const char *want, int ms)
{
    for (int64_t end = lab_ms() + ms; lab_ms() < end; lab_rest(&lab, 20))
        if (strcmp(value(), want) == 0)
            return true;
    printf("  want %s have %s\n", want, value());
    return false;
}

static void stands_and_is_withdrawn(void)
{
    pid_t pid = run((const char *const[]){"--etcd", lab.url, "--service", "services/echo", "--addr", "198.18.0.1:50051", "--weight", "3", "--ttl", "2s",
                                          "--metadata", "zone=az1", NULL});
    CHECK(value_is(VALUE, 3000));
    lab_rest(&lab, 4500);
    CHECK(value_is(VALUE, 1)); /* renewed beyond its TTL */
    kill(pid, SIGTERM);
    CHECK(end_of(pid, 2000) == 0);
    CHECK(value_is("", 1)); /* withdrawn, not expired */
}

static void a_killed_one_expires(void)
{
    pid_t pid = run((const char *const[]){"--etcd", lab.url, "--service", "services/echo/", "--addr", "198.18.0.1:50051", "--ttl", "1s", NULL});
    CHECK(value_is("{\"Op\":0,\"Addr\":\"198.18.0.1:50051\",\"Metadata\":null}", 3000));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    CHECK(value_is("", 6000));
}

static void a_command_is_accompanied(void)
{
    pid_t pid = run((const char *const[]){"--etcd", lab.url, "--service", "services/echo", "--addr", "198.18.0.1:50051", "--weight", "3", "--metadata",
                                          "zone=az1", "--", "sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done", NULL});
    CHECK(value_is(VALUE, 3000));
    kill(pid, SIGTERM);
    CHECK(end_of(pid, 3000) == 7);
    CHECK(value_is("", 1));
    CHECK(run_and_wait((const char *const[]){"--etcd", lab.url, "--service", "s", "--addr", "198.18.0.1:1", "--", "/nonexistent", NULL}) == 127);
    CHECK(run_and_wait((const char *const[]){"--etcd", lab.url, "--service", "s", "--addr", "198.18.0.1:1", "--", "sh", "-c", "kill -9 $$", NULL}) ==
          128 + 9);
}

static void an_outage_is_survived(void)
{
    lab_stop(&lab, SIGTERM);
    pid_t pid = run((const char *const[]){"--etcd", lab.url, "--service", "services/echo", "--addr", "198.18.0.1:50051", "--weight", "3", "--ttl", "2s",
                                          "--metadata", "zone=az1", NULL});
    lab_rest(&lab, 1000);
    CHECK(lab_start(&lab, false)); /* it was started before its etcd */
    CHECK(value_is(VALUE, 6000));
    lab_stop(&lab, SIGKILL);
    lab_wipe(&lab);
    CHECK(lab_start(&lab, false)); /* neither key nor lease are known any more */
    CHECK(value_is("", 1) || value_is(VALUE, 1));
    CHECK(value_is(VALUE, 8000));
    kill(pid, SIGINT);
    CHECK(end_of(pid, 3000) == 0);
    CHECK(value_is("", 1));
}

static void wrong_usage_is_told(void)
{
    CHECK(run_and_wait((const char *const[]){"--help", NULL}) == 0);
    CHECK(run_and_wait((const char *const[]){"--version", NULL}) == 0);
    CHECK(run_and_wait((const char *const[]){NULL}) == 2);
    CHECK(run_and_wait((const char *const[]){"--etcd", lab.url, "--service", "s", "--addr", "198.18.0.1:99999", NULL}) == 2);
    CHECK(run_and_wait((const char *const[]){"--etcd", "127.0.0.1:2379", "--service", "s", "--addr", "198.18.0.1:1", NULL}) == 2);
    CHECK(run_and_wait((const char *const[]){"--etcd", lab.url, "--service", "s", "--addr", "198.18.0.1:1", "--weight", "-1", NULL}) == 2);
    CHECK(run_and_wait((const char *const[]){"--etcd", lab.url, "--service", "s", "--addr", "198.18.0.1:1", "--ttl", "0s", NULL}) == 2);
    CHECK(run_and_wait((const char *const[]){"--nonsense", NULL}) == 2);
}

static void a_locked_etcd(void)
{
    char file[96];
    snprintf(file, sizeof(file), "%s/password", lab.data);
    FILE *f = fopen(file, "w");
    fputs("secret\n", f);
    fclose(f);
    CHECK(lab_post(&lab, "/v3/auth/user/add", "{\"name\":\"root\",\"password\":\"secret\"}") != NULL);
    CHECK(lab_post(&lab, "/v3/auth/user/grant", "{\"user\":\"root\",\"role\":\"root\"}") != NULL);
    CHECK(lab_post(&lab, "/v3/auth/enable", "{}") != NULL);
    const char *answer = lab_post(&lab, "/v3/auth/authenticate", "{\"name\":\"root\",\"password\":\"secret\"}");
    const char *token = answer != NULL ? strstr(answer, "\"token\":\"") : NULL;
    CHECK(token != NULL);
    if (token != NULL)
        snprintf(lab.token, sizeof(lab.token), "%.*s", (int)strcspn(token + 9, "\""), token + 9);
    CHECK(run_and_wait((const char *const[]){"--etcd", lab.url, "--service", "services/echo", "--addr", "198.18.0.1:50051", NULL}) == 1);
    pid_t pid = run((const char *const[]){"--etcd", lab.url, "--service", "services/echo", "--addr", "198.18.0.1:50051", "--weight", "3", "--metadata",
                                          "zone=az1", "--username", "root", "--password-file", file, NULL});
    CHECK(value_is(VALUE, 3000));
    kill(pid, SIGTERM);
    CHECK(end_of(pid, 2000) == 0);
    CHECK(value_is("", 1));
    unlink(file);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s PENSTOCK-REGISTER\n", argv[0]);
        return 2;
    }
    program = argv[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    int64_t begin = lab_ms();
    if (!lab_open(&lab) || !lab_start(&lab, false)) {
        printf("etcd could not be started (is it installed?)\n");
        lab_close(&lab);
        return 77;
    }
    wrong_usage_is_told();
    stands_and_is_withdrawn();
    a_killed_one_expires();
    a_command_is_accompanied();
    an_outage_is_survived();
    a_locked_etcd();
    lab_close(&lab);
    printf("etcd_register: %u checks held, %u failed, %lld ms\n", passes, failures, (long long)(lab_ms() - begin));
    return failures != 0;
}
