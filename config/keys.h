/* The table of keys: one entry a key, from which the parser, --print-config, the reload check and the reference page
 * are made. Internal to the room. */
#ifndef CONFIG_KEYS_H
#define CONFIG_KEYS_H

#include "config.h"

enum config_type {
    CONFIG_KEY_BOOL,
    CONFIG_KEY_INT,       /* uint32_t */
    CONFIG_KEY_FLOAT,     /* double */
    CONFIG_KEY_STRING,    /* char *, never NULL */
    CONFIG_KEY_DURATION,  /* uint64_t, ns */
    CONFIG_KEY_SIZE,      /* uint64_t, bytes */
    CONFIG_KEY_SIZE32,    /* uint32_t, bytes */
    CONFIG_KEY_WORD,      /* an enum, in the order of `words` */
    CONFIG_KEY_ENDPOINT,  /* struct base_endpoint */
    CONFIG_KEY_STRINGS,   /* char **, and a count */
    CONFIG_KEY_PREFIXES,  /* struct config_prefix[], and a count */
    CONFIG_KEY_ADDRESSES, /* struct base_addr[], and a count */
    CONFIG_KEY_GROUP,
    CONFIG_KEY_LIST, /* of groups */
    CONFIG_KEY_ANY,  /* of a later step: its shape is not looked at */
};

enum config_state {
    CONFIG_IN_FORCE,
    CONFIG_NO_EFFECT, /* accepted with a warning */
    CONFIG_NOT_YET,   /* refused */
};

#define CONFIG_NOWHERE SIZE_MAX /* offset of a key that struct config has no field for */

struct config_table;

struct config_key {
    const char *name;
    enum config_type type;
    enum config_state state;
    size_t offset;            /* from the start of what the enclosing table describes */
    size_t count_offset;      /* of the element count (unsigned) */
    const char *initial;      /* the default as written, without quotes; NULL: must be given */
    uint64_t low, high;       /* of a number, a size or a duration; element counts of a list */
    const char *const *words; /* NULL-terminated */
    uint32_t later;           /* bit i: words[i] is of a later step */
    const struct config_table *members;
    const char *restart; /* the key's name where a change needs a restart; NULL: changes live */
    const char *example; /* as written */
    const char *help;
};

struct config_table {
    const struct config_key *keys;
    unsigned count;
    size_t size; /* of an element, for lists */
    bool heap;   /* the list is a pointer to elements, not an array in place */
};

extern const struct config_table config_root;

#define config_keys_each(k, t) for (const struct config_key *k = (t)->keys; k < (t)->keys + (t)->count; k++)

static inline void *config_at(const void *base, size_t offset)
{
    return (char *)(uintptr_t)base + offset;
}

static inline unsigned *config_count_at(const void *base, const struct config_key *k)
{
    return config_at(base, k->count_offset);
}

/* Element i of a list. */
void *config_element(const void *base, const struct config_key *k, unsigned i);
/* Every key of the table takes its default. `base` was zeroed. */
void config_defaults(const struct config_table *t, void *base);
void config_release(const struct config_table *t, void *base);
bool config_equal(const struct config_table *t, const void *a, const void *b);

/* "250ms", "1s", "5m", "2h"; "64KiB", "4GiB". False: not that. */
bool config_duration_parse(const char *text, uint64_t *ns);
bool config_size_parse(const char *text, uint64_t *bytes);
#define CONFIG_VALUE_TEXT 32
const char *config_duration_format(uint64_t ns, char buf[CONFIG_VALUE_TEXT]);
const char *config_size_format(uint64_t bytes, char buf[CONFIG_VALUE_TEXT]);

/* A growing text. */
struct config_text {
    char *text;
    size_t length, room;
};
void config_text_add(struct config_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Aborts where the heap is exhausted: the control plane has nothing better to do. */
void *config_alloc(size_t n);
char *config_dup(const char *text);

#endif
