/* Log records to stderr: formatted into one buffer, written with one write(2), so that lines of several programs on one terminal do
 * not mix. */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

static unsigned log_level = LOOP_LOG_INFO;

void loop_log_set_level(unsigned level)
{
    log_level = level;
}

void loop_log_text(unsigned level, const char *text, size_t length)
{
    static const char *const names[] = {"error", "warn ", "info ", "debug"};
    if (level > log_level)
        return;
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    char line[LINE_MAX_BYTES];
    size_t n = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(line + n, sizeof(line) - n, ".%03ldZ %s ", ts.tv_nsec / 1000000, names[level > LOOP_LOG_DEBUG ? LOOP_LOG_DEBUG : level]);
    if (length > sizeof(line) - n - 1)
        length = sizeof(line) - n - 1;
    for (size_t i = 0; i < length; i++)
        line[n++] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
    line[n++] = '\n';
    /* A full pipe or a closed stderr loses the record: nobody is left to be told. */
    ssize_t written = write(STDERR_FILENO, line, n);
    (void)written;
}

void loop_log(unsigned level, const char *format, ...)
{
    if (level > log_level)
        return;
    char text[LINE_MAX_BYTES];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    if (n < 0)
        return;
    loop_log_text(level, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}
