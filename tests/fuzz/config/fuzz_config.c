/* Any text as a configuration: never a crash, always either a configuration or a reason; and what is accepted prints to
 * text that reads back equal. Seeds: config/examples and tests/unit/config/sample.conf; words:
 * tests/fuzz/config/config.dict. */
#include <stdio.h>
#include <stdlib.h>

#include "config/keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* libconfig 1.5 loses a string or two when it meets a syntax error: its own leak. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so\n";
}

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static void round_trip(const struct config *c)
{
    struct config_errors e;
    char *text = config_print(c);
    struct config *again = config_parse("again", text, &e);
    must(again != NULL, e.count > 0 ? e.text[0] : "no reason");
    must(config_equal(&config_root, c, again), "what was printed reads back as something else");
    must(config_needs_restart(c, again) == NULL, "what is equal needs a restart");
    config_errors_free(&e);
    config_free(again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct config_errors e;
    memcpy(text, data, size);
    text[size] = '\0';
    struct config *c = config_parse("f", text, &e);
    must((c == NULL) == (e.count > 0), "neither a configuration nor a reason, or both");
    for (unsigned i = 0; i < e.count; i++)
        must(strncmp(e.text[i], "f:", 2) == 0 && strchr(e.text[i], '\n') == NULL, "an error that is no line");
    if (c != NULL)
        round_trip(c);
    config_free(c);
    config_errors_free(&e);
    free(text);
    return 0;
}
