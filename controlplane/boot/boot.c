/* The process from its arguments to its exit. */
#include "internal.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define BEAT_NS   10000000ull /* reports, publishing, logs: every 10 ms */
#define SETTLE_NS 300000000ull /* resets and GOAWAYs of the last turn leave the device */

static void usage(FILE *to)
{
    fputs("usage: penstock -c FILE [--check | --print-config]\n"
          "\n"
          "The penstock gateway: balances every gRPC call over the endpoints of its cluster, in user space on DPDK.\n"
          "\n"
          "  -c, --config FILE   the configuration (docs/CONFIGURATION.md; examples under config/examples)\n"
          "      --check         validate FILE, print FILE:LINE: message for each error, and exit\n"
          "      --print-config  print the effective configuration, defaults included, and exit\n"
          "      --help          this text\n"
          "      --version       the version\n"
          "\n"
          "SIGHUP loads FILE anew and applies what differs; a file with faults is refused and changes nothing.\n"
          "SIGTERM drains (GOAWAY to every client, running calls finish, at most drain_timeout) and exits 0; a second one ends at once.\n"
          "Needs root (or CAP_NET_ADMIN) for a virtual port. No hugepages need to be reserved.\n"
          "Look at the running gateway with: penstockctl status\n",
          to);
}

struct arguments {
    const char *file;
    bool check, print;
};

/* Exit status, or -1: go on. */
static int parse_arguments(int argc, char **argv, struct arguments *a)
{
    enum { CHECK = 256, PRINT, HELP, VERSION };
    static const struct option options[] = {{"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, CHECK},
                                            {"print-config", no_argument, NULL, PRINT}, {"help", no_argument, NULL, HELP},
                                            {"version", no_argument, NULL, VERSION},    {NULL, 0, NULL, 0}};
    for (int o; (o = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        switch (o) {
        case 'c':
            a->file = optarg;
            break;
        case CHECK:
            a->check = true;
            break;
        case PRINT:
            a->print = true;
            break;
        case 'h':
        case HELP:
            usage(stdout);
            return 0;
        case VERSION:
            puts("penstock " PENSTOCK_VERSION);
            return 0;
        default:
            fputs("Try: penstock --help\n", stderr);
            return 2;
        }
    }
    if (a->file == NULL || optind < argc) {
        usage(stderr);
        return 2;
    }
    return -1;
}

static struct config *load(const char *file)
{
    struct config_errors e = {0};
    struct config *c = config_load(file, &e);
    if (c != NULL && !boot_check_services(c, &e)) {
        config_free(c);
        c = NULL;
    }
    for (unsigned i = 0; i < e.warning_count; i++)
        fprintf(stderr, "%s\n", e.warnings[i]);
    for (unsigned i = 0; i < e.count; i++)
        fprintf(stderr, "%s\n", e.text[i]);
    config_errors_free(&e);
    return c;
}

static void drain_logs(struct boot *b)
{
    for (unsigned w = 0; w < b->workers; w++)
        for (struct mailbox_log r; mailbox_log_next(b->mailbox[w], &r);)
            loop_log_text(r.level, r.text, r.length);
}

/* A worker that stopped turning is named, once a second, whether anybody waits for it (publish_laggard) or not.  An idle one turns
 * every millisecond. */
static void watch_workers(struct boot *b, uint64_t now)
{
    for (unsigned w = 0; w < b->launched; w++) {
        uint64_t turns = worker_turns(b->worker[w]);
        if (turns != b->turns[w] || b->turned_ns[w] == 0) {
            b->turns[w] = turns;
            b->turned_ns[w] = b->stuck_told_ns[w] = now;
        } else if (now - b->stuck_told_ns[w] >= 1000000000ull) {
            b->stuck_told_ns[w] = now;
            loop_log(LOOP_LOG_WARN, "worker %u has not turned for %llu ms", w, (unsigned long long)((now - b->turned_ns[w]) / 1000000));
        }
    }
}

/* What subset_size makes of workers x endpoints: told when it changes by more than a quarter, or leaves endpoints out. */
static void tell_budgets(struct boot *b)
{
    for (uint32_t i = 0; i < membership_cluster_count(b->membership); i++) {
        const struct membership_cluster *c = membership_cluster(b->membership, (uint16_t)i);
        struct policy_budget n = publish_budget(b->publish, (uint16_t)i);
        uint64_t key = (n.connections + c->present) * 2 + (n.unheld > 0) + 1, told = b->budget_told[i];
        if (n.connections == 0 || (told != 0 && (key & 1) == (told & 1) && key <= told + told / 4 && key + key / 4 >= told))
            continue;
        b->budget_told[i] = key;
        if (n.unheld > 0)
            loop_log(LOOP_LOG_WARN, "cluster %s: %u endpoints, %llu connections of %u workers: subset_size leaves %u endpoints without any", c->name,
                     c->present, (unsigned long long)n.connections, b->workers, n.unheld);
        else
            loop_log(LOOP_LOG_INFO, "cluster %s: %u endpoints, %llu connections of %u workers (%llu at most), each endpoint held by %u to %u of them",
                     c->name, c->present, (unsigned long long)n.connections, b->workers, (unsigned long long)n.at_most, n.held_least, n.held_most);
    }
}

static void beat(void *user)
{
    struct boot *b = user;
    uint64_t now = loop_now(b->loop);
    membership_tick(b->membership, now);
    boot_reload_tick(b, now);
    publish_turn(b->publish, now);
    admin_observe(b->admin);
    tell_budgets(b);
    drain_logs(b);
    watch_workers(b, now);
    boot_watch_devices(b);
    loop_timer_set(b->beat, BEAT_NS);
}

static void changed(void *user)
{
    struct boot *b = user;
    publish_turn(b->publish, loop_now(b->loop));
}

void boot_drain(struct boot *b)
{
    b->terms++;
    if (b->draining)
        return;
    b->draining = true;
    b->drain_until_ns = loop_now(b->loop) + b->config->drain_timeout_ns;
    loop_log(LOOP_LOG_INFO, "draining: no new connections, running calls have %llu s to finish",
             (unsigned long long)(b->config->drain_timeout_ns / 1000000000ull));
    publish_drain(b->publish);
    publish_turn(b->publish, loop_now(b->loop));
}

static void hang_up(struct boot *b)
{
    struct config_errors said = {0};
    loop_log(LOOP_LOG_INFO, "SIGHUP: loading %s", b->config->file);
    boot_reload(b, &said);
    config_errors_free(&said);
}

static void on_signal(void *user, uint32_t events)
{
    struct boot *b = user;
    struct signalfd_siginfo info;
    (void)events;
    while (read(b->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGHUP || info.ssi_signo == SIGUSR1)
            admin_reopen(b->admin);
        if (info.ssi_signo == SIGUSR1)
            continue;
        if (info.ssi_signo == SIGHUP)
            hang_up(b);
        else
            boot_drain(b);
    }
}

static bool block_signals(int *fd)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    *fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return *fd >= 0;
}

static bool create_controlplane(struct boot *b, char *error, size_t error_len)
{
    b->membership = membership_create(b->workers);
    membership_configure(b->membership, b->config, loop_now(b->loop));
    b->publish = publish_create(b->door, b->membership, b->mailbox, b->workers);
    publish_config(b->publish, b->config);
    b->resolvers = resolvers_create(b->loop, b->membership, changed, b);
    struct admin_view view = boot_admin_view(b);
    b->admin = admin_create(b->loop, &view, error, error_len);
    if (b->admin == NULL)
        return false;
    boot_telemetry_start(b);
    b->signals = loop_watch_add(b->loop, b->signal_fd, EPOLLIN, on_signal, b);
    b->beat = loop_timer_add(b->loop, beat, b);
    return true;
}

static void destroy_controlplane(struct boot *b)
{
    if (b->telemetry != NULL)
        boot_telemetry_stop(b);
    if (b->admin != NULL)
        admin_destroy(b->admin);
    if (b->resolvers != NULL)
        resolvers_destroy(b->resolvers);
    if (b->publish != NULL)
        publish_destroy(b->publish);
    if (b->membership != NULL)
        membership_destroy(b->membership);
    if (b->beat != NULL)
        loop_timer_remove(b->beat);
    if (b->signals != NULL)
        loop_watch_remove(b->signals);
}

static bool finished(const struct boot *b)
{
    return b->terms > 1 || (b->draining && (publish_drained(b->publish) || loop_now(b->loop) >= b->drain_until_ns));
}

static void run(struct boot *b)
{
    publish_turn(b->publish, loop_now(b->loop)); /* generation 1: ports, listeners, clusters still empty */
    boot_dataplane_launch(b);
    resolvers_configure(b->resolvers, b->config);
    loop_timer_set(b->beat, BEAT_NS);
    loop_log(LOOP_LOG_INFO, "penstock " PENSTOCK_VERSION " runs: %u worker%s, %u port%s", b->workers, b->workers == 1 ? "" : "s", b->ports,
             b->ports == 1 ? "" : "s");
    while (!finished(b))
        loop_turn(b->loop, -1);
    if (b->terms <= 1)
        for (uint64_t end = loop_now(b->loop) + SETTLE_NS; loop_now(b->loop) < end;)
            loop_turn(b->loop, 10);
    if (!publish_drained(b->publish))
        loop_log(LOOP_LOG_WARN, b->terms > 1 ? "ended by a second signal" : "drain_timeout passed with calls still running");
    boot_dataplane_stop(b);
    drain_logs(b);
    loop_log(LOOP_LOG_INFO, "penstock ends");
}

static int gateway(struct config *config)
{
    struct boot b = {.config = config, .workers = config->workers};
    boot_reload_started(&b);
    char error[2048] = "";
    loop_log_set_level((unsigned)config->log_level);
    b.loop = loop_create();
    bool ok = b.loop != NULL && block_signals(&b.signal_fd);
    if (!ok)
        snprintf(error, sizeof(error), "no event loop: %s", strerror(errno));
    bool eal = ok && boot_eal_start(&b, "penstock", error, sizeof(error));
    ok = eal && boot_dataplane_create(&b, error, sizeof(error)) && create_controlplane(&b, error, sizeof(error));
    if (ok)
        run(&b);
    else
        fprintf(stderr, "penstock: %s\n", error);
    destroy_controlplane(&b);
    boot_dataplane_destroy(&b);
    if (b.loop != NULL)
        loop_destroy(b.loop);
    if (eal)
        boot_eal_stop();
    boot_reload_free(&b);
    return ok ? 0 : 1;
}

int boot_main(int argc, char **argv)
{
    struct arguments a = {0};
    int status = parse_arguments(argc, argv, &a);
    if (status >= 0)
        return status;
    struct config *c = load(a.file);
    if (c == NULL)
        return 1;
    if (a.print) {
        char *text = config_print(c);
        fputs(text, stdout);
        free(text);
    } else if (a.check) {
        fprintf(stderr, "%s: the configuration is valid\n", a.file);
    } else {
        return gateway(c); /* which frees it */
    }
    config_free(c);
    return 0;
}
