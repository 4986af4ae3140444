/* DPDK's telemetry socket: /penstock/clusters and /penstock/workers, with the words of the admin server.
 *
 * Commands run on a thread of DPDK's, and what admin knows belongs to the control plane's: so a command leaves its question, wakes the loop, and waits
 * for at most a second. */
#include "internal.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <pthread.h>
#include <rte_telemetry.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum question { NOTHING, CLUSTERS, WORKERS };

/* rte_telemetry's callbacks take no pointer of ours, and stay registered as long as the process lives. */
static struct telemetry {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    enum question question;
    char *answer; /* NULL: none yet */
    int event;    /* -1: nobody is there to answer */
} telemetry = {.lock = PTHREAD_MUTEX_INITIALIZER, .answered = PTHREAD_COND_INITIALIZER, .event = -1};

static void on_question(void *user, uint32_t events)
{
    struct boot *b = user;
    uint64_t count;
    (void)events;
    if (read(telemetry.event, &count, sizeof(count)) != sizeof(count))
        return;
    pthread_mutex_lock(&telemetry.lock);
    enum question q = telemetry.question;
    telemetry.question = NOTHING;
    if (q != NOTHING) {
        free(telemetry.answer);
        telemetry.answer = q == CLUSTERS ? admin_clusters_json(b->admin) : admin_workers_json(b->admin);
        pthread_cond_signal(&telemetry.answered);
    }
    pthread_mutex_unlock(&telemetry.lock);
}

/* NULL: no answer within a second. The caller frees it. */
static char *ask(enum question q)
{
    struct timespec until;
    uint64_t one = 1;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    pthread_mutex_lock(&telemetry.lock);
    free(telemetry.answer);
    telemetry.answer = NULL;
    telemetry.question = q;
    bool asked = telemetry.event >= 0 && write(telemetry.event, &one, sizeof(one)) == sizeof(one);
    while (asked && telemetry.answer == NULL && pthread_cond_timedwait(&telemetry.answered, &telemetry.lock, &until) == 0)
        ;
    char *answer = telemetry.answer;
    telemetry.answer = NULL;
    telemetry.question = NOTHING;
    pthread_mutex_unlock(&telemetry.lock);
    return answer;
}

static void put(struct rte_tel_data *d, const cJSON *item)
{
    if (cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble == (double)(uint64_t)item->valuedouble)
        rte_tel_data_add_dict_u64(d, item->string, (uint64_t)item->valuedouble);
    else if (cJSON_IsNumber(item))
        rte_tel_data_add_dict_u64(d, item->string, item->valuedouble > 0 ? (uint64_t)item->valuedouble : 0);
    else if (cJSON_IsString(item))
        rte_tel_data_add_dict_string(d, item->string, item->valuestring);
}

static unsigned ready_of(const cJSON *endpoints)
{
    const cJSON *e;
    unsigned n = 0;
    cJSON_ArrayForEach (e, endpoints) {
        const char *state = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(e, "state"));
        n += state != NULL && strcmp(state, "READY") == 0;
    }
    return n;
}

/* One dictionary for each element of the list, named by its `key`; what nests deeper is told in numbers. */
static int answer(enum question q, const char *list, const char *key, struct rte_tel_data *d)
{
    char *text = ask(q), name[RTE_TEL_MAX_STRING_LEN];
    cJSON *root = text != NULL ? cJSON_Parse(text) : NULL;
    const cJSON *o, *item;
    free(text);
    if (root == NULL)
        return -ETIMEDOUT;
    rte_tel_data_start_dict(d);
    unsigned n = 0;
    cJSON_ArrayForEach (o, cJSON_GetObjectItemCaseSensitive(root, list)) {
        struct rte_tel_data *one = n++ < RTE_TEL_MAX_DICT_ENTRIES ? rte_tel_data_alloc() : NULL;
        const cJSON *k = cJSON_GetObjectItemCaseSensitive(o, key), *endpoints = cJSON_GetObjectItemCaseSensitive(o, "endpoints");
        if (one == NULL)
            break;
        rte_tel_data_start_dict(one);
        cJSON_ArrayForEach (item, o)
            put(one, item);
        if (endpoints != NULL) {
            rte_tel_data_add_dict_u64(one, "endpoints", (uint64_t)cJSON_GetArraySize(endpoints));
            rte_tel_data_add_dict_u64(one, "ready", ready_of(endpoints));
        }
        if (cJSON_IsString(k))
            snprintf(name, sizeof(name), "%s", k->valuestring);
        else
            snprintf(name, sizeof(name), "%s_%.0f", key, cJSON_IsNumber(k) ? k->valuedouble : n);
        if (rte_tel_data_add_dict_container(d, name, one, 0) != 0)
            rte_tel_data_free(one);
    }
    cJSON_Delete(root);
    return 0;
}

static int clusters(const char *command, const char *parameters, struct rte_tel_data *d)
{
    (void)command, (void)parameters;
    return answer(CLUSTERS, "clusters", "name", d);
}

static int workers(const char *command, const char *parameters, struct rte_tel_data *d)
{
    (void)command, (void)parameters;
    return answer(WORKERS, "workers", "worker", d);
}

void boot_telemetry_start(struct boot *b)
{
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    b->telemetry = event >= 0 ? loop_watch_add(b->loop, event, EPOLLIN, on_question, b) : NULL;
    pthread_mutex_lock(&telemetry.lock);
    telemetry.event = event;
    pthread_mutex_unlock(&telemetry.lock);
    rte_telemetry_register_cmd("/penstock/clusters", clusters, "Each cluster: policy, source, endpoints and how many are READY.");
    rte_telemetry_register_cmd("/penstock/workers", workers, "Each worker: seconds busy and idle, turns, packets.");
}

void boot_telemetry_stop(struct boot *b)
{
    loop_watch_remove(b->telemetry);
    pthread_mutex_lock(&telemetry.lock);
    if (telemetry.event >= 0)
        close(telemetry.event);
    telemetry.event = -1;
    pthread_mutex_unlock(&telemetry.lock);
    b->telemetry = NULL;
}
