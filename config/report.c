/* What is wrong, line by line; and the nearest of several names. */
#include "read.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define REPORT_MAX 200 /* of each kind: a file with more faults is no configuration */

static void add(struct config_line **lines, unsigned *count, const char *file, int line, const char *format,
                va_list args)
{
    if (*count >= REPORT_MAX)
        return;
    struct config_text t = {0};
    char sentence[1024];
    vsnprintf(sentence, sizeof(sentence), format, args);
    for (char *p = sentence; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            *p = '?'; /* a quoted value may hold anything; a message is one line */
    config_text_add(&t, "%s:%d: %s", file, line > 0 ? line : 1, sentence);
    *lines = realloc(*lines, (*count + 1) * sizeof(**lines));
    if (*lines == NULL)
        abort();
    (*lines)[*count] = (struct config_line){line, *count, t.text};
    (*count)++;
}

void config_fail(struct config_report *r, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(&r->error, &r->error_count, r->file, line, format, args);
    va_end(args);
}

void config_warn(struct config_report *r, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(&r->warning, &r->warning_count, r->file, line, format, args);
    va_end(args);
}

static int by_line(const void *a, const void *b)
{
    const struct config_line *x = a, *y = b;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static char **sorted(struct config_line *lines, unsigned count)
{
    char **text = config_alloc(count * sizeof(*text));
    if (count > 0)
        qsort(lines, count, sizeof(*lines), by_line);
    for (unsigned i = 0; i < count; i++)
        text[i] = lines[i].text;
    free(lines);
    return text;
}

void config_report_end(struct config_report *r)
{
    *r->errors = (struct config_errors){.text = sorted(r->error, r->error_count),
                                        .count = r->error_count,
                                        .warnings = sorted(r->warning, r->warning_count),
                                        .warning_count = r->warning_count};
}

#define NAME_MAX_COMPARED 64

/* Levenshtein, with a swap of neighbours as one step (optimal string alignment). */
static unsigned distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    if (n > NAME_MAX_COMPARED || m > NAME_MAX_COMPARED)
        return UINT32_MAX;
    unsigned row[3][NAME_MAX_COMPARED + 1];
    for (size_t j = 0; j <= m; j++)
        row[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[n % 3][m];
}

const char *config_nearest(const char *name, const char *(*next)(void *user), void *user)
{
    const char *best = NULL, *candidate;
    unsigned best_distance = UINT32_MAX;
    while ((candidate = next(user)) != NULL) {
        unsigned d = distance(name, candidate);
        if (d < best_distance) {
            best_distance = d;
            best = candidate;
        }
    }
    return best;
}
