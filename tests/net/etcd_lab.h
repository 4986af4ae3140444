/* A real etcd of our own on loopback: ports and data directory of this process alone, ended by pid. And words to speak to it. */
#ifndef ETCD_LAB_H
#define ETCD_LAB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "loop/loop.h"

struct lab {
    struct loop *loop;
    char data[64];
    int client_port, away_port, peer_port; /* away: a client URL that nobody under test knows */
    pid_t etcd;
    char url[64], away_url[64], at[64]; /* at: the one in use now */
    char token[256];
};

bool lab_open(struct lab *l);
void lab_close(struct lab *l);
bool lab_start(struct lab *l, bool away);     /* returns when it answers */
void lab_stop(struct lab *l, int signal_number); /* and waits for its end */
void lab_wipe(struct lab *l);

/* POST; the answer's body in a static buffer; NULL: failed. */
const char *lab_post(struct lab *l, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));
void lab_put(struct lab *l, const char *key, const char *value, long long lease);
void lab_delete(struct lab *l, const char *key);
long long lab_lease(struct lab *l, int ttl_s);
long long lab_number(const char *json, const char *name); /* "name":"123" */
char *lab_base64(const char *text); /* one of eight static buffers */

/* Turns the loop until `true_now` says so; false after ms. *took: milliseconds. */
bool lab_until(struct lab *l, bool (*true_now)(void *user), void *user, int ms, int *took);
void lab_rest(struct lab *l, int ms);
int64_t lab_ms(void);

#endif
