/* The tree of settings -> struct config, by the table: types, ranges, unknown keys, keys of later steps.  What keys
 * mean together is check.c's. */
#include "read.h"

#include <stdlib.h>

static const char *type_name(int type)
{
    switch (type) {
    case CONFIG_TYPE_GROUP:
        return "a group { }";
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return "an integer";
    case CONFIG_TYPE_FLOAT:
        return "a number with a point";
    case CONFIG_TYPE_STRING:
        return "a string";
    case CONFIG_TYPE_BOOL:
        return "a boolean";
    case CONFIG_TYPE_ARRAY:
        return "an array [ ]";
    default:
        return "a list ( )";
    }
}

static bool is_integer(const config_setting_t *s)
{
    return s->type == CONFIG_TYPE_INT || s->type == CONFIG_TYPE_INT64;
}

static void fail_type(struct config_report *r, const struct config_key *k, const config_setting_t *s,
                      const char *wanted)
{
    config_fail(r, s->line, "`%s` must be %s, not %s; for example: %s = %s", k->name, wanted, type_name(s->type),
                k->name, k->example != NULL ? k->example : "{ }");
}

static bool number_in_range(struct config_report *r, const struct config_key *k, const config_setting_t *s, long long v)
{
    if (v >= 0 && (uint64_t)v >= k->low && (uint64_t)v <= k->high)
        return true;
    config_fail(r, s->line, "`%s` = %lld is out of range: %llu to %llu are allowed", k->name, v,
                (unsigned long long)k->low, (unsigned long long)k->high);
    return false;
}

static void read_int(struct config_report *r, const struct config_key *k, const config_setting_t *s, void *at)
{
    if (!is_integer(s)) {
        fail_type(r, k, s, "an integer");
        return;
    }
    long long v = config_setting_get_int64(s);
    if (s->type == CONFIG_TYPE_INT)
        v = config_setting_get_int(s);
    if (number_in_range(r, k, s, v) && at != NULL)
        *(uint32_t *)at = (uint32_t)v;
}

static void read_float(struct config_report *r, const struct config_key *k, const config_setting_t *s, double *at)
{
    double v;
    if (s->type == CONFIG_TYPE_FLOAT)
        v = config_setting_get_float(s);
    else if (s->type == CONFIG_TYPE_INT)
        v = config_setting_get_int(s);
    else {
        fail_type(r, k, s, "a number");
        return;
    }
    if (v >= (double)k->low && v <= (double)k->high)
        *at = v;
    else
        config_fail(r, s->line, "`%s` = %g is out of range: %llu to %llu are allowed", k->name, v,
                    (unsigned long long)k->low, (unsigned long long)k->high);
}

static void read_duration(struct config_report *r, const struct config_key *k, const config_setting_t *s, uint64_t *at)
{
    char low[CONFIG_VALUE_TEXT], high[CONFIG_VALUE_TEXT];
    uint64_t v;
    if (s->type != CONFIG_TYPE_STRING)
        fail_type(r, k, s, "a duration, a string with a unit (ms, s, m, h)");
    else if (!config_duration_parse(config_setting_get_string(s), &v))
        config_fail(r, s->line,
                    "`%s` = \"%s\" is no duration: a whole number with one of us, ms, s, m, h, such as \"250ms\", "
                    "\"1s\", \"5m\"; for example: %s = %s",
                    k->name, config_setting_get_string(s), k->name, k->example);
    else if (v < k->low || v > k->high)
        config_fail(r, s->line, "`%s` = \"%s\" is out of range: \"%s\" to \"%s\" are allowed", k->name,
                    config_setting_get_string(s), config_duration_format(k->low, low),
                    config_duration_format(k->high, high));
    else
        *at = v;
}

static bool read_size(struct config_report *r, const struct config_key *k, const config_setting_t *s, uint64_t *at)
{
    char low[CONFIG_VALUE_TEXT], high[CONFIG_VALUE_TEXT];
    uint64_t v;
    if (s->type != CONFIG_TYPE_STRING)
        fail_type(r, k, s, "a size, a string with a unit (B, KiB, MiB, GiB)");
    else if (!config_size_parse(config_setting_get_string(s), &v))
        config_fail(r, s->line,
                    "`%s` = \"%s\" is no size: a whole number with one of B, KiB, MiB, GiB, such as \"64KiB\", "
                    "\"4GiB\"; for example: %s = %s",
                    k->name, config_setting_get_string(s), k->name, k->example);
    else if (v < k->low || v > k->high)
        config_fail(r, s->line, "`%s` = \"%s\" is out of range: \"%s\" to \"%s\" are allowed", k->name,
                    config_setting_get_string(s), config_size_format(k->low, low), config_size_format(k->high, high));
    else {
        *at = v;
        return true;
    }
    return false;
}

struct words {
    const char *const *next;
};

static const char *next_word(void *user)
{
    struct words *w = user;
    return *w->next != NULL ? *w->next++ : NULL;
}

/* Index of the word, or -1 where it is none, or one of a later step. */
static int find_word(struct config_report *r, const struct config_key *k, const config_setting_t *s)
{
    const char *v = config_setting_get_string(s);
    for (int i = 0; k->words[i] != NULL; i++)
        if (strcmp(k->words[i], v) == 0) {
            if ((k->later >> i & 1) == 0)
                return i;
            config_fail(r, s->line, "`%s` = \"%s\": not yet; a later version brings it. Until then: %s = \"%s\"",
                        k->name, v, k->name, k->initial);
            return -1;
        }
    struct config_text all = {0};
    for (unsigned i = 0; k->words[i] != NULL; i++)
        if ((k->later >> i & 1) == 0)
            config_text_add(&all, "%s\"%s\"", i > 0 ? ", " : "", k->words[i]);
    struct words w = {k->words};
    const char *near = config_nearest(v, next_word, &w);
    config_fail(r, s->line, "`%s` = \"%s\" is none of %s; did you mean \"%s\"?", k->name, v, all.text,
                near != NULL ? near : k->words[0]);
    free(all.text);
    return -1;
}

static void read_string(struct config_report *r, const struct config_key *k, const config_setting_t *s, char **at)
{
    const char *v = config_setting_get_string(s);
    if (s->type != CONFIG_TYPE_STRING) {
        fail_type(r, k, s, "a string");
        return;
    }
    if (k->words != NULL && find_word(r, k, s) < 0)
        return;
    if (k->initial == NULL && *v == '\0') {
        config_fail(r, s->line, "`%s` is empty; for example: %s = %s", k->name, k->name, k->example);
        return;
    }
    free(*at);
    *at = config_dup(v);
}

static void read_word(struct config_report *r, const struct config_key *k, const config_setting_t *s, unsigned *at)
{
    if (s->type != CONFIG_TYPE_STRING) {
        fail_type(r, k, s, "a string");
        return;
    }
    int i = find_word(r, k, s);
    if (i >= 0 && at != NULL)
        *at = (unsigned)i;
}

static void read_endpoint(struct config_report *r, const struct config_key *k, const config_setting_t *s,
                          struct base_endpoint *at)
{
    struct base_endpoint e;
    if (s->type != CONFIG_TYPE_STRING)
        fail_type(r, k, s, "a string IP:PORT");
    else if (!base_endpoint_parse(config_setting_get_string(s), &e))
        config_fail(r, s->line,
                    "`%s` = \"%s\" is no address with a port from 1 to 65535: write IP:PORT or [IPv6]:PORT; for "
                    "example: %s = %s",
                    k->name, config_setting_get_string(s), k->name, k->example);
    else
        *at = e;
}

/* One element of an array of strings, prefixes or addresses.  False: not stored. */
static bool read_element(struct config_report *r, const struct config_key *k, const config_setting_t *e, void *at,
                         unsigned i)
{
    if (e->type != CONFIG_TYPE_STRING) {
        config_fail(r, e->line, "every element of `%s` must be a string, not %s; for example: %s = %s", k->name,
                    type_name(e->type), k->name, k->example);
        return false;
    }
    const char *v = config_setting_get_string(e);
    struct config_prefix *prefix = (struct config_prefix *)at + i;
    if (k->type == CONFIG_KEY_STRINGS) {
        (*(char ***)at)[i] = config_dup(v);
    } else if (k->type == CONFIG_KEY_PREFIXES && !base_prefix_parse(v, &prefix->addr, &prefix->bits)) {
        config_fail(r, e->line, "`%s`: \"%s\" is no address with the length of its prefix; for example: %s = %s",
                    k->name, v, k->name, k->example);
        return false;
    } else if (k->type == CONFIG_KEY_ADDRESSES && !base_addr_parse(v, (struct base_addr *)at + i)) {
        config_fail(r, e->line, "`%s`: \"%s\" is no IP address; for example: %s = %s", k->name, v, k->name, k->example);
        return false;
    }
    return true;
}

static bool list_length(struct config_report *r, const struct config_key *k, const config_setting_t *s, unsigned *n)
{
    *n = (unsigned)config_setting_length(s);
    if (*n < k->low)
        config_fail(r, s->line, "`%s` is empty; for example: %s = %s", k->name, k->name, k->example);
    else if (*n > k->high)
        config_fail(r, s->line, "`%s` has %u elements; at most %llu are allowed", k->name, *n,
                    (unsigned long long)k->high);
    return *n >= k->low && *n <= k->high;
}

static void read_array(struct config_report *r, const struct config_key *k, const config_setting_t *s, void *base)
{
    void *at = config_at(base, k->offset);
    unsigned n, *count = config_count_at(base, k);
    if (s->type != CONFIG_TYPE_ARRAY && s->type != CONFIG_TYPE_LIST) {
        fail_type(r, k, s, "an array of strings");
        return;
    }
    if (!list_length(r, k, s, &n))
        return;
    if (k->type == CONFIG_KEY_STRINGS)
        *(char ***)at = config_alloc(n * sizeof(char *));
    for (unsigned i = 0; i < n; i++)
        if (read_element(r, k, config_setting_get_elem(s, i), at, *count))
            (*count)++;
}

static void read_group(struct config_report *r, const struct config_table *t, const config_setting_t *s, void *base);

static void read_list(struct config_report *r, const struct config_key *k, const config_setting_t *s, void *base)
{
    unsigned n;
    if (s->type != CONFIG_TYPE_LIST && !(s->type == CONFIG_TYPE_ARRAY && config_setting_length(s) == 0)) {
        fail_type(r, k, s, "a list of groups ( { }, { } )");
        return;
    }
    if (!list_length(r, k, s, &n))
        return;
    if (k->members->heap)
        *(void **)config_at(base, k->offset) = config_alloc(n * k->members->size);
    *config_count_at(base, k) = n;
    for (unsigned i = 0; i < n; i++) {
        const config_setting_t *e = config_setting_get_elem(s, i);
        void *at = config_element(base, k, i);
        config_defaults(k->members, at);
        if (e->type == CONFIG_TYPE_GROUP)
            read_group(r, k->members, e, at);
        else
            config_fail(r, e->line, "every element of `%s` must be a group { }, not %s", k->name, type_name(e->type));
    }
}

/* 0, false, "", "off" and "0s" ask for nothing, so that nothing is missed. */
static bool asks_for_nothing(const struct config_key *k, const config_setting_t *s)
{
    if (is_integer(s))
        return config_setting_get_int64(s) == 0 && config_setting_get_int(s) == 0;
    if (s->type == CONFIG_TYPE_BOOL)
        return config_setting_get_bool(s) == 0;
    if (s->type != CONFIG_TYPE_STRING)
        return false;
    const char *v = config_setting_get_string(s);
    uint64_t ns;
    return *v == '\0' || strcmp(v, "off") == 0 ||
           (k->type == CONFIG_KEY_DURATION && config_duration_parse(v, &ns) && ns == 0);
}

static void read_value(struct config_report *r, const struct config_key *k, const config_setting_t *s, void *base)
{
    void *at = k->offset == CONFIG_NOWHERE ? NULL : config_at(base, k->offset);
    uint64_t size;
    switch (k->type) {
    case CONFIG_KEY_BOOL:
        if (s->type == CONFIG_TYPE_BOOL)
            *(bool *)at = config_setting_get_bool(s) != 0;
        else
            fail_type(r, k, s, "true or false");
        break;
    case CONFIG_KEY_INT:
        read_int(r, k, s, at);
        break;
    case CONFIG_KEY_FLOAT:
        read_float(r, k, s, at);
        break;
    case CONFIG_KEY_STRING:
        read_string(r, k, s, at);
        break;
    case CONFIG_KEY_DURATION:
        read_duration(r, k, s, at);
        break;
    case CONFIG_KEY_SIZE:
        read_size(r, k, s, at);
        break;
    case CONFIG_KEY_SIZE32:
        if (read_size(r, k, s, &size))
            *(uint32_t *)at = (uint32_t)size;
        break;
    case CONFIG_KEY_WORD:
        read_word(r, k, s, at);
        break;
    case CONFIG_KEY_ENDPOINT:
        read_endpoint(r, k, s, at);
        break;
    case CONFIG_KEY_GROUP:
        if (s->type == CONFIG_TYPE_GROUP)
            read_group(r, k->members, s, at);
        else
            config_fail(r, s->line, "`%s` must be a group { }, not %s", k->name, type_name(s->type));
        break;
    case CONFIG_KEY_LIST:
        read_list(r, k, s, base);
        break;
    case CONFIG_KEY_ANY:
        break;
    default:
        read_array(r, k, s, base);
        break;
    }
}

static void read_key(struct config_report *r, const struct config_key *k, const config_setting_t *s, void *base)
{
    if (k->state == CONFIG_NOT_YET && (k->type == CONFIG_KEY_ANY || !asks_for_nothing(k, s))) {
        config_fail(r, s->line, "`%s`: not yet; a later version brings it. Leave it out until then", k->name);
        return;
    }
    if (k->state == CONFIG_NO_EFFECT && !asks_for_nothing(k, s))
        config_warn(r, s->line, "`%s` has no effect yet; a later version brings it", k->name);
    read_value(r, k, s, base);
}

struct names {
    const struct config_key *next, *end;
};

static const char *next_key(void *user)
{
    struct names *n = user;
    return n->next < n->end ? n->next++->name : NULL;
}

static void read_group(struct config_report *r, const struct config_table *t, const config_setting_t *s, void *base)
{
    unsigned n = (unsigned)config_setting_length(s);
    for (unsigned i = 0; i < n; i++) {
        const config_setting_t *e = config_setting_get_elem(s, i);
        const struct config_key *k = t->keys;
        while (k < t->keys + t->count && strcmp(k->name, e->name) != 0)
            k++;
        if (k < t->keys + t->count) {
            read_key(r, k, e, base);
            continue;
        }
        struct names names = {t->keys, t->keys + t->count};
        const char *near = config_nearest(e->name, next_key, &names);
        config_fail(r, e->line, "unknown key `%s`; did you mean `%s`?", e->name, near != NULL ? near : t->keys[0].name);
    }
    config_keys_each(k, t) if (k->initial == NULL && config_setting_get_member(s, k->name) == NULL)
        config_fail(r, s->line, "`%s` is missing; for example: %s = %s", k->name, k->name, k->example);
}

void config_read_tree(struct config_report *r, const config_setting_t *root, struct config *c)
{
    read_group(r, &config_root, root, c);
}
