/* The resolver against a real etcd: whatever happens to the registry, the set of endpoints follows it, and stays while it is away.
 *
 * Prints a line a case with what it took; exit status 0: all held.  Needs the program etcd, no root, some 45 s. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "etcd_lab.h"
#include "loop/log.h"
#include "resolver/resolver.h"

static struct lab lab;
static struct config config;
static struct config_cluster cluster;
static struct membership *membership;
static struct membership_cluster *echo;
static struct resolvers *resolvers;
static unsigned changes, failures, passes;
static const char *current = "";

#define CHECK(what)                                                                                                                                  \
    do {                                                                                                                                             \
        if (!(what)) {                                                                                                                               \
            printf("FAILED %s: line %d: %s\n", current, __LINE__, #what);                                                                            \
            failures++;                                                                                                                              \
        } else {                                                                                                                                     \
            passes++;                                                                                                                                \
        }                                                                                                                                            \
    } while (0)

static void changed(void *user)
{
    (void)user;
    changes++;
}

/* "198.18.0.1:1=5 198.18.0.2:1=1": the present endpoints, in order, with their weights. */
static const char *set_text(void)
{
    static char text[4096];
    size_t n = 0;
    text[0] = '\0';
    base_list_each(it, &echo->endpoints)
    {
        const struct membership_endpoint *e = base_container(it, struct membership_endpoint, link);
        char address[BASE_ENDPOINT_TEXT];
        if (e->life == MEMBERSHIP_PRESENT && n + 80 < sizeof(text))
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s=%u", n ? " " : "", base_endpoint_format(&e->address, address), e->weight);
    }
    return text;
}

static bool set_is(void *want)
{
    return strcmp(set_text(), want) == 0;
}

/* Waits for the set, says how long it took. */
static void expect_within(const char *want, int ms)
{
    int took;
    bool is = lab_until(&lab, set_is, (void *)want, ms, &took);
    printf("  %-44s %5d ms\n", current, took);
    if (!is)
        printf("  want: %s\n  have: %s\n", want, set_text());
    CHECK(is);
}

static uint64_t stale(void)
{
    return resolvers_stale_ns(resolvers, echo, loop_now(lab.loop));
}

static bool is_fresh(void *user)
{
    (void)user;
    return echo->answered && stale() == 0;
}

static bool is_stale(void *user)
{
    (void)user;
    return stale() > 0;
}

static void configure(const char *prefix, const char *namespace, const char *username, const char *password_file)
{
    static char *endpoints[2];
    static char none[1], nobody[] = "http://127.0.0.1:1";
    endpoints[0] = nobody; /* one of two members is away, always */
    endpoints[1] = lab.url;
    config.etcd = (struct config_etcd){.endpoints = endpoints, .endpoint_count = 2, .ns = (char *)namespace, .username = (char *)username,
                                       .password_file = (char *)password_file, .ca = none, .cert = none, .key = none, .resync_ns = 3000000000ull};
    cluster = (struct config_cluster){.name = (char *)"echo", .target = (char *)prefix, .target_kind = CONFIG_TARGET_ETCD, .target_path = (char *)prefix};
    config.clusters = &cluster;
    config.cluster_count = 1;
    membership_configure(membership, &config, loop_now(lab.loop));
    echo = membership_find(membership, "echo");
    resolvers_configure(resolvers, &config);
}

static void put(const char *key, const char *value)
{
    char full[128];
    snprintf(full, sizeof(full), "services/echo/%s", key);
    lab_put(&lab, full, value, 0);
}

static void del(const char *key)
{
    char full[128];
    snprintf(full, sizeof(full), "services/echo/%s", key);
    lab_delete(&lab, full);
}

#define NAMED(address, weight) "{\"Op\":0,\"Addr\":\"" address "\",\"Metadata\":{\"weight\":" #weight "}}"

static void begins(const char *name)
{
    current = name;
}

static void changes_are_followed(void)
{
    begins("first list");
    put("a", NAMED("198.18.0.1:1", 5));
    put("b", "198.18.0.2:1");
    lab_put(&lab, "services/echo2/x", "198.18.0.99:1", 0); /* a neighbour's key */
    configure("services/echo/", "", "", "");
    expect_within("198.18.0.1:1=5 198.18.0.2:1=1", 3000);
    begins("proven after the first list");
    CHECK(lab_until(&lab, is_fresh, NULL, 2000, NULL));
    begins("a key is added");
    put("c", NAMED("[2001:db8::1]:1", 2));
    expect_within("198.18.0.1:1=5 198.18.0.2:1=1 [2001:db8::1]:1=2", 1000);
    begins("a weight changes");
    uint32_t slot = membership_slot(membership, 0)->slot, serial = membership_slot(membership, 0)->serial;
    put("a", NAMED("198.18.0.1:1", 3));
    expect_within("198.18.0.1:1=3 198.18.0.2:1=1 [2001:db8::1]:1=2", 1000);
    CHECK(membership_slot(membership, 0)->slot == slot && membership_slot(membership, 0)->serial == serial);
    begins("an equal value is written again");
    uint64_t version = echo->version;
    unsigned before = changes;
    put("a", NAMED("198.18.0.1:1", 3));
    lab_rest(&lab, 300);
    CHECK(echo->version == version && changes == before);
    begins("a key is deleted");
    del("b");
    expect_within("198.18.0.1:1=3 [2001:db8::1]:1=2", 1000);
}

static void transactions_are_whole(void)
{
    begins("a transaction is one change");
    uint64_t version = echo->version;
    lab_post(&lab, "/v3/kv/txn",
             "{\"success\":[{\"request_put\":{\"key\":\"%s\",\"value\":\"%s\"}},{\"request_put\":{\"key\":\"%s\",\"value\":\"%s\"}},"
             "{\"request_delete_range\":{\"key\":\"%s\"}}]}",
             lab_base64("services/echo/d"), lab_base64("198.18.0.4:1"), lab_base64("services/echo/e"), lab_base64("198.18.0.5:1"),
             lab_base64("services/echo/c"));
    expect_within("198.18.0.1:1=3 198.18.0.4:1=1 198.18.0.5:1=1", 1000);
    CHECK(echo->version == version + 1);
    del("d");
    del("e");
    begins("a lease runs out");
    lab_put(&lab, "services/echo/l", "198.18.0.6:1", lab_lease(&lab, 1));
    expect_within("198.18.0.1:1=3 198.18.0.6:1=1", 1000);
    expect_within("198.18.0.1:1=3", 5000);
}

static void bad_values_harm_nobody(void)
{
    char *large = malloc((1 << 20) + 1);
    memset(large, '{', 1 << 20);
    large[1 << 20] = '\0';
    begins("bad values");
    put("b", "198.18.0.2:1");
    expect_within("198.18.0.1:1=3 198.18.0.2:1=1", 1000);
    uint64_t bad = echo->bad_values;
    put("b", "garbage");
    put("f", "{\"Addr\":\"198.18.0.9:99999\"}");
    put("g", large);
    put("h", NAMED("198.18.0.3:1", 1));
    begins("a good one behind bad ones");
    expect_within("198.18.0.1:1=3 198.18.0.2:1=1 198.18.0.3:1=1", 2000);
    CHECK(echo->bad_values == bad + 3);
    begins("a bad key is deleted");
    del("b");
    del("f");
    del("g");
    expect_within("198.18.0.1:1=3 198.18.0.3:1=1", 1000);
    free(large);
}

static void one_address_two_keys(void)
{
    uint32_t slot, serial;
    while (membership_renewed_next(membership, &slot, &serial))
        ;
    begins("two keys, one address");
    unsigned before = changes;
    put("h2", NAMED("198.18.0.3:1", 4));
    expect_within("198.18.0.1:1=3 198.18.0.3:1=4", 1000);
    CHECK(changes > before);
    CHECK(membership_renewed_next(membership, &slot, &serial));
    del("h");
    lab_rest(&lab, 200);
    expect_within("198.18.0.1:1=3 198.18.0.3:1=4", 1);
    begins("a key under a new lease is renewed");
    uint64_t version = echo->version;
    lab_put(&lab, "services/echo/h2", NAMED("198.18.0.3:1", 4), lab_lease(&lab, 60));
    lab_rest(&lab, 300);
    CHECK(echo->version == version);
    CHECK(membership_renewed_next(membership, &slot, &serial));
    CHECK(!membership_renewed_next(membership, &slot, &serial));
    del("h2");
    begins("the second key goes too");
    expect_within("198.18.0.1:1=3", 1000);
}

static void a_hung_etcd(void)
{
    int took;
    begins("SIGSTOP: found");
    CHECK(lab_until(&lab, is_fresh, NULL, 3000, NULL));
    kill(lab.etcd, SIGSTOP);
    bool is = lab_until(&lab, is_stale, NULL, 7000, &took);
    printf("  %-44s %5d ms\n", current, took);
    CHECK(is && took < 5500);
    lab_rest(&lab, 1000);
    CHECK(set_is((void *)"198.18.0.1:1=3"));
    kill(lab.etcd, SIGCONT);
    begins("SIGCONT: live again");
    put("i", "198.18.0.7:1");
    expect_within("198.18.0.1:1=3 198.18.0.7:1=1", 7000);
    CHECK(lab_until(&lab, is_fresh, NULL, 3000, &took));
}

static void an_etcd_that_goes_and_comes(int signal_number, bool compacted)
{
    begins(compacted ? "restart; changes and compaction meanwhile" : "restart; changes meanwhile");
    lab_stop(&lab, signal_number);
    lab_rest(&lab, 1500);
    CHECK(stale() > 1000000000ull);
    CHECK(set_is((void *)"198.18.0.1:1=3 198.18.0.7:1=1"));
    CHECK(lab_start(&lab, true)); /* where only we find it */
    put("i", NAMED("198.18.0.7:1", 9));
    put("j", "198.18.0.8:1");
    del("a");
    if (compacted) {
        put("j", NAMED("198.18.0.8:1", 2));
        long long revision = lab_number(lab_post(&lab, "/v3/kv/range", "{\"key\":\"AA==\",\"count_only\":true}"), "revision");
        CHECK(lab_post(&lab, "/v3/kv/compaction", "{\"revision\":\"%lld\"}", revision) != NULL);
    }
    lab_stop(&lab, SIGTERM);
    CHECK(set_is((void *)"198.18.0.1:1=3 198.18.0.7:1=1"));
    uint64_t removed = echo->removed;
    CHECK(lab_start(&lab, false));
    expect_within(compacted ? "198.18.0.7:1=9 198.18.0.8:1=2" : "198.18.0.7:1=9 198.18.0.8:1=1", 7000);
    CHECK(echo->removed == removed + 1); /* nothing else left on the way */
    CHECK(lab_until(&lab, is_fresh, NULL, 6000, NULL));
    put("a", NAMED("198.18.0.1:1", 3));
    put("i", "198.18.0.7:1");
    del("j");
    expect_within("198.18.0.1:1=3 198.18.0.7:1=1", 2000);
}

static void a_wiped_etcd(void)
{
    begins("wiped, with the same name");
    lab_stop(&lab, SIGKILL);
    lab_wipe(&lab);
    CHECK(lab_start(&lab, false));
    put("z", "198.18.0.20:1");
    expect_within("198.18.0.20:1=1", 7000);
    begins("a change after the wipe");
    put("z", NAMED("198.18.0.20:1", 7));
    expect_within("198.18.0.20:1=7", 1000);
    begins("wiped, and filled beyond our revision");
    lab_stop(&lab, SIGKILL);
    lab_wipe(&lab);
    CHECK(lab_start(&lab, true));
    put("first", "198.18.0.30:1");
    for (int i = 0; i < 30; i++)
        put("noise", "198.18.0.31:1");
    lab_stop(&lab, SIGTERM);
    CHECK(lab_start(&lab, false));
    expect_within("198.18.0.30:1=1 198.18.0.31:1=1", 9000);
}

static bool many_there(void *user)
{
    return echo->present == *(unsigned *)user;
}

static void a_long_list_comes_in_pages(void)
{
    begins("2,500 keys, in pages");
    for (int i = 0; i < 25; i++) {
        char *body = NULL;
        size_t n;
        FILE *f = open_memstream(&body, &n);
        for (int k = 0; k < 100; k++) {
            char key[64], value[64];
            snprintf(key, sizeof(key), "services/many/%d-%d", i, k);
            snprintf(value, sizeof(value), "198.18.%d.%d:%d", i + 1, k + 1, 1000 + k);
            fprintf(f, "%s{\"request_put\":{\"key\":\"%s\",\"value\":\"%s\"}}", k ? "," : "", lab_base64(key), lab_base64(value));
        }
        fclose(f);
        CHECK(lab_post(&lab, "/v3/kv/txn", "{\"success\":[%s]}", body) != NULL);
        free(body);
    }
    int took;
    unsigned want = 2500;
    configure("many/", "services/", "", ""); /* with a namespace */
    bool is = lab_until(&lab, many_there, &want, 5000, &took);
    printf("  %-44s %5d ms\n", current, took);
    CHECK(is);
    begins("half of them deleted at once");
    lab_post(&lab, "/v3/kv/deleterange", "{\"key\":\"%s\",\"range_end\":\"%s\"}", lab_base64("services/many/1"), lab_base64("services/many/2"));
    want = 2500 - 1100;
    is = lab_until(&lab, many_there, &want, 2000, &took);
    printf("  %-44s %5d ms\n", current, took);
    CHECK(is);
}

static bool is_up(void *user)
{
    (void)user;
    return echo->answered;
}

static void a_locked_etcd(void)
{
    char file[96];
    snprintf(file, sizeof(file), "%s/password", lab.data);
    FILE *f = fopen(file, "w");
    fputs("secret\n", f);
    fclose(f);
    begins("authentication is switched on under a watch");
    CHECK(lab_post(&lab, "/v3/auth/user/add", "{\"name\":\"root\",\"password\":\"secret\"}") != NULL);
    CHECK(lab_post(&lab, "/v3/auth/user/grant", "{\"user\":\"root\",\"role\":\"root\"}") != NULL);
    CHECK(lab_post(&lab, "/v3/auth/enable", "{}") != NULL);
    const char *answer = lab_post(&lab, "/v3/auth/authenticate", "{\"name\":\"root\",\"password\":\"secret\"}");
    const char *token = answer != NULL ? strstr(answer, "\"token\":\"") : NULL;
    CHECK(token != NULL);
    if (token != NULL)
        snprintf(lab.token, sizeof(lab.token), "%.*s", (int)strcspn(token + 9, "\""), token + 9);
    CHECK(lab_until(&lab, is_stale, NULL, 6000, NULL));
    CHECK(echo->present == 1400);
    begins("with a user and a password");
    configure("services/echo/", "", "root", file);
    CHECK(!echo->answered);
    CHECK(lab_until(&lab, is_up, NULL, 3000, NULL));
    put("auth", "198.18.0.40:1");
    expect_within("198.18.0.30:1=1 198.18.0.31:1=1 198.18.0.40:1=1", 1000);
    CHECK(lab_until(&lab, is_fresh, NULL, 3000, NULL));
    begins("the token is forgotten (restart)");
    lab_stop(&lab, SIGKILL);
    lab_rest(&lab, 500);
    CHECK(lab_start(&lab, false) || lab.token[0] != '\0');
    lab_rest(&lab, 2500);
    answer = lab_post(&lab, "/v3/auth/authenticate", "{\"name\":\"root\",\"password\":\"secret\"}");
    token = answer != NULL ? strstr(answer, "\"token\":\"") : NULL;
    if (token != NULL)
        snprintf(lab.token, sizeof(lab.token), "%.*s", (int)strcspn(token + 9, "\""), token + 9);
    put("auth", NAMED("198.18.0.40:1", 2));
    expect_within("198.18.0.30:1=1 198.18.0.31:1=1 198.18.0.40:1=2", 6000);
    unlink(file);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    loop_log_set_level(getenv("VERBOSE") != NULL ? LOOP_LOG_DEBUG : LOOP_LOG_ERROR);
    int64_t begin = lab_ms();
    if (!lab_open(&lab) || !lab_start(&lab, false)) {
        printf("etcd could not be started (is it installed?)\n");
        lab_close(&lab);
        return 77;
    }
    membership = membership_create(1);
    resolvers = resolvers_create(lab.loop, membership, changed, NULL);
    changes_are_followed();
    transactions_are_whole();
    bad_values_harm_nobody();
    one_address_two_keys();
    a_hung_etcd();
    an_etcd_that_goes_and_comes(SIGTERM, false);
    an_etcd_that_goes_and_comes(SIGKILL, true);
    a_wiped_etcd();
    a_long_list_comes_in_pages();
    a_locked_etcd();
    resolvers_destroy(resolvers);
    membership_destroy(membership);
    lab_close(&lab);
    printf("etcd_watch: %u checks held, %u failed, %lld ms\n", passes, failures, (long long)(lab_ms() - begin));
    return failures != 0;
}
