/* The control plane's log: one record a line on stderr, UTC, level in words.  What comes from the wire is printed with its control
 * characters replaced, so that a record stays one line. */
#ifndef LOOP_LOG_H
#define LOOP_LOG_H

#include <stddef.h>

/* The numbers of enum config_log_level and of mailbox_log.level. */
enum loop_log_level { LOOP_LOG_ERROR, LOOP_LOG_WARN, LOOP_LOG_INFO, LOOP_LOG_DEBUG };

/* Records above `level` are not written.  INFO until set. */
void loop_log_set_level(unsigned level);
void loop_log(unsigned level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A record whose text is ready, such as one from a worker's mailbox. */
void loop_log_text(unsigned level, const char *text, size_t length);

#endif
