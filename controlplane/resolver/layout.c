/* The layouts that registries write: members, addresses and weights.
 *
 *   grpc-naming  {"Op":0,"Addr":"IP:PORT","Metadata":{"weight":3}}          etcd's own clientv3/naming
 *   grpclb       {"Name":..,"Addr":"IP:PORT","Weight":3,..}                 the address may stand in the key alone
 *   kratos       {"id":..,"endpoints":["grpc://IP:PORT?isSecure=false",..],"metadata":{"weight":"3"}}
 *   micro        {"name":..,"nodes":[{"id":..,"address":"IP:PORT","metadata":{..}}]}
 *   kitex        {"network":"tcp","address":"IP:PORT","weight":10,"tags":{..}}
 *   apisix       {"nodes":{"IP:PORT":WEIGHT}} or {"nodes":[{"host":"IP","port":N,"weight":N}]}
 *   dubbo        the key: a percent-encoded URL "tri://IP:PORT/..?weight=N" */
#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool layout_bad(struct resolver_value *out, const char *why)
{
    out->why = why;
    return false;
}

bool layout_add(struct resolver_value *out, const struct base_endpoint *address, uint32_t weight)
{
    if (out->count == RESOLVER_VALUE_ENDPOINTS_MAX)
        return layout_bad(out, "more endpoints than one entry may name");
    out->at[out->count++] = (struct resolver_endpoint){*address, weight};
    return true;
}

bool layout_address(const char *text, size_t n, struct base_endpoint *out)
{
    char copy[BASE_ENDPOINT_TEXT + 8];
    if (n >= sizeof(copy) || memchr(text, '\0', n) != NULL)
        return false;
    memcpy(copy, text, n);
    copy[n] = '\0';
    return base_endpoint_parse(copy, out);
}

/* Metadata may be any JSON: members of what is no object are absent. */
static const cJSON *member(const cJSON *o, const char *name)
{
    return cJSON_IsObject(o) ? cJSON_GetObjectItem(o, name) : NULL;
}

static bool weight_of(double w, uint32_t *out)
{
    if (!(w >= 0)) /* NaN as well */
        return false;
    *out = w >= RESOLVER_WEIGHT_MAX ? RESOLVER_WEIGHT_MAX : (uint32_t)ceil(w);
    return true;
}

static bool weight_text(const char *text, uint32_t *out)
{
    if (*text < '0' || *text > '9')
        return false;
    if (text[strspn(text, "0123456789.")] != '\0')
        return false; /* strtod() would take "0x10", "1e9", "nan" */
    char *end;
    double w = strtod(text, &end);
    return *end == '\0' && weight_of(w, out);
}

/* Absent and null leave *out. */
static bool weight_read(const cJSON *v, uint32_t *out)
{
    if (v == NULL || cJSON_IsNull(v))
        return true;
    if (cJSON_IsNumber(v))
        return weight_of(v->valuedouble, out);
    return cJSON_IsString(v) && weight_text(v->valuestring, out);
}

/* The first place that has one counts. */
static bool weight_find(const cJSON *o, uint32_t *out)
{
    const cJSON *places[] = {member(member(o, "metadata"), "weight"), member(o, "weight"), member(member(o, "tags"), "weight")};
    *out = 1;
    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++)
        if (places[i] != NULL && !cJSON_IsNull(places[i]))
            return weight_read(places[i], out);
    return true;
}

static bool one(const cJSON *o, const cJSON *address, struct resolver_value *out)
{
    struct base_endpoint e;
    uint32_t weight;
    if (!cJSON_IsString(address) || !layout_address(address->valuestring, strlen(address->valuestring), &e))
        return layout_bad(out, "its address is not IP:PORT");
    if (!weight_find(o, &weight))
        return layout_bad(out, "its weight is not a number from 0 on");
    return layout_add(out, &e, weight);
}

static bool naming(const cJSON *root, struct resolver_value *out)
{
    const cJSON *op = member(root, "op");
    if (cJSON_IsNumber(op) && op->valuedouble == 1)
        return true; /* the old naming API's "delete" */
    return one(root, member(root, "addr"), out);
}

static bool grpclb(const cJSON *root, const char *key, size_t key_len, struct resolver_value *out)
{
    uint32_t weight;
    if (member(root, "addr") != NULL)
        return one(root, member(root, "addr"), out);
    if (!weight_find(root, &weight))
        return layout_bad(out, "its weight is not a number from 0 on");
    if (!layout_last_segment(key, key_len, out))
        return false;
    out->at[0].weight = weight;
    return true;
}

static bool kratos(const cJSON *root, struct resolver_value *out)
{
    const cJSON *item;
    uint32_t weight;
    if (!weight_find(root, &weight))
        return layout_bad(out, "its weight is not a number from 0 on");
    cJSON_ArrayForEach(item, member(root, "endpoints"))
    {
        struct base_endpoint e;
        const char *url = cJSON_IsString(item) ? item->valuestring : "";
        if (strncmp(url, "grpc://", 7) != 0)
            continue;
        if (strstr(url, "isSecure=true") != NULL)
            return layout_bad(out, "TLS to backends is not spoken yet");
        if (!layout_address(url + 7, strcspn(url + 7, "/?#"), &e))
            return layout_bad(out, "its address is not IP:PORT");
        return layout_add(out, &e, weight);
    }
    return layout_bad(out, "no endpoint of it begins with grpc://");
}

static bool micro(const cJSON *root, struct resolver_value *out)
{
    const cJSON *node;
    cJSON_ArrayForEach(node, member(root, "nodes"))
        if (!one(node, member(node, "address"), out))
            return false;
    return out->count > 0 || layout_bad(out, "it has no nodes");
}

static bool kitex(const cJSON *root, struct resolver_value *out)
{
    const cJSON *network = member(root, "network");
    if (cJSON_IsString(network) && strncmp(network->valuestring, "tcp", 3) != 0)
        return layout_bad(out, "its network is not tcp");
    return one(root, member(root, "address"), out);
}

static bool apisix_node(const cJSON *node, struct resolver_value *out)
{
    const cJSON *host = member(node, "host"), *port = member(node, "port");
    struct base_endpoint e;
    uint32_t weight = 1;
    if (!cJSON_IsString(host) || !cJSON_IsNumber(port) || !(port->valuedouble >= 1 && port->valuedouble <= 65535) ||
        !base_addr_parse(host->valuestring, &e.addr))
        return layout_bad(out, "a node's host is not an IP address, or it has no port");
    e.port = (uint16_t)port->valuedouble;
    if (!weight_read(member(node, "weight"), &weight))
        return layout_bad(out, "its weight is not a number from 0 on");
    return layout_add(out, &e, weight);
}

static bool apisix(const cJSON *root, struct resolver_value *out)
{
    const cJSON *nodes = member(root, "nodes"), *node;
    cJSON_ArrayForEach(node, nodes)
    {
        struct base_endpoint e;
        uint32_t weight = 1;
        if (cJSON_IsArray(nodes)) {
            if (!apisix_node(node, out))
                return false;
        } else if (!layout_address(node->string, strlen(node->string), &e) || !weight_read(node, &weight)) {
            return layout_bad(out, "a node is not \"IP:PORT\": WEIGHT");
        } else if (!layout_add(out, &e, weight)) {
            return false;
        }
    }
    return nodes != NULL || layout_bad(out, "it has no nodes");
}

static enum config_format guess(const cJSON *root)
{
    const cJSON *nodes = member(root, "nodes");
    if (member(root, "addr") != NULL)
        return CONFIG_FORMAT_GRPC_NAMING;
    if (cJSON_IsArray(member(root, "endpoints")) && nodes == NULL)
        return CONFIG_FORMAT_KRATOS;
    if (nodes != NULL)
        return cJSON_IsArray(nodes) && member(nodes->child, "address") != NULL ? CONFIG_FORMAT_MICRO : CONFIG_FORMAT_APISIX;
    return member(root, "address") != NULL ? CONFIG_FORMAT_KITEX : CONFIG_FORMAT_AUTO;
}

bool layout_json(enum config_format format, const cJSON *root, const char *key, size_t key_len, struct resolver_value *out)
{
    switch (format == CONFIG_FORMAT_AUTO ? guess(root) : format) {
    case CONFIG_FORMAT_GRPC_NAMING:
        return naming(root, out);
    case CONFIG_FORMAT_GRPCLB:
        return grpclb(root, key, key_len, out);
    case CONFIG_FORMAT_KRATOS:
        return kratos(root, out);
    case CONFIG_FORMAT_MICRO:
        return micro(root, out);
    case CONFIG_FORMAT_KITEX:
        return kitex(root, out);
    case CONFIG_FORMAT_APISIX:
        return apisix(root, out);
    default:
        return layout_bad(out, "no member of it tells a layout that we know");
    }
}

bool layout_last_segment(const char *key, size_t key_len, struct resolver_value *out)
{
    const char *slash = memrchr(key, '/', key_len);
    const char *from = slash != NULL ? slash + 1 : key;
    struct base_endpoint e;
    if (!layout_address(from, (size_t)(key + key_len - from), &e))
        return layout_bad(out, "the key's last part is not IP:PORT");
    return layout_add(out, &e, 1);
}

static size_t percent_decode(const char *in, size_t n, char *out, size_t room)
{
    size_t w = 0;
    for (size_t i = 0; i < n && w + 1 < room; i++) {
        unsigned byte;
        if (in[i] == '%' && i + 2 < n && sscanf((char[]){in[i + 1], in[i + 2], 0}, "%2x", &byte) == 1) {
            out[w++] = (char)byte;
            i += 2;
        } else {
            out[w++] = in[i];
        }
    }
    out[w] = '\0';
    return w;
}

bool layout_dubbo(const char *key, size_t key_len, struct resolver_value *out)
{
    char url[1024];
    const char *slash = memrchr(key, '/', key_len);
    const char *from = slash != NULL ? slash + 1 : key;
    percent_decode(from, (size_t)(key + key_len - from), url, sizeof(url));
    const char *host = strstr(url, "://");
    if (host == NULL)
        return true; /* the empty parent keys that dubbo writes too */
    struct base_endpoint e;
    uint32_t weight = 1;
    if (!layout_address(host + 3, strcspn(host + 3, "/?"), &e))
        return layout_bad(out, "its address is not IP:PORT");
    const char *w = strstr(host, "?weight=");
    w = w != NULL ? w : strstr(host, "&weight=");
    if (w != NULL) {
        char text[16];
        snprintf(text, sizeof(text), "%.*s", (int)strcspn(w + 8, "&#"), w + 8);
        if (!weight_text(text, &weight))
            return layout_bad(out, "its weight is not a number from 0 on");
    }
    return layout_add(out, &e, weight);
}
