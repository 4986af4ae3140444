/* Registry values: the first byte chooses the layout, the key ends at the first newline, the rest is the value. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "resolver/resolver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct resolver_value out;
    if (n == 0)
        return 0;
    enum config_format format = (enum config_format)(data[0] % (CONFIG_FORMAT_APISIX + 1));
    const uint8_t *newline = memchr(data + 1, '\n', n - 1), *end = data + n;
    size_t key_len = newline != NULL ? (size_t)(newline - data - 1) : 0;
    const char *value = newline != NULL ? (const char *)newline + 1 : (const char *)data + 1;
    size_t value_len = (size_t)((const char *)end - value);
    char *key = malloc(key_len + 1), *copy = malloc(value_len + 1); /* of exactly that size, but for malloc(0) */
    memcpy(key + 1, data + 1, key_len);
    memcpy(copy + 1, value, value_len);
    if (resolver_value_parse(format, key + 1, key_len, copy + 1, value_len, &out)) {
        if (out.count > RESOLVER_VALUE_ENDPOINTS_MAX)
            abort();
        for (unsigned i = 0; i < out.count; i++)
            if (out.at[i].weight > RESOLVER_WEIGHT_MAX || out.at[i].address.port == 0)
                abort();
    } else if (out.why[0] == '\0') {
        abort();
    }
    free(key);
    free(copy);
    return 0;
}
