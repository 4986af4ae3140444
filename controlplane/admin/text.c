/* A growing text; where memory ends it stays as it is and says so. */
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static bool grow(struct admin_text *t, size_t more)
{
    if (t->length + more < t->room)
        return true;
    size_t room = (t->length + more + 1024) * 2;
    char *text = realloc(t->text, room);
    if (text == NULL) {
        t->failed = true;
        return false;
    }
    t->text = text;
    t->room = room;
    return true;
}

void admin_text_add(struct admin_text *t, const char *format, ...)
{
    va_list args;
    if (!grow(t, 256))
        return;
    va_start(args, format);
    int n = vsnprintf(t->text + t->length, t->room - t->length, format, args);
    va_end(args);
    if (n < 0 || !grow(t, (size_t)n + 1)) {
        t->text[t->length] = '\0';
        return;
    }
    va_start(args, format); /* again, in case that it did not fit */
    vsnprintf(t->text + t->length, t->room - t->length, format, args);
    va_end(args);
    t->length += (size_t)n;
}

/* Prometheus's text format: backslash, quote and newline are escaped. */
void admin_text_label(struct admin_text *t, const char *value)
{
    for (; *value != '\0'; value++) {
        if (*value == '\\' || *value == '"')
            admin_text_add(t, "\\%c", *value);
        else if (*value == '\n')
            admin_text_add(t, "\\n");
        else
            admin_text_add(t, "%c", *value);
    }
}

void admin_family_begin(struct admin_text *t, struct admin_family *f)
{
    if (!f->begun)
        admin_text_add(t, "# HELP penstock_%s %s\n# TYPE penstock_%s %s\n", f->name, f->help, f->name, f->type);
    f->begun = true;
}

/* A JSON string without its quotes.  What is not printable ASCII comes from the wire and may be no UTF-8: each such byte becomes one escape. */
void admin_text_json(struct admin_text *t, const char *value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)value[i];
        if (c == '"' || c == '\\')
            admin_text_add(t, "\\%c", c);
        else if (c < ' ' || c >= 127)
            admin_text_add(t, "\\u%04x", c);
        else if (grow(t, 2))
            t->text[t->length++] = (char)c, t->text[t->length] = '\0';
    }
}
