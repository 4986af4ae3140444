/* Reads Prometheus's text format. */
#ifndef EXPOSITION_H
#define EXPOSITION_H

#include <stdbool.h>
#include <stddef.h>

bool exposition_valid(const char *text, char *error, size_t error_len);
/* The value of a series, written as it stands there with its labels; -1: it is not there. */
double exposition_value(const char *text, const char *series);

#endif
