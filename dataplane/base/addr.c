/* Addresses to and from text. */
#include "addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

bool base_addr_parse(const char *text, struct base_addr *out)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, text, &v4) == 1) {
        *out = base_addr_from_v4(v4.s_addr);
        return true;
    }
    if (inet_pton(AF_INET6, text, &v6) == 1) {
        *out = base_addr_from_v6(&v6);
        return true;
    }
    return false;
}

static bool parse_number(const char *text, unsigned long low, unsigned long high, unsigned long *out)
{
    if (*text < '0' || *text > '9')
        return false;
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (*end != '\0' || end - text > 5 || v < low || v > high)
        return false;
    *out = v;
    return true;
}

bool base_endpoint_parse(const char *text, struct base_endpoint *out)
{
    char host[BASE_ADDR_TEXT];
    const char *begin = text, *end, *port;
    bool bracket = *text == '[';
    if (bracket) {
        begin = text + 1;
        end = strchr(begin, ']');
        if (end == NULL || end[1] != ':')
            return false;
        port = end + 2;
    } else {
        end = strchr(text, ':');
        if (end == NULL)
            return false;
        port = end + 1;
    }
    size_t n = (size_t)(end - begin);
    unsigned long number;
    if (n == 0 || n >= sizeof(host) || !parse_number(port, 1, 65535, &number))
        return false;
    memcpy(host, begin, n);
    host[n] = '\0';
    if (bracket != (strchr(host, ':') != NULL) || !base_addr_parse(host, &out->addr))
        return false;
    out->port = (uint16_t)number;
    return true;
}

bool base_prefix_parse(const char *text, struct base_addr *out, unsigned *bits)
{
    char host[BASE_ADDR_TEXT];
    const char *slash = strchr(text, '/');
    unsigned long n;
    if (slash == NULL || (size_t)(slash - text) >= sizeof(host))
        return false;
    memcpy(host, text, (size_t)(slash - text));
    host[slash - text] = '\0';
    if (!base_addr_parse(host, out) || !parse_number(slash + 1, 0, base_addr_is_v4(out) ? 32 : 128, &n))
        return false;
    *bits = (unsigned)n;
    return true;
}

const char *base_addr_format(const struct base_addr *a, char buf[BASE_ADDR_TEXT])
{
    const char *ok = base_addr_is_v4(a) ? inet_ntop(AF_INET, &a->w[3], buf, BASE_ADDR_TEXT)
                                        : inet_ntop(AF_INET6, a->b, buf, BASE_ADDR_TEXT);
    return ok != NULL ? buf : "?";
}

const char *base_endpoint_format(const struct base_endpoint *e, char buf[BASE_ENDPOINT_TEXT])
{
    char host[BASE_ADDR_TEXT];
    base_addr_format(&e->addr, host);
    snprintf(buf, BASE_ENDPOINT_TEXT, base_addr_is_v4(&e->addr) ? "%s:%u" : "[%s]:%u", host, e->port);
    return buf;
}
