/* penstockctl's looks inside: connections and capture. */
#ifndef PENSTOCKCTL_EYES_H
#define PENSTOCKCTL_EYES_H

#include <cjson/cJSON.h>

#define EYES_COMMANDS                                                                                                  \
    "  connections          each TCP connection: state, round-trip time, windows, HTTP/2 streams (as ss -ti)\n"        \
    "  capture FILE         frames of every port and worker, in and out, as pcapng (\"-\": standard output)\n"
#define EYES_OPTIONS                                                                                                   \
    "      --filter TEXT      capture: a pcap-filter expression, such as \"tcp port 50051 and host 10.0.0.7\"\n"       \
    "      --seconds N        capture: ends by itself; else on Ctrl-C\n"                                               \
    "      --snaplen N        capture: at most so many bytes of each frame\n"

/* -1: the command is none of these; else the exit status. */
int eyes_main(int argc, char **argv, const char *default_address);

/* A member of an answer: "-" and 0 where it is missing. */
static inline const char *text_of(const cJSON *o, const char *name)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
    return s != NULL ? s : "-";
}

static inline double number_of(const cJSON *o, const char *name)
{
    const cJSON *n = cJSON_GetObjectItemCaseSensitive(o, name);
    return cJSON_IsNumber(n) ? n->valuedouble : 0;
}

#endif
