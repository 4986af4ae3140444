/* Clusters: names and targets; what etcd:// targets need. */
#include "read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define STATIC_MAX 4096

static void target_etcd(struct config_report *r, int line, struct config_cluster *cl, const char *rest)
{
    size_t n = strlen(rest);
    if (rest[0] == '\0' || strcmp(rest, "/") == 0) {
        config_fail(r, line,
                    "`target` = \"%s\" has an empty prefix and would read every key; for example: target = "
                    "\"etcd:///services/echo/\"",
                    cl->target);
        return;
    }
    cl->target_kind = CONFIG_TARGET_ETCD;
    cl->target_path = config_alloc(n + 2);
    memcpy(cl->target_path, rest, n);
    if (rest[n - 1] != '/')
        cl->target_path[n] = '/';
}

static bool static_seen(const struct config_cluster *cl, const struct base_endpoint *e)
{
    for (unsigned i = 0; i < cl->target_static_count; i++)
        if (cl->target_static[i].port == e->port && base_addr_eq(&cl->target_static[i].addr, &e->addr))
            return true;
    return false;
}

static void target_static(struct config_report *r, int line, struct config_cluster *cl, const char *rest)
{
    unsigned n = 1;
    cl->target_kind = CONFIG_TARGET_STATIC;
    for (const char *p = rest; *p != '\0'; p++)
        n += *p == ',';
    if (n > STATIC_MAX) {
        config_fail(r, line, "`target` names %u endpoints; at most %d are allowed in one static target", n, STATIC_MAX);
        return;
    }
    cl->target_static = config_alloc(n * sizeof(*cl->target_static));
    for (const char *p = rest;;) {
        size_t length = strcspn(p, ",");
        char one[BASE_ENDPOINT_TEXT];
        struct base_endpoint e;
        snprintf(one, sizeof(one), "%.*s", (int)(length < sizeof(one) ? length : sizeof(one) - 1), p);
        if (length >= sizeof(one) || !base_endpoint_parse(one, &e))
            config_fail(r, line,
                        "`target`: \"%s\" is no IP:PORT or [IPv6]:PORT; for example: target = "
                        "\"static:///10.0.0.1:50051,10.0.0.2:50051\"",
                        one);
        else if (static_seen(cl, &e))
            config_fail(r, line, "`target`: %s stands twice", one);
        else
            cl->target_static[cl->target_static_count++] = e;
        if (p[length] == '\0')
            return;
        p += length + 1;
    }
}

/* A gRPC target: scheme://authority/endpoint; the authority is always empty here. */
static void check_target(struct config_report *r, int line, struct config_cluster *cl)
{
    const char *t = cl->target, *colon = strstr(t, "://");
    size_t n = colon != NULL ? (size_t)(colon - t) : 0;
    const char *rest = colon != NULL ? colon + 3 : t;
    bool etcd = n == 4 && memcmp(t, "etcd", 4) == 0, fixed = n == 6 && memcmp(t, "static", 6) == 0;
    bool later = (n == 3 && memcmp(t, "dns", 3) == 0) || (n == 4 && memcmp(t, "file", 4) == 0);
    if (t[0] == '\0') /* reported */
        return;
    if (later)
        config_fail(r, line,
                    "`target` = \"%s\": not yet; a later version brings %.*s://. Until then: etcd:///PREFIX or "
                    "static:///IP:PORT,IP:PORT",
                    t, (int)n, t);
    else if (!etcd && !fixed)
        config_fail(r, line, "`target` = \"%s\" has no known scheme; write etcd:///PREFIX or static:///IP:PORT,IP:PORT",
                    t);
    else if (rest[0] != '/')
        config_fail(r, line, "`target` = \"%s\": after %.*s:// a third '/' must follow; for example: target = \"%s\"",
                    t, (int)n, t, etcd ? "etcd:///services/echo/" : "static:///10.0.0.1:50051");
    else if (etcd)
        target_etcd(r, line, cl, rest + 1);
    else
        target_static(r, line, cl, rest + 1);
}

#define SERVICE_MAX 65536

/* JSON in place, or "@FILE". What it means is checked by whoever reads JSON. */
static void read_service(struct config_report *r, int line, struct config_cluster *cl)
{
    const char *s = cl->service_config;
    if (s[0] == '\0')
        return;
    if (s[0] != '@') {
        cl->service_text = config_dup(s);
        return;
    }
    FILE *f = fopen(s + 1, "re");
    char *text = f != NULL ? config_alloc(SERVICE_MAX + 1) : NULL;
    size_t n = f != NULL ? fread(text, 1, SERVICE_MAX + 1, f) : 0;
    if (f == NULL || ferror(f))
        config_fail(r, line, "`service_config`: the file \"%s\" cannot be read: %s", s + 1, strerror(errno));
    else if (n > SERVICE_MAX)
        config_fail(r, line, "`service_config`: the file \"%s\" is larger than 64 KiB", s + 1);
    if (f != NULL)
        fclose(f);
    if (text != NULL)
        text[n <= SERVICE_MAX ? n : SERVICE_MAX] = '\0';
    cl->service_text = text;
}

static void check_cluster(struct config_report *r, const config_setting_t *s, const struct config *c, unsigned i)
{
    struct config_cluster *cl = &c->clusters[i];
    cl->line = config_line(s, NULL);
    config_check_name(r, config_line(s, "name"), "cluster", cl->name);
    for (unsigned j = 0; j < i; j++)
        if (cl->name[0] != '\0' && strcmp(cl->name, c->clusters[j].name) == 0) {
            config_fail(r, config_line(s, "name"), "two clusters are named \"%s\"; names must differ", cl->name);
            break;
        }
    check_target(r, config_line(s, "target"), cl);
    read_service(r, config_line(s, "service_config"), cl);
    if (cl->backoff_max_ns < cl->backoff_base_ns)
        config_fail(r, config_line(s, "connect_backoff"), "`connect_backoff`: max is shorter than base");
    if (cl->max_connections_per_endpoint < cl->connections_per_endpoint)
        config_fail(r, config_line(s, "connections_per_endpoint"),
                    "`max_connections_per_endpoint` = %u is less than `connections_per_endpoint` = %u",
                    cl->max_connections_per_endpoint, cl->connections_per_endpoint);
    if (cl->lb_weights[0] != '\0' && cl->policy != CONFIG_WEIGHTED_ROUND_ROBIN)
        config_warn(r, config_line(s, "lb_config"),
                    "`lb_config.weights` says nothing to %s; it is a key of weighted_round_robin",
                    config_policy_names[cl->policy]);
}

static bool good_url(const char *url, bool *https)
{
    *https = strncmp(url, "https://", 8) == 0;
    if (!*https && strncmp(url, "http://", 7) != 0)
        return false;
    const char *host = url + (*https ? 8 : 7);
    size_t n = strcspn(host, "/");
    const char *tail = host + n, *port = memrchr(host, ':', n);
    if (n == 0 || strpbrk(host, " \t\"<>@?#") != NULL || (tail[0] == '/' && tail[1] != '\0'))
        return false;
    if (host[0] == '[' && (port == NULL || port[-1] != ']'))
        return host[n - 1] == ']';
    if (port == NULL)
        return true;
    size_t digits = strspn(port + 1, "0123456789");
    unsigned long v = strtoul(port + 1, NULL, 10);
    return port > host && digits > 0 && digits <= 5 && port + 1 + digits == tail && v >= 1 && v <= 65535;
}

static void check_file(struct config_report *r, const config_setting_t *etcd, const char *key, const char *path)
{
    if (path[0] == '\0')
        return;
    if (path[0] != '/')
        config_fail(r, config_line(etcd, key), "`etcd.%s` = \"%s\" is no absolute path", key, path);
}

static void check_etcd(struct config_report *r, const config_setting_t *root, const struct config *c)
{
    const config_setting_t *s = config_setting_get_member(root, "etcd");
    bool https = false, one;
    for (unsigned i = 0; i < c->etcd.endpoint_count; i++) {
        if (!good_url(c->etcd.endpoints[i], &one))
            config_fail(r, config_line(s, "endpoints"),
                        "`etcd.endpoints`: \"%s\" is no URL http://HOST:PORT or https://HOST:PORT; for example: "
                        "endpoints = [ \"http://127.0.0.1:2379\" ]",
                        c->etcd.endpoints[i]);
        https = https || one;
    }
    if ((c->etcd.cert[0] == '\0') != (c->etcd.key[0] == '\0'))
        config_fail(r, config_line(s, c->etcd.cert[0] != '\0' ? "cert" : "key"),
                    "`etcd.cert` and `etcd.key` go together: one of them is missing");
    if (c->etcd.username[0] != '\0' && c->etcd.password_file[0] == '\0')
        config_fail(r, config_line(s, "username"),
                    "`etcd.username` needs `etcd.password_file`, a file whose first line is the password");
    if (c->etcd.username[0] == '\0' && c->etcd.password_file[0] != '\0')
        config_fail(r, config_line(s, "password_file"), "`etcd.password_file` needs `etcd.username`");
    if (!https && c->etcd.endpoint_count > 0 && (c->etcd.ca[0] != '\0' || c->etcd.cert[0] != '\0'))
        config_warn(r, config_line(s, c->etcd.ca[0] != '\0' ? "ca" : "cert"),
                    "none of `etcd.endpoints` is https://, so certificates are not used");
    check_file(r, s, "password_file", c->etcd.password_file);
    check_file(r, s, "ca", c->etcd.ca);
    check_file(r, s, "cert", c->etcd.cert);
    check_file(r, s, "key", c->etcd.key);
}

void config_check_clusters(struct config_report *r, const config_setting_t *root, struct config *c)
{
    bool given = config_setting_get_member(root, "etcd") != NULL &&
                 config_setting_get_member(config_setting_get_member(root, "etcd"), "endpoints") != NULL;
    for (unsigned i = 0; i < c->cluster_count; i++) {
        const config_setting_t *s = config_group(root, "clusters", i);
        check_cluster(r, s, c, i);
        if (c->clusters[i].target_path != NULL && !given)
            config_fail(r, config_line(s, "target"),
                        "cluster \"%s\" reads from etcd, but `etcd.endpoints` is missing; for example: etcd: { "
                        "endpoints = [ \"http://127.0.0.1:2379\" ]; };",
                        c->clusters[i].name);
    }
    check_etcd(r, root, c);
}
