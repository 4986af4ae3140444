/* From text to struct: the steps of config_parse().  Internal to the room. */
#ifndef CONFIG_READ_H
#define CONFIG_READ_H

#include <libconfig.h>

#include "keys.h"

struct config_report {
    const char *file;
    struct config_errors *errors;
    struct config_line {
        int line;
        unsigned order;
        char *text;
    } * error, *warning;
    unsigned error_count, warning_count;
};

void config_fail(struct config_report *r, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
void config_warn(struct config_report *r, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Moves what was reported, in order of lines, to the errors. */
void config_report_end(struct config_report *r);

/* The nearest of the names by edit distance; NULL where there is none. */
const char *config_nearest(const char *name, const char *(*next)(void *user), void *user);

/* What libconfig would swallow in silence or choke on: @include, integers beyond their type, unclosed brackets and
 * strings, excess. */
bool config_source_check(struct config_report *r, const char *text, size_t length);
/* Types, ranges, unknown keys, keys of later steps. */
void config_read_tree(struct config_report *r, const config_setting_t *root, struct config *c);
/* What keys mean together. */
void config_check(struct config_report *r, const config_setting_t *root, struct config *c);
void config_check_ports(struct config_report *r, const config_setting_t *root, struct config *c);
void config_check_routes(struct config_report *r, const config_setting_t *root, struct config *c);
void config_check_clusters(struct config_report *r, const config_setting_t *root, struct config *c);

/* The line of member `name` of a group, or of the group where it has none. */
int config_line(const config_setting_t *group, const char *name);
/* Group i of a list below root. */
const config_setting_t *config_group(const config_setting_t *parent, const char *list, unsigned i);
/* True: a good name, or one that was reported as missing already. */
bool config_check_name(struct config_report *r, int line, const char *what, const char *name);

#endif
