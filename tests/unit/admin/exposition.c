/* A strict reader of Prometheus's text format: what it refuses, promtool would. */
#include "exposition.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    char family[128], type[32];
    bool help, ended;
    char (*seen)[128]; /* families so far */
    unsigned seen_count;
    char (*series)[512];
    unsigned series_count;
    double bucket; /* the last of this histogram's series */
    double infinite;
    char error[256];
};

static bool wrong(struct reader *r, const char *what, const char *line)
{
    snprintf(r->error, sizeof(r->error), "%s: %.160s", what, line);
    return false;
}

static size_t name_length(const char *p)
{
    size_t n = 0;
    while (isalpha((unsigned char)p[n]) || p[n] == '_' || p[n] == ':' || (n > 0 && isdigit((unsigned char)p[n])))
        n++;
    return n;
}

/* {name="value",...}: its length, or 0. */
static size_t labels_length(const char *p)
{
    const char *s = p + 1;
    for (;;) {
        size_t n = name_length(s);
        if (n == 0 || s[n] != '=' || s[n + 1] != '"')
            return 0;
        for (s += n + 2; *s != '"'; s++) {
            if (*s == '\0' || *s == '\n')
                return 0;
            if (*s == '\\' && strchr("\\\"n", *++s) == NULL)
                return 0;
        }
        s++;
        if (*s == '}')
            return (size_t)(s + 1 - p);
        if (*s++ != ',')
            return 0;
    }
}

static bool read_comment(struct reader *r, const char *line)
{
    char kind[8], name[128], rest[256];
    if (sscanf(line, "# %7s %127s %255[^\n]", kind, name, rest) != 3)
        return wrong(r, "a comment that is neither HELP nor TYPE", line);
    if (strcmp(kind, "HELP") == 0) {
        for (unsigned i = 0; i < r->seen_count; i++)
            if (strcmp(r->seen[i], name) == 0)
                return wrong(r, "a family twice", line);
        snprintf(r->seen[r->seen_count++], 128, "%s", name);
        snprintf(r->family, sizeof(r->family), "%s", name);
        r->help = true;
        return true;
    }
    if (strcmp(kind, "TYPE") != 0 || !r->help || strcmp(name, r->family) != 0)
        return wrong(r, "TYPE without its HELP", line);
    snprintf(r->type, sizeof(r->type), "%.31s", rest);
    bool counter = strcmp(rest, "counter") == 0,
         total = strlen(name) > 6 && strcmp(name + strlen(name) - 6, "_total") == 0;
    if (counter != total)
        return wrong(r, "_total belongs to counters, and to all of them", line);
    return counter || strcmp(rest, "gauge") == 0 || strcmp(rest, "histogram") == 0 ? true
                                                                                   : wrong(r, "unknown type", line);
}

static bool read_histogram(struct reader *r, const char *line, const char *suffix, const char *labels, double v)
{
    if (strcmp(suffix, "_bucket") == 0) {
        const char *le = strstr(labels, "le=\"");
        if (le == NULL || v < r->bucket)
            return wrong(r, "a bucket without le, or below the one before", line);
        r->bucket = v;
        if (strncmp(le, "le=\"+Inf\"", 9) == 0) {
            r->infinite = v;
            r->bucket = 0;
        }
        return true;
    }
    if (strcmp(suffix, "_count") == 0)
        return v == r->infinite ? true : wrong(r, "_count is not the +Inf bucket", line);
    return strcmp(suffix, "_sum") == 0 ? true : wrong(r, "no part of a histogram", line);
}

static bool read_sample(struct reader *r, const char *line)
{
    size_t n = name_length(line), f = strlen(r->family);
    size_t l = line[n] == '{' ? labels_length(line + n) : 0;
    char suffix[32] = "", labels[512] = "", *end;
    if (n == 0 || (line[n] == '{' && l == 0) || line[n + l] != ' ')
        return wrong(r, "no sample", line);
    if (n < f || strncmp(line, r->family, f) != 0 || n - f >= sizeof(suffix))
        return wrong(r, "a sample outside its family", line);
    snprintf(suffix, sizeof(suffix), "%.*s", (int)(n - f), line + f);
    snprintf(labels, sizeof(labels), "%.*s", (int)l, line + n);
    double v = strtod(line + n + l + 1, &end);
    if (end == line + n + l + 1 || *end != '\0' || v < 0)
        return wrong(r, "no value", line);
    for (unsigned i = 0; i < r->series_count; i++)
        if (strncmp(r->series[i], line, n + l) == 0 && r->series[i][n + l] == '\0')
            return wrong(r, "a series twice", line);
    snprintf(r->series[r->series_count++], 512, "%.*s", (int)(n + l), line);
    if (strcmp(r->type, "histogram") == 0)
        return read_histogram(r, line, suffix, labels, v);
    return suffix[0] == '\0' ? true : wrong(r, "a sample outside its family", line);
}

bool exposition_valid(const char *text, char *error, size_t error_len)
{
    unsigned lines = 0;
    for (const char *p = text; *p != '\0'; p++)
        lines += *p == '\n';
    struct reader r = {.seen = calloc(lines + 1, 128), .series = calloc(lines + 1, 512)};
    bool ok = text[0] != '\0' && text[strlen(text) - 1] == '\n';
    char *copy = strdup(text), *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save); ok && line != NULL; line = strtok_r(NULL, "\n", &save))
        ok = line[0] == '#' ? read_comment(&r, line) : read_sample(&r, line);
    snprintf(error, error_len, "%s", r.error);
    free(copy);
    free(r.seen);
    free(r.series);
    return ok;
}

double exposition_value(const char *text, const char *series)
{
    size_t n = strlen(series);
    for (const char *p = text; p != NULL; p = strchr(p, '\n'), p += p != NULL)
        if (strncmp(p, series, n) == 0 && p[n] == ' ')
            return strtod(p + n, NULL);
    return -1;
}
