/* Ports: devices, addresses, gateways, sizes; listeners' addresses against them. */
#include "read.h"

#include <stdlib.h>

static bool in_prefix(const struct base_addr *a, const struct config_prefix *p)
{
    bool v4 = base_addr_is_v4(&p->addr);
    if (v4 != base_addr_is_v4(a))
        return false;
    unsigned bits = p->bits + (v4 ? 96 : 0);
    if (memcmp(a->b, p->addr.b, bits / 8) != 0)
        return false;
    unsigned rest = bits % 8;
    return rest == 0 || ((a->b[bits / 8] ^ p->addr.b[bits / 8]) >> (8 - rest)) == 0;
}

static bool hex_digits(const char *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (strchr("0123456789abcdefABCDEF", p[i]) == NULL || p[i] == '\0')
            return false;
    return true;
}

/* "3b:00.0" or "0000:3b:00.0", and device arguments after a comma. */
static bool is_pci(const char *d)
{
    size_t n = strcspn(d, ",");
    if (n == 12) {
        if (!hex_digits(d, 4) || d[4] != ':')
            return false;
        d += 5;
    } else if (n != 7) {
        return false;
    }
    return hex_digits(d, 2) && d[2] == ':' && hex_digits(d + 3, 2) && d[5] == '.' && d[6] >= '0' && d[6] <= '7';
}

static bool is_vdev(const char *d)
{
    static const char *const kinds[] = {"net_", "eth_", "virtio_user"};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
        if (strncmp(d, kinds[i], strlen(kinds[i])) == 0)
            return strpbrk(d, " \t") == NULL;
    return false;
}

/* The part of a device that names it: before the first comma. */
static bool same_device(const char *a, const char *b)
{
    size_t n = strcspn(a, ","), m = strcspn(b, ",");
    return n == m && strncmp(a, b, n) == 0;
}

static void check_device(struct config_report *r, const config_setting_t *s, const struct config *c, unsigned i)
{
    const struct config_port *p = &c->ports[i];
    if (p->device[0] == '\0')
        return;
    if (!is_pci(p->device) && !is_vdev(p->device))
        config_fail(r, config_line(s, "device"),
                    "`device` = \"%s\" is neither a DPDK virtual device, such as \"net_tap0,iface=pen0\", nor a PCI "
                    "address, such as \"0000:3b:00.0\"",
                    p->device);
    for (unsigned j = 0; j < i; j++)
        if (same_device(p->device, c->ports[j].device))
            config_fail(r, config_line(s, "device"), "device \"%.*s\" is already that of port \"%s\"",
                        (int)strcspn(p->device, ","), p->device, c->ports[j].name);
}

/* The last address of a prefix, or the first: no host's in IPv4 (RFC 1122 section 3.2.1.3), /31 and /32 apart (RFC
 * 3021). */
static bool is_edge(const struct config_prefix *p)
{
    if (!base_addr_is_v4(&p->addr) || p->bits >= 31)
        return false;
    uint32_t host = __builtin_bswap32(base_addr_v4(&p->addr)) & (UINT32_MAX >> p->bits);
    return host == 0 || host == UINT32_MAX >> p->bits;
}

static const char *no_unicast(const struct base_addr *a)
{
    if (base_addr_is_v4(a)) {
        uint8_t first = a->b[12];
        return first == 127   ? "a loopback address"
               : first == 0   ? "no host's address"
               : first >= 224 ? "a multicast or reserved address"
                              : NULL;
    }
    static const struct base_addr loopback = {.b = {[15] = 1}};
    if (base_addr_is_zero(a))
        return "no host's address";
    return base_addr_eq(a, &loopback) ? "a loopback address" : a->b[0] == 0xff ? "a multicast address" : NULL;
}

static void check_address(struct config_report *r, int line, const struct config *c, unsigned port, unsigned i)
{
    const struct config_prefix *a = &c->ports[port].address[i];
    char text[BASE_ADDR_TEXT];
    const char *why = no_unicast(&a->addr);
    base_addr_format(&a->addr, text);
    if (why != NULL)
        config_fail(r, line, "`address`: %s is %s; a port needs a unicast address such as 198.18.0.2/24", text, why);
    else if (is_edge(a))
        config_fail(r, line, "`address`: %s/%u is the first or last address of its own prefix, which no host may have",
                    text, a->bits);
    for (unsigned p = 0; p <= port; p++)
        for (unsigned k = 0; k < (p < port ? c->ports[p].address_count : i); k++)
            if (base_addr_eq(&a->addr, &c->ports[p].address[k].addr))
                config_fail(r, line, "`address`: %s stands twice; it is already an address of port \"%s\"", text,
                            c->ports[p].name);
}

static void check_gateways(struct config_report *r, const config_setting_t *s, const struct config_port *p)
{
    int line = config_line(s, "gateway");
    char text[BASE_ADDR_TEXT];
    for (unsigned i = 0; i < p->gateway_count; i++) {
        const struct base_addr *g = &p->gateway[i];
        bool on_link = base_addr_is_v4(g) == false && g->b[0] == 0xfe && (g->b[1] & 0xc0) == 0x80; /* link-local */
        base_addr_format(g, text);
        for (unsigned k = 0; k < p->address_count; k++) {
            on_link = on_link || in_prefix(g, &p->address[k]);
            if (base_addr_eq(g, &p->address[k].addr))
                config_fail(r, line, "`gateway`: %s is port \"%s\"'s own address; name the next hop's", text, p->name);
        }
        if (!on_link && p->address_count > 0)
            config_fail(
                r, line,
                "`gateway`: %s is in none of the prefixes of port \"%s\", so it can't be reached; it must be on-link",
                text, p->name);
    }
    if (p->gateway_count == 2 && base_addr_is_v4(&p->gateway[0]) == base_addr_is_v4(&p->gateway[1]))
        config_fail(r, line, "`gateway`: two of one family; one next hop for IPv4 and one for IPv6 are allowed");
}

static void check_port(struct config_report *r, const config_setting_t *s, const struct config *c, unsigned i)
{
    const struct config_port *p = &c->ports[i];
    bool v6 = false;
    config_check_name(r, config_line(s, "name"), "port", p->name);
    for (unsigned j = 0; j < i; j++)
        if (p->name[0] != '\0' && strcmp(p->name, c->ports[j].name) == 0)
            config_fail(r, config_line(s, "name"), "two ports are named \"%s\"; names must differ", p->name);
    check_device(r, s, c, i);
    for (unsigned k = 0; k < p->address_count; k++) {
        check_address(r, config_line(s, "address"), c, i, k);
        v6 = v6 || !base_addr_is_v4(&p->address[k].addr);
    }
    check_gateways(r, s, p);
    if (v6 && p->mtu < 1280) /* RFC 8200 section 5 */
        config_fail(r, config_line(s, "mtu"),
                    "`mtu` = %u is too small for port \"%s\", which has an IPv6 address: 1280 at least", p->mtu,
                    p->name);
}

static bool port_has(const struct config *c, const struct base_addr *a)
{
    for (unsigned i = 0; i < c->port_count; i++)
        for (unsigned k = 0; k < c->ports[i].address_count; k++)
            if (base_addr_eq(&c->ports[i].address[k].addr, a))
                return true;
    return false;
}

static void check_bind(struct config_report *r, int line, const struct config *c, unsigned i)
{
    const struct config_listener *l = &c->listeners[i];
    char text[BASE_ENDPOINT_TEXT], addr[BASE_ADDR_TEXT];
    if (l->bind.port == 0) /* reported */
        return;
    base_endpoint_format(&l->bind, text);
    for (unsigned j = 0; j < i; j++)
        if (l->bind.port == c->listeners[j].bind.port && base_addr_eq(&l->bind.addr, &c->listeners[j].bind.addr))
            config_fail(r, line, "`bind` = \"%s\" is already that of listener \"%s\"", text, c->listeners[j].name);
    if (port_has(c, &l->bind.addr))
        return;
    struct config_text all = {0};
    for (unsigned p = 0; p < c->port_count; p++)
        for (unsigned k = 0; k < c->ports[p].address_count; k++)
            config_text_add(&all, "%s%s", all.length > 0 ? ", " : "",
                            base_addr_format(&c->ports[p].address[k].addr, addr));
    config_fail(r, line, "`bind` = \"%s\" is on none of the ports' addresses (%s); a listener binds to one of them",
                text, all.length > 0 ? all.text : "there is none");
    free(all.text);
}

void config_check_ports(struct config_report *r, const config_setting_t *root, struct config *c)
{
    for (unsigned i = 0; i < c->port_count; i++)
        check_port(r, config_group(root, "ports", i), c, i);
    for (unsigned i = 0; i < c->listener_count; i++) {
        const config_setting_t *s = config_group(root, "listeners", i);
        c->listeners[i].line = config_line(s, NULL);
        config_check_name(r, config_line(s, "name"), "listener", c->listeners[i].name);
        for (unsigned j = 0; j < i; j++)
            if (c->listeners[i].name[0] != '\0' && strcmp(c->listeners[i].name, c->listeners[j].name) == 0)
                config_fail(r, config_line(s, "name"), "two listeners are named \"%s\"; names must differ",
                            c->listeners[i].name);
        check_bind(r, config_line(s, "bind"), c, i);
    }
}
