/* The table walked the other way: the effective configuration as text, and what of a change needs a restart. */
#include "keys.h"

#include <stdio.h>

#include <stdlib.h>

static void print_string(struct config_text *t, const char *s)
{
    config_text_add(t, "\"");
    for (; *s != '\0'; s++) {
        unsigned char ch = (unsigned char)*s;
        if (ch == '"' || ch == '\\')
            config_text_add(t, "\\%c", ch);
        else if (ch < ' ' || ch == 127)
            config_text_add(t, "\\x%02x", ch);
        else
            config_text_add(t, "%c", ch);
    }
    config_text_add(t, "\"");
}

/* Shortest form that reads back as the same number, always with a point, so that libconfig takes it for a float. */
static void print_float(struct config_text *t, double v)
{
    char buf[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buf, sizeof(buf), "%.*g", digits, v);
        if (strtod(buf, NULL) == v)
            break;
    }
    config_text_add(t, "%s%s", buf, strpbrk(buf, ".e") == NULL ? ".0" : "");
}

static void print_element(struct config_text *t, const struct config_key *k, const void *at, unsigned i)
{
    char text[BASE_ADDR_TEXT];
    const struct config_prefix *p = (const struct config_prefix *)at + i;
    if (k->type == CONFIG_KEY_STRINGS)
        print_string(t, (*(char *const *const *)at)[i]);
    else if (k->type == CONFIG_KEY_PREFIXES)
        config_text_add(t, "\"%s/%u\"", base_addr_format(&p->addr, text), p->bits);
    else
        config_text_add(t, "\"%s\"", base_addr_format((const struct base_addr *)at + i, text));
}

static void print_scalar(struct config_text *t, const struct config_key *k, const void *at)
{
    char text[BASE_ENDPOINT_TEXT];
    switch (k->type) {
    case CONFIG_KEY_BOOL:
        config_text_add(t, "%s", *(const bool *)at ? "true" : "false");
        break;
    case CONFIG_KEY_INT:
        config_text_add(t, "%u", *(const uint32_t *)at);
        break;
    case CONFIG_KEY_FLOAT:
        print_float(t, *(const double *)at);
        break;
    case CONFIG_KEY_STRING:
        print_string(t, *(char *const *)at);
        break;
    case CONFIG_KEY_DURATION:
        config_text_add(t, "\"%s\"", config_duration_format(*(const uint64_t *)at, text));
        break;
    case CONFIG_KEY_SIZE:
        config_text_add(t, "\"%s\"", config_size_format(*(const uint64_t *)at, text));
        break;
    case CONFIG_KEY_SIZE32:
        config_text_add(t, "\"%s\"", config_size_format(*(const uint32_t *)at, text));
        break;
    case CONFIG_KEY_WORD:
        config_text_add(t, "\"%s\"", k->words[*(const unsigned *)at]);
        break;
    default:
        config_text_add(t, "\"%s\"", base_endpoint_format(at, text));
        break;
    }
}

static void print_group(struct config_text *t, const struct config_table *table, const void *base, int indent);

static void print_list(struct config_text *t, const struct config_key *k, const void *base, int indent)
{
    unsigned n = *config_count_at(base, k);
    config_text_add(t, "(");
    for (unsigned i = 0; i < n; i++) {
        config_text_add(t, "%s {\n", i > 0 ? "," : "");
        print_group(t, k->members, config_element(base, k, i), indent + 2);
        config_text_add(t, "%*s}", indent, "");
    }
    config_text_add(t, " )");
}

static void print_array(struct config_text *t, const struct config_key *k, const void *base)
{
    config_text_add(t, "[ ");
    for (unsigned i = 0; i < *config_count_at(base, k); i++) {
        config_text_add(t, "%s", i > 0 ? ", " : "");
        print_element(t, k, config_at(base, k->offset), i);
    }
    config_text_add(t, " ]");
}

static bool is_array(const struct config_key *k)
{
    return k->type == CONFIG_KEY_STRINGS || k->type == CONFIG_KEY_PREFIXES || k->type == CONFIG_KEY_ADDRESSES;
}

/* What is absent and has no text of its own, or says what another key says. */
static bool is_silent(const struct config_key *k, const void *base)
{
    if (k->type == CONFIG_KEY_ANY)
        return true;
    if (is_array(k) && *config_count_at(base, k) == 0)
        return true;
    const struct config *c = base;
    return k->restart != NULL && strcmp(k->restart, "workers") == 0 && c->cores[0] != '\0';
}

static void print_group(struct config_text *t, const struct config_table *table, const void *base, int indent)
{
    config_keys_each(k, table)
    {
        if (is_silent(k, base))
            continue;
        config_text_add(t, "%*s%s%s ", indent, "", k->name, k->type == CONFIG_KEY_GROUP ? ":" : " =");
        if (k->type == CONFIG_KEY_GROUP) {
            config_text_add(t, "{\n");
            print_group(t, k->members, config_at(base, k->offset), indent + 2);
            config_text_add(t, "%*s}", indent, "");
        } else if (k->type == CONFIG_KEY_LIST) {
            print_list(t, k, base, indent);
        } else if (is_array(k)) {
            print_array(t, k, base);
        } else if (k->offset == CONFIG_NOWHERE) {
            config_text_add(t, k->type == CONFIG_KEY_INT ? "%s" : "\"%s\"", k->initial);
        } else {
            print_scalar(t, k, config_at(base, k->offset));
        }
        config_text_add(t, ";\n");
    }
}

char *config_print(const struct config *c)
{
    struct config_text t = {0};
    print_group(&t, &config_root, c, 0);
    return t.text;
}

static const char *restart_of(const struct config_table *table, const void *a, const void *b);

static const char *restart_of_list(const struct config_key *k, const void *a, const void *b)
{
    unsigned n = *config_count_at(a, k);
    if (k->restart != NULL && n != *config_count_at(b, k))
        return k->restart;
    for (unsigned i = 0; i < n && i < *config_count_at(b, k); i++) {
        const char *name = restart_of(k->members, config_element(a, k, i), config_element(b, k, i));
        if (name != NULL)
            return name;
    }
    return NULL;
}

static const char *restart_of(const struct config_table *table, const void *a, const void *b)
{
    config_keys_each(k, table)
    {
        const char *name = NULL;
        struct config_table one = {.keys = k, .count = 1};
        if (k->type == CONFIG_KEY_GROUP)
            name = restart_of(k->members, config_at(a, k->offset), config_at(b, k->offset));
        else if (k->type == CONFIG_KEY_LIST)
            name = restart_of_list(k, a, b);
        else if (k->restart != NULL && !config_equal(&one, a, b))
            name = k->restart;
        if (name != NULL)
            return name;
    }
    return NULL;
}

const char *config_needs_restart(const struct config *now, const struct config *next)
{
    return restart_of(&config_root, now, next);
}
