/* Values as text, and the struct walked by the table: defaults, release, equality. */
#include "keys.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct unit {
    const char *name;
    uint64_t size;
};

/* Largest first: the first that divides a value prints it. */
static const struct unit duration_units[] = {{"h", 3600000000000ull}, {"m", 60000000000ull}, {"s", 1000000000ull},
                                             {"ms", 1000000ull},      {"us", 1000ull},       {"ns", 1}};
static const struct unit size_units[] = {
    {"TiB", 1ull << 40}, {"GiB", 1ull << 30}, {"MiB", 1ull << 20}, {"KiB", 1ull << 10}, {"B", 1}};

static bool parse_units(const char *text, const struct unit *units, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(v, 10ull, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return false;
    if (p == text)
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(p, units[i].name) == 0)
            return !__builtin_mul_overflow(v, units[i].size, out);
    return false;
}

static const char *format_units(uint64_t v, const struct unit *units, size_t n, const char *zero, char *buf)
{
    if (v == 0)
        return strcpy(buf, zero);
    size_t i = 0;
    while (i + 1 < n && v % units[i].size != 0)
        i++;
    snprintf(buf, CONFIG_VALUE_TEXT, "%llu%s", (unsigned long long)(v / units[i].size), units[i].name);
    return buf;
}

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

bool config_duration_parse(const char *text, uint64_t *ns)
{
    return parse_units(text, duration_units, COUNT(duration_units), ns);
}

bool config_size_parse(const char *text, uint64_t *bytes)
{
    return parse_units(text, size_units, COUNT(size_units), bytes);
}

const char *config_duration_format(uint64_t ns, char buf[CONFIG_VALUE_TEXT])
{
    return format_units(ns, duration_units, COUNT(duration_units), "0s", buf);
}

const char *config_size_format(uint64_t bytes, char buf[CONFIG_VALUE_TEXT])
{
    return format_units(bytes, size_units, COUNT(size_units), "0B", buf);
}

void *config_alloc(size_t n)
{
    void *p = calloc(1, n != 0 ? n : 1);
    if (p == NULL)
        abort();
    return p;
}

char *config_dup(const char *text)
{
    size_t n = strlen(text) + 1;
    return memcpy(config_alloc(n), text, n);
}

void config_text_add(struct config_text *t, const char *format, ...)
{
    for (;;) {
        va_list args;
        va_start(args, format);
        int n = vsnprintf(t->text != NULL ? t->text + t->length : NULL, t->room - t->length, format, args);
        va_end(args);
        if (n >= 0 && (size_t)n < t->room - t->length) {
            t->length += (size_t)n;
            return;
        }
        t->room = (t->room + (size_t)n + 64) * 2;
        t->text = realloc(t->text, t->room);
        if (t->text == NULL)
            abort();
    }
}

void *config_element(const void *base, const struct config_key *k, unsigned i)
{
    void *at = config_at(base, k->offset);
    char *first = k->members->heap ? *(void **)at : at;
    return first + (size_t)i * k->members->size;
}

static unsigned word_index(const struct config_key *k, const char *word)
{
    unsigned i = 0;
    while (strcmp(k->words[i], word) != 0)
        i++;
    return i;
}

static void default_scalar(const struct config_key *k, void *at)
{
    const char *text = k->initial != NULL ? k->initial : "";
    uint64_t wide = 0;
    switch (k->type) {
    case CONFIG_KEY_BOOL:
        *(bool *)at = strcmp(text, "true") == 0;
        break;
    case CONFIG_KEY_INT:
        *(uint32_t *)at = (uint32_t)strtoul(text, NULL, 10);
        break;
    case CONFIG_KEY_FLOAT:
        *(double *)at = strtod(text, NULL);
        break;
    case CONFIG_KEY_STRING:
        *(char **)at = config_dup(text);
        break;
    case CONFIG_KEY_DURATION:
        config_duration_parse(text, at);
        break;
    case CONFIG_KEY_SIZE:
        config_size_parse(text, at);
        break;
    case CONFIG_KEY_SIZE32:
        config_size_parse(text, &wide);
        *(uint32_t *)at = (uint32_t)wide;
        break;
    case CONFIG_KEY_WORD:
        *(unsigned *)at = word_index(k, text);
        break;
    case CONFIG_KEY_ENDPOINT:
        if (k->initial != NULL)
            base_endpoint_parse(text, at);
        break;
    default: /* lists are empty until they are read */
        break;
    }
}

void config_defaults(const struct config_table *t, void *base)
{
    config_keys_each(k, t)
    {
        if (k->type == CONFIG_KEY_GROUP)
            config_defaults(k->members, config_at(base, k->offset));
        else if (k->offset != CONFIG_NOWHERE)
            default_scalar(k, config_at(base, k->offset));
    }
}

static void release_key(const struct config_key *k, void *base)
{
    void *at = config_at(base, k->offset);
    if (k->type == CONFIG_KEY_STRING)
        free(*(char **)at);
    if (k->type == CONFIG_KEY_STRINGS) {
        for (unsigned i = 0; i < *config_count_at(base, k); i++)
            free((*(char ***)at)[i]);
        free(*(char ***)at);
    }
    if (k->type == CONFIG_KEY_LIST) {
        for (unsigned i = 0; i < *config_count_at(base, k); i++)
            config_release(k->members, config_element(base, k, i));
        if (k->members->heap)
            free(*(void **)at);
    }
}

void config_release(const struct config_table *t, void *base)
{
    config_keys_each(k, t)
    {
        if (k->type == CONFIG_KEY_GROUP)
            config_release(k->members, config_at(base, k->offset));
        else if (k->offset != CONFIG_NOWHERE)
            release_key(k, base);
    }
}

/* Bytes of a value, or of one element, that compares by memcmp; base_endpoint has padding. */
static bool equal_endpoint(const struct base_endpoint *a, const struct base_endpoint *b)
{
    return base_addr_eq(&a->addr, &b->addr) && a->port == b->port;
}

static bool equal_list(const struct config_key *k, const void *a, const void *b)
{
    unsigned n = *config_count_at(a, k);
    const void *pa = config_at(a, k->offset), *pb = config_at(b, k->offset);
    if (n != *config_count_at(b, k))
        return false;
    for (unsigned i = 0; i < n; i++) {
        if (k->type == CONFIG_KEY_LIST && !config_equal(k->members, config_element(a, k, i), config_element(b, k, i)))
            return false;
        if (k->type == CONFIG_KEY_STRINGS &&
            strcmp((*(char *const *const *)pa)[i], (*(char *const *const *)pb)[i]) != 0)
            return false;
        if (k->type == CONFIG_KEY_ADDRESSES &&
            !base_addr_eq((const struct base_addr *)pa + i, (const struct base_addr *)pb + i))
            return false;
        const struct config_prefix *fa = (const struct config_prefix *)pa + i,
                                   *fb = (const struct config_prefix *)pb + i;
        if (k->type == CONFIG_KEY_PREFIXES && (!base_addr_eq(&fa->addr, &fb->addr) || fa->bits != fb->bits))
            return false;
    }
    return true;
}

static bool equal_key(const struct config_key *k, const void *a, const void *b)
{
    if (k->type == CONFIG_KEY_GROUP)
        return config_equal(k->members, config_at(a, k->offset), config_at(b, k->offset));
    if (k->offset == CONFIG_NOWHERE)
        return true;
    const void *pa = config_at(a, k->offset), *pb = config_at(b, k->offset);
    switch (k->type) {
    case CONFIG_KEY_BOOL:
        return *(const bool *)pa == *(const bool *)pb;
    case CONFIG_KEY_INT:
    case CONFIG_KEY_SIZE32:
    case CONFIG_KEY_WORD:
        return *(const uint32_t *)pa == *(const uint32_t *)pb;
    case CONFIG_KEY_FLOAT:
        return memcmp(pa, pb, sizeof(double)) == 0;
    case CONFIG_KEY_DURATION:
    case CONFIG_KEY_SIZE:
        return *(const uint64_t *)pa == *(const uint64_t *)pb;
    case CONFIG_KEY_STRING:
        return strcmp(*(char *const *)pa, *(char *const *)pb) == 0;
    case CONFIG_KEY_ENDPOINT:
        return equal_endpoint(pa, pb);
    default:
        return equal_list(k, a, b);
    }
}

bool config_equal(const struct config_table *t, const void *a, const void *b)
{
    config_keys_each(k, t) if (!equal_key(k, a, b)) return false;
    return true;
}
