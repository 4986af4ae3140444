/* Test vectors that live beside the tree: $PENSTOCK_SHARED/data, else ../shared/data seen from the tree or from its build. */
#ifndef TESTS_HTTP2_SHARED_H
#define TESTS_HTTP2_SHARED_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>

/* False: not there. */
static inline bool shared_path(char *to, size_t n, const char *below)
{
    const char *roots[] = {getenv("PENSTOCK_SHARED"), "../shared", "../../shared"};
    for (size_t i = 0; i < 3; i++)
        if (roots[i] != NULL && snprintf(to, n, "%s/data/%s", roots[i], below) < (int)n && access(to, R_OK) == 0)
            return true;
    return false;
}

static inline cJSON *shared_json(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return NULL;
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(n + 1);
    n = fread(text, 1, n, f);
    text[n] = 0;
    fclose(f);
    cJSON *json = cJSON_Parse(text);
    free(text);
    return json;
}

/* malloc'd, of exactly that size, so that a read beyond it is seen. */
static inline uint8_t *shared_hex(const char *hex, size_t *n)
{
    *n = strlen(hex) / 2;
    uint8_t *bytes = malloc(*n > 0 ? *n : 1);
    for (size_t i = 0; i < *n; i++)
        bytes[i] = (uint8_t)strtoul((char[3]){hex[2 * i], hex[2 * i + 1], 0}, NULL, 16);
    return bytes;
}

#endif
