/* Base64, ranges of keys, and the integers of etcd's JSON. */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

long etcd_base64_decode(const char *text, size_t n, char *out)
{
    if (n % 4 != 0)
        return -1;
    size_t pad = n == 0 ? 0 : (text[n - 1] == '=') + (text[n - 1] == '=' && text[n - 2] == '=');
    size_t w = 0;
    for (size_t i = 0; i < n; i += 4) {
        size_t have = i + 4 == n ? 4 - pad : 4;
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            int d = k < have ? digit(text[i + k]) : 0;
            if (d < 0)
                return -1;
            bits = bits << 6 | (uint32_t)d;
        }
        /* RFC 4648 section 3.5: bits that pad are zero. */
        if ((have == 2 && (bits & 0xffff) != 0) || (have == 3 && (bits & 0xff) != 0))
            return -1;
        for (size_t k = 0; k + 1 < have; k++)
            out[w++] = (char)(bits >> (16 - 8 * k));
    }
    out[w] = '\0';
    return (long)w;
}

void etcd_base64_encode(const char *data, size_t n, char *out)
{
    const uint8_t *in = (const uint8_t *)data;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t bits = (uint32_t)in[i] << 16 | (i + 1 < n ? (uint32_t)in[i + 1] << 8 : 0) | (i + 2 < n ? in[i + 2] : 0);
        *out++ = alphabet[bits >> 18];
        *out++ = alphabet[bits >> 12 & 63];
        *out++ = i + 1 < n ? alphabet[bits >> 6 & 63] : '=';
        *out++ = i + 2 < n ? alphabet[bits & 63] : '=';
    }
    *out = '\0';
}

char *etcd_text_base64(const char *data, size_t n)
{
    char *out = malloc((n + 2) / 3 * 4 + 1);
    if (out != NULL)
        etcd_base64_encode(data, n, out);
    return out;
}

size_t etcd_prefix_end(const char *prefix, size_t n, char *end)
{
    memcpy(end, prefix, n);
    while (n > 0 && (uint8_t)end[n - 1] == 0xff)
        n--;
    if (n > 0)
        end[n - 1] = (char)(end[n - 1] + 1);
    else
        end[n++] = '\0'; /* "\0" as a range's end: to the end of all keys */
    end[n] = '\0';
    return n;
}

cJSON *etcd_json_parse(const char *text, size_t n)
{
    const char *end;
    cJSON *root = cJSON_ParseWithLengthOpts(text, n + 1, &end, true); /* n + 1: the NUL behind the text is looked at */
    if (root != NULL && !cJSON_IsObject(root)) {
        cJSON_Delete(root);
        return NULL;
    }
    return root;
}

bool etcd_json_u64(const cJSON *o, const char *name, uint64_t *out)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);
    *out = 0;
    if (v == NULL)
        return true;
    if (cJSON_IsNumber(v)) { /* exact up to 2^53; etcd writes these as strings */
        if (!(v->valuedouble >= 0 && v->valuedouble <= 9007199254740992.0))
            return false;
        *out = (uint64_t)v->valuedouble;
        return true;
    }
    if (!cJSON_IsString(v) || v->valuestring[0] < '0' || v->valuestring[0] > '9')
        return false;
    char *end;
    errno = 0;
    *out = strtoull(v->valuestring, &end, 10);
    return errno == 0 && *end == '\0';
}

bool etcd_json_i64(const cJSON *o, const char *name, int64_t *out)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);
    *out = 0;
    if (v == NULL)
        return true;
    if (cJSON_IsNumber(v)) {
        if (!(v->valuedouble >= -9007199254740992.0 && v->valuedouble <= 9007199254740992.0))
            return false;
        *out = (int64_t)v->valuedouble;
        return true;
    }
    if (!cJSON_IsString(v) || (v->valuestring[0] != '-' && (v->valuestring[0] < '0' || v->valuestring[0] > '9')))
        return false;
    char *end;
    errno = 0;
    *out = strtoll(v->valuestring, &end, 10);
    return errno == 0 && end != v->valuestring && *end == '\0';
}

bool etcd_json_header(const cJSON *o, struct etcd_header *out)
{
    const cJSON *h = cJSON_GetObjectItemCaseSensitive(o, "header");
    *out = (struct etcd_header){0};
    return cJSON_IsObject(h) && etcd_json_u64(h, "cluster_id", &out->cluster_id) && etcd_json_u64(h, "member_id", &out->member_id) &&
           etcd_json_u64(h, "raft_term", &out->raft_term) && etcd_json_i64(h, "revision", &out->revision);
}

static bool bytes(cJSON *o, const char *name, char **text, size_t *n)
{
    static char empty[1];
    cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);
    *text = empty;
    *n = 0;
    if (v == NULL)
        return true;
    if (!cJSON_IsString(v))
        return false;
    long length = etcd_base64_decode(v->valuestring, strlen(v->valuestring), v->valuestring);
    *text = v->valuestring;
    *n = (size_t)length;
    return length >= 0;
}

bool etcd_json_kv(cJSON *o, struct etcd_kv *out)
{
    *out = (struct etcd_kv){0};
    return cJSON_IsObject(o) && bytes(o, "key", &out->key, &out->key_len) && out->key_len > 0 && bytes(o, "value", &out->value, &out->value_len) &&
           etcd_json_i64(o, "create_revision", &out->create_revision) && etcd_json_i64(o, "mod_revision", &out->mod_revision) &&
           etcd_json_i64(o, "lease", &out->lease);
}
