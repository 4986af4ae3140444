/* One registry entry -> endpoints: chooses the layout.  The layouts themselves are in layout.c. */
#include "internal.h"

#include <ctype.h>

static void trim(const char **text, size_t *n)
{
    while (*n > 0 && isspace((unsigned char)**text)) {
        (*text)++;
        (*n)--;
    }
    while (*n > 0 && isspace((unsigned char)(*text)[*n - 1]))
        (*n)--;
}

static bool plain(const char *value, size_t n, struct resolver_value *out)
{
    struct base_endpoint address;
    if (!layout_address(value, n, &address))
        return layout_bad(out, "not IP:PORT");
    return layout_add(out, &address, 1);
}

static bool json(enum config_format format, const char *key, size_t key_len, const char *value, size_t n, struct resolver_value *out)
{
    const char *end;
    /* cJSON refuses what is nested deeper than CJSON_NESTING_LIMIT. */
    cJSON *root = cJSON_ParseWithLengthOpts(value, n, &end, false);
    bool whole = root != NULL && end == value + n && cJSON_IsObject(root);
    bool good = whole ? layout_json(format, root, key, key_len, out) : layout_bad(out, "not a JSON object");
    cJSON_Delete(root);
    return good;
}

/* A value that is neither JSON nor an address is bad even where its key is an address: somebody overwrote it by mistake.  Registries that
 * keep notes of their own in the value are read with format = "key". */
static bool any(const char *key, size_t key_len, const char *value, size_t n, struct resolver_value *out)
{
    if (n > 0 && value[0] == '{')
        return json(CONFIG_FORMAT_AUTO, key, key_len, value, n, out);
    if (n == 0 && memmem(key, key_len, "%3A%2F%2F", 9) != NULL)
        return layout_dubbo(key, key_len, out);
    if (n == 0)
        return layout_last_segment(key, key_len, out);
    if (n == 8 && memcmp(value, "init_dir", 8) == 0)
        return true; /* APISIX marks directories so */
    return plain(value, n, out);
}

bool resolver_value_parse(enum config_format format, const char *key, size_t key_len, const char *value, size_t value_len,
                          struct resolver_value *out)
{
    out->count = 0;
    out->why = "";
    if (value_len > RESOLVER_VALUE_BYTES_MAX)
        return layout_bad(out, "longer than an endpoint can be");
    trim(&value, &value_len);
    switch (format) {
    case CONFIG_FORMAT_PLAIN:
        return plain(value, value_len, out);
    case CONFIG_FORMAT_KEY:
        return layout_last_segment(key, key_len, out);
    case CONFIG_FORMAT_DUBBO:
        return layout_dubbo(key, key_len, out);
    case CONFIG_FORMAT_AUTO:
        return any(key, key_len, value, value_len, out);
    case CONFIG_FORMAT_APISIX:
        if (value_len == 8 && memcmp(value, "init_dir", 8) == 0)
            return true;
        break;
    default:
        break;
    }
    return json(format, key, key_len, value, value_len, out);
}
