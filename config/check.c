/* What keys mean together: names, limits, cores, EAL options, the admin address.  Ports, routes and clusters have files
 * of their own. */
#include "read.h"

#include <stdlib.h>

int config_line(const config_setting_t *group, const char *name)
{
    const config_setting_t *s = group != NULL && name != NULL ? config_setting_get_member(group, name) : NULL;
    if (s != NULL)
        return (int)s->line;
    return group != NULL ? (int)group->line : 1;
}

const config_setting_t *config_group(const config_setting_t *parent, const char *list, unsigned i)
{
    const config_setting_t *s = parent != NULL ? config_setting_get_member(parent, list) : NULL;
    return s != NULL ? config_setting_get_elem(s, i) : NULL;
}

bool config_check_name(struct config_report *r, int line, const char *what, const char *name)
{
    size_t n = strlen(name);
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    if (n == 0 || (strspn(name, good) == n && n < 64))
        return true;
    config_fail(r, line, "%s name \"%s\": 1 to 63 letters, digits, '_', '.' and '-' are allowed", what, name);
    return false;
}

/* limits.memory against what connections and streams take at least. The exact sum, with the rooms' true sizes, is
 * start-up's. */
#define CONNECTION_BYTES_MIN 2048ull
#define STREAM_BYTES_MIN     512ull

static void check_limits(struct config_report *r, const config_setting_t *root, const struct config *c)
{
    const config_setting_t *s = config_setting_get_member(root, "limits");
    uint64_t connections = c->limits.connections * CONNECTION_BYTES_MIN, streams = c->limits.streams * STREAM_BYTES_MIN;
    if (connections + streams > c->limits.memory)
        config_fail(r, config_line(s, "memory"),
                    "`limits.memory` = %llu MiB can't hold connections = %u of at least %llu bytes (%llu MiB) and "
                    "streams = %u of at least %llu bytes (%llu MiB)",
                    (unsigned long long)(c->limits.memory >> 20), c->limits.connections, CONNECTION_BYTES_MIN,
                    (unsigned long long)(connections >> 20), c->limits.streams, STREAM_BYTES_MIN,
                    (unsigned long long)(streams >> 20));
}

/* "2-5,7" -> how many cores; 0: not such a list, a core twice or beyond 1023, a range backwards. */
static unsigned count_cores(const char *text)
{
    bool seen[1024] = {false};
    unsigned n = 0;
    for (const char *p = text;;) {
        char *end;
        if (*p < '0' || *p > '9')
            return 0;
        unsigned long low = strtoul(p, &end, 10), high = low;
        if (*end == '-') {
            if (end[1] < '0' || end[1] > '9')
                return 0;
            high = strtoul(end + 1, &end, 10);
        }
        if (high >= 1024 || low > high)
            return 0;
        for (unsigned long core = low; core <= high; core++, n++) {
            if (seen[core])
                return 0;
            seen[core] = true;
        }
        if (*end == '\0')
            return n;
        if (*end != ',')
            return 0;
        p = end + 1;
    }
}

static void check_workers(struct config_report *r, const config_setting_t *root, struct config *c)
{
    int line = config_line(root, "cores");
    if (c->cores[0] != '\0') {
        unsigned n = count_cores(c->cores);
        if (config_setting_get_member(root, "workers") != NULL)
            config_fail(
                r, line,
                "`workers` and `cores` are both given; `cores` says how many workers there are: leave `workers` out");
        if (n == 0 || n > 64)
            config_fail(r, line,
                        "`cores` = \"%s\" is no list of 1 to 64 different cores; for example: cores = \"2-5,7\"",
                        c->cores);
        else
            c->workers = n;
    }
}

/* getopt_long takes every unambiguous beginning of a long option's name. */
static bool long_option(const char *given, const char *name, size_t shortest)
{
    size_t n = strcspn(given, "=");
    return n >= shortest && strncmp(given, name, n) == 0 && n <= strlen(name);
}

static const char *refused_option(const char *o)
{
    if (o[0] != '-')
        return NULL;
    if (o[1] == '-') {
        if (long_option(o, "--lcores", 4) || long_option(o, "--main-lcore", 4))
            return "`workers` and `cores` say where workers run";
        if (long_option(o, "--vdev", 4) || long_option(o, "--allow", 4))
            return "`ports[].device` names the devices";
        return NULL;
    }
    if (o[1] == 'l' || o[1] == 'c')
        return "`workers` and `cores` say where workers run";
    return o[1] == 'a' ? "`ports[].device` names the devices" : NULL;
}

static void check_eal(struct config_report *r, const config_setting_t *root, const struct config *c)
{
    const config_setting_t *group = config_setting_get_member(root, "dpdk"),
                           *s = group != NULL ? config_setting_get_member(group, "eal") : NULL;
    for (unsigned i = 0; i < c->eal_count; i++) {
        const char *why = refused_option(c->eal[i]);
        const config_setting_t *e =
            s != NULL && (int)i < config_setting_length(s) ? config_setting_get_elem(s, i) : NULL;
        int line = e != NULL ? (int)e->line : config_line(group, "eal");
        if (why != NULL)
            config_fail(r, line, "the EAL option \"%s\" is refused in `dpdk.eal`: %s", c->eal[i], why);
        else if (c->eal[i][0] == '\0')
            config_fail(r, line,
                        "an EAL option is empty; write each word of the command line as an element of its own, such as "
                        "\"-m\", \"512\"");
        else if (strpbrk(c->eal[i], " \t\n") != NULL && c->eal[i][0] == '-')
            config_fail(r, line,
                        "the EAL option \"%s\" holds a space; write each word as an element of its own, such as "
                        "\"-m\", \"512\"",
                        c->eal[i]);
    }
}

static void check_admin(struct config_report *r, const config_setting_t *root, const struct config *c)
{
    const config_setting_t *s = config_setting_get_member(root, "admin");
    char text[BASE_ADDR_TEXT];
    for (unsigned i = 0; i < c->port_count; i++)
        for (unsigned j = 0; j < c->ports[i].address_count; j++)
            if (base_addr_eq(&c->ports[i].address[j].addr, &c->admin.addr))
                config_fail(r, config_line(s, "bind"),
                            "`admin.bind`: %s is an address of port \"%s\"; the admin server is on the kernel's "
                            "network, for example 127.0.0.1:9901",
                            base_addr_format(&c->admin.addr, text), c->ports[i].name);
}

static void check_metrics(struct config_report *r, const config_setting_t *root, const struct config *c)
{
    const config_setting_t *s = config_setting_get_member(root, "log");
    if (c->log_access[0] != '\0' && c->log_access[0] != '/' && strcmp(c->log_access, "stderr") != 0)
        config_fail(r, config_line(s, "access"), "`log.access` = \"%s\": an absolute path, or \"stderr\"",
                    c->log_access);
}

void config_check(struct config_report *r, const config_setting_t *root, struct config *c)
{
    check_limits(r, root, c);
    check_workers(r, root, c);
    check_eal(r, root, c);
    config_check_ports(r, root, c);
    config_check_clusters(r, root, c);
    config_check_routes(r, root, c);
    check_admin(r, root, c);
    check_metrics(r, root, c);
}
