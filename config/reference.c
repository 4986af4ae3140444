/* The reference page, from the table of keys. */
#include "keys.h"

#include <stdio.h>

static void add_quoted(struct config_text *t, const struct config_key *k, const char *value)
{
    bool bare = k->type == CONFIG_KEY_BOOL || k->type == CONFIG_KEY_INT || k->type == CONFIG_KEY_FLOAT;
    config_text_add(t, bare ? "`%s`" : "`\"%s\"`", value);
}

static const char *type_of(const struct config_key *k)
{
    switch (k->type) {
    case CONFIG_KEY_BOOL:
        return "boolean";
    case CONFIG_KEY_INT:
        return "integer";
    case CONFIG_KEY_FLOAT:
        return "number";
    case CONFIG_KEY_DURATION:
        return "duration";
    case CONFIG_KEY_SIZE:
    case CONFIG_KEY_SIZE32:
        return "size";
    case CONFIG_KEY_ENDPOINT:
        return "IP:PORT";
    case CONFIG_KEY_STRINGS:
        return "strings";
    case CONFIG_KEY_PREFIXES:
        return "IP/BITS list";
    case CONFIG_KEY_ADDRESSES:
        return "IP list";
    case CONFIG_KEY_GROUP:
        return "group";
    case CONFIG_KEY_LIST:
        return "list of groups";
    case CONFIG_KEY_ANY:
        return "";
    default:
        return "string";
    }
}

static void add_words(struct config_text *t, const struct config_key *k)
{
    for (unsigned i = 0; k->words[i] != NULL; i++)
        config_text_add(t, "%s`\"%s\"`%s", i > 0 ? ", " : "", k->words[i], k->later >> i & 1 ? " (not yet)" : "");
}

static void add_range(struct config_text *t, const struct config_key *k)
{
    char low[CONFIG_VALUE_TEXT], high[CONFIG_VALUE_TEXT];
    switch (k->type) {
    case CONFIG_KEY_INT:
    case CONFIG_KEY_FLOAT:
        config_text_add(t, "%llu to %llu", (unsigned long long)k->low, (unsigned long long)k->high);
        break;
    case CONFIG_KEY_DURATION:
        config_text_add(t, "%s to %s", config_duration_format(k->low, low), config_duration_format(k->high, high));
        break;
    case CONFIG_KEY_SIZE:
    case CONFIG_KEY_SIZE32:
        config_text_add(t, "%s to %s", config_size_format(k->low, low), config_size_format(k->high, high));
        break;
    case CONFIG_KEY_STRINGS:
    case CONFIG_KEY_PREFIXES:
    case CONFIG_KEY_ADDRESSES:
    case CONFIG_KEY_LIST:
        config_text_add(t, "%llu to %llu elements", (unsigned long long)k->low, (unsigned long long)k->high);
        break;
    default:
        if (k->words != NULL)
            add_words(t, k);
        break;
    }
}

static void add_row(struct config_text *t, const struct config_key *k)
{
    static const char *const states[] = {"", "**No effect yet.** ", "**Not yet.** "};
    bool array = k->type == CONFIG_KEY_STRINGS || k->type == CONFIG_KEY_PREFIXES || k->type == CONFIG_KEY_ADDRESSES ||
                 k->type == CONFIG_KEY_LIST;
    config_text_add(t, "| `%s` | %s | ", k->name, type_of(k));
    if (k->initial == NULL)
        config_text_add(t, "must be given");
    else if (array)
        config_text_add(t, "none");
    else if (k->type != CONFIG_KEY_GROUP && k->type != CONFIG_KEY_ANY)
        add_quoted(t, k, k->initial);
    config_text_add(t, " | ");
    add_range(t, k);
    config_text_add(t, " | %s | %s%s",
                    k->type == CONFIG_KEY_GROUP || k->state == CONFIG_NOT_YET ? ""
                    : k->restart != NULL                                      ? "restart"
                                                                              : "live",
                    states[k->state], k->help);
    if (k->example != NULL && k->type != CONFIG_KEY_LIST)
        config_text_add(t, " Example: `%s = %s;`", k->name, k->example);
    config_text_add(t, " |\n");
}

static void add_table(struct config_text *t, const struct config_table *table, const char *path)
{
    config_text_add(t, "\n| key | type | default | allowed | a change | what it says |\n|---|---|---|---|---|---|\n");
    config_keys_each(k, table) add_row(t, k);
    config_keys_each(k, table)
    {
        char name[128];
        if (k->members == NULL)
            continue;
        snprintf(name, sizeof(name), "%s%s%s%s", path, path[0] != '\0' ? "." : "", k->name,
                 k->type == CONFIG_KEY_LIST ? "[]" : "");
        config_text_add(t, "\n## `%s`\n\n%s\n", name, k->help);
        add_table(t, k->members, name);
    }
}

char *config_reference(void)
{
    struct config_text t = {0};
    config_text_add(
        &t, "# Configuration reference\n\n"
            "Made from the table of keys in `config/keys.c`; a test compares the two. Syntax is libconfig's: `key = "
            "value;`, groups `name: { }`, lists `( )`, arrays `[ ]`,\n"
            "comments `#`, `//`, `/* */`; `@include` is switched off. `penstock -c FILE --check` says `FILE:LINE: "
            "message` for every fault; `penstock -c FILE --print-config`\n"
            "prints what is in force, defaults included. Complete files: `config/examples/`.\n\n"
            "- A *duration* is a whole number with a unit: `\"250ms\"`, `\"1s\"`, `\"5m\"`, `\"2h\"` (`us` too); "
            "`\"0s\"` is none. A *size* likewise: `\"64KiB\"`, `\"4GiB\"` (`B`, `MiB`, `TiB`).\n"
            "- *live*: a reload applies a change; *restart*: a reload that changes it is refused, naming the key.\n"
            "- *No effect yet*: accepted with a warning. *Not yet*: refused until the version that brings it.\n\n"
            "## The file\n");
    add_table(&t, &config_root, "");
    return t.text;
}
