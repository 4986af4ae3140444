/* The way from a file to a struct: look at the source, let libconfig parse it, read the tree by the table, check what
 * keys mean together. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "read.h"

static void free_derived(struct config *c)
{
    for (unsigned i = 0; i < c->cluster_count; i++) {
        free(c->clusters[i].target_path);
        free(c->clusters[i].service_text);
        free(c->clusters[i].target_static);
    }
}

void config_free(struct config *c)
{
    if (c == NULL)
        return;
    free_derived(c);
    config_release(&config_root, c);
    free(c->file);
    free(c);
}

static void free_texts(char **text, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        free(text[i]);
    free(text);
}

void config_errors_free(struct config_errors *errors)
{
    free_texts(errors->text, errors->count);
    free_texts(errors->warnings, errors->warning_count);
    *errors = (struct config_errors){0};
}

static struct config *parse_tree(struct config_report *r, const char *text)
{
    config_t tree;
    struct config *c = NULL;
    config_init(&tree);
    config_set_auto_convert(&tree, CONFIG_FALSE);
    if (config_read_string(&tree, text) == CONFIG_TRUE) {
        c = config_alloc(sizeof(*c));
        c->file = config_dup(r->file);
        config_defaults(&config_root, c);
        config_read_tree(r, config_root_setting(&tree), c);
        config_check(r, config_root_setting(&tree), c);
    } else if (strcmp(config_error_text(&tree), "duplicate setting name") == 0) {
        config_fail(r, config_error_line(&tree), "a key stands twice in this group; the second would hide the first");
    } else {
        config_fail(r, config_error_line(&tree),
                    "%s: a ';' between settings, a ',' between elements, a bracket or a quote is missing or too many, "
                    "here or at the end of the line before",
                    config_error_text(&tree));
    }
    config_destroy(&tree);
    return c;
}

static struct config *parse(const char *name, const char *text, size_t length, struct config_errors *errors)
{
    struct config_report r = {.file = name, .errors = errors};
    struct config *c = NULL;
    if (memchr(text, '\0', length) != NULL)
        config_fail(&r, 1, "the file holds a zero byte: it is no text");
    else if (config_source_check(&r, text, length))
        c = parse_tree(&r, text);
    if (r.error_count > 0) {
        config_free(c);
        c = NULL;
    }
    config_report_end(&r);
    return c;
}

struct config *config_parse(const char *name, const char *text, struct config_errors *errors)
{
    return parse(name, text, strlen(text), errors);
}

#define READ_MAX ((16u << 20) + 1) /* source.c refuses less */

static char *read_all(FILE *f, size_t *length)
{
    size_t room = 65536, n = 0, got;
    char *text = config_alloc(room);
    while ((got = fread(text + n, 1, room - n - 1, f)) > 0 && n < READ_MAX) {
        n += got;
        if (n + 1 == room) {
            room *= 2;
            text = realloc(text, room);
            if (text == NULL)
                abort();
        }
    }
    text[n] = '\0';
    *length = n;
    if (!ferror(f))
        return text;
    free(text);
    return NULL;
}

struct config *config_load(const char *file, struct config_errors *errors)
{
    size_t length;
    FILE *f = fopen(file, "re");
    char *text = f != NULL ? read_all(f, &length) : NULL;
    struct config *c = NULL;
    if (text != NULL) {
        c = parse(file, text, length, errors);
    } else {
        struct config_report r = {.file = file, .errors = errors};
        config_fail(&r, 1, "the configuration can't be read: %s", strerror(errno));
        config_report_end(&r);
    }
    if (f != NULL)
        fclose(f);
    free(text);
    return c;
}
