/* A look at the source text before libconfig has it.
 *
 * libconfig 1.5 wraps integers beyond 32 bits in silence, opens files named by @include, cuts a string at \x00,
 * recurses over nesting and compares each key with all before it. What it would do with those never happens: they are
 * refused here, by line. */
#include "read.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#define SOURCE_BYTES_MAX (8u << 20)
#define DEPTH_MAX        24
#define KEYS_MAX         512   /* in one group: the table has fewer than 40 */
#define ELEMENTS_MAX     20000 /* in one list */
#define LITERAL_MAX      64

struct source {
    struct config_report *report;
    const char *p, *end;
    int line;
    struct {
        char open;
        int line;
        unsigned keys, elements;
    } level[DEPTH_MAX + 1];
    unsigned depth;
};

/* libconfig lets a string run over lines; then a forgotten quote is reported far away.  No value needs it. */
static bool skip_string(struct source *s)
{
    for (s->p++; s->p < s->end && *s->p != '"' && *s->p != '\n'; s->p++) {
        if (*s->p != '\\' || s->end - s->p < 2)
            continue;
        if (s->end - s->p > 3 && memcmp(s->p, "\\x00", 4) == 0) {
            config_fail(s->report, s->line, "\\x00 can't stand in a string: it would end there");
            return false;
        }
        if (s->p[1] != '\n')
            s->p++;
    }
    if (s->p >= s->end || *s->p == '\n') {
        config_fail(s->report, s->line, "a string that begins in this line is never closed; a '\"' is missing");
        return false;
    }
    s->p++;
    return true;
}

static bool skip_comment(struct source *s)
{
    if (*s->p == '#' || s->p[1] == '/') {
        while (s->p < s->end && *s->p != '\n')
            s->p++;
        return true;
    }
    int begin = s->line;
    for (s->p += 2; s->p < s->end && !(*s->p == '*' && s->end - s->p > 1 && s->p[1] == '/'); s->p++)
        if (*s->p == '\n')
            s->line++;
    if (s->p >= s->end) {
        config_fail(s->report, begin, "the comment that begins here is never closed; a \"*/\" is missing");
        return false;
    }
    s->p += 2;
    return true;
}

static bool word_character(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' ||
           c == '-' || c == '+' || c == '*';
}

static void check_integer(struct source *s, const char *text)
{
    char *end;
    errno = 0;
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    if (hex)
        (void)strtoull(text, &end, 16);
    long long v = hex ? (long long)strtoull(text, &end, 16) : strtoll(text, &end, 10);
    bool wide = *end == 'L';
    while (*end == 'L')
        end++;
    if (*end != '\0')
        return; /* a float, a name, or what libconfig will refuse */
    if (errno == ERANGE)
        config_fail(s->report, s->line, "the integer %s does not fit into 64 bits", text);
    else if (!wide && (hex ? (unsigned long long)v > UINT32_MAX : v > INT32_MAX || v < INT32_MIN))
        config_fail(s->report, s->line,
                    "the integer %s does not fit into 32 bits and would be read as another number; sizes are written "
                    "with a unit, such as \"4GiB\"",
                    text);
}

static void skip_word(struct source *s)
{
    char literal[LITERAL_MAX];
    const char *begin = s->p;
    while (s->p < s->end && word_character(*s->p))
        s->p++;
    size_t n = (size_t)(s->p - begin);
    bool number = (*begin >= '0' && *begin <= '9') ||
                  ((*begin == '-' || *begin == '+') && n > 1 && begin[1] >= '0' && begin[1] <= '9');
    if (number && n >= sizeof(literal)) {
        config_fail(s->report, s->line, "a number of %zu characters does not fit into 64 bits", n);
    } else if (number) {
        memcpy(literal, begin, n);
        literal[n] = '\0';
        check_integer(s, literal);
    }
}

static char closing(char open)
{
    return open == '{' ? '}' : open == '[' ? ']' : ')';
}

static bool bracket_opens(struct source *s)
{
    if (s->depth == DEPTH_MAX) {
        config_fail(s->report, s->line, "more than %d brackets inside each other; no key nests so deep", DEPTH_MAX);
        return false;
    }
    s->depth++;
    s->level[s->depth].open = *s->p++;
    s->level[s->depth].line = s->line;
    s->level[s->depth].keys = s->level[s->depth].elements = 0;
    return true;
}

static bool bracket_closes(struct source *s)
{
    char c = *s->p++;
    if (s->depth == 0) {
        config_fail(s->report, s->line, "'%c' closes nothing: no bracket is open here", c);
        return false;
    }
    if (closing(s->level[s->depth].open) != c) {
        config_fail(s->report, s->line, "'%c' closes the '%c' of line %d; a '%c' was expected", c,
                    s->level[s->depth].open, s->level[s->depth].line, closing(s->level[s->depth].open));
        return false;
    }
    s->depth--;
    return true;
}

static bool punctuation(struct source *s)
{
    char c = *s->p;
    if (c == '{' || c == '[' || c == '(')
        return bracket_opens(s);
    if (c == '}' || c == ']' || c == ')')
        return bracket_closes(s);
    if (c == '@') {
        config_fail(s->report, s->line, "@include is switched off: a configuration is one file");
        return false;
    }
    if ((c == '=' || c == ':') && ++s->level[s->depth].keys > KEYS_MAX) {
        config_fail(s->report, s->line, "more than %d keys in one group", KEYS_MAX);
        return false;
    }
    if (c == ',' && ++s->level[s->depth].elements > ELEMENTS_MAX) {
        config_fail(s->report, s->line, "more than %d elements in one list", ELEMENTS_MAX);
        return false;
    }
    s->p++;
    return true;
}

static bool step(struct source *s)
{
    char c = *s->p;
    bool slash = c == '/' && s->end - s->p > 1;
    if (c == '"')
        return skip_string(s);
    if (c == '#' || (slash && (s->p[1] == '/' || s->p[1] == '*')))
        return skip_comment(s);
    if (word_character(c)) {
        skip_word(s);
        return true;
    }
    if (c == '\n')
        s->line++;
    return punctuation(s);
}

bool config_source_check(struct config_report *r, const char *text, size_t length)
{
    struct source s = {.report = r, .p = text, .end = text + length, .line = 1};
    if (length > SOURCE_BYTES_MAX) {
        config_fail(r, 1, "the file is larger than %u MiB: that is no configuration", SOURCE_BYTES_MAX >> 20);
        return false;
    }
    while (s.p < s.end)
        if (!step(&s))
            return false;
    if (s.depth > 0)
        config_fail(r, s.level[s.depth].line, "the '%c' opened here is never closed; a '%c' is missing",
                    s.level[s.depth].open, closing(s.level[s.depth].open));
    return r->error_count == 0;
}
