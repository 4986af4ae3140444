/* The EAL's arguments: what the configuration says, what the machine has, and one lcore a worker. */
#include "internal.h"

#include <dirent.h>
#include <rte_config.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EAL_ARGS_MAX 64

struct args {
    char *v[EAL_ARGS_MAX];
    int n;
};

static void add(struct args *a, const char *text)
{
    if (a->n < EAL_ARGS_MAX - 1)
        a->v[a->n++] = strdup(text);
}

static bool has(const struct args *a, const char *prefix)
{
    for (int i = 0; i < a->n; i++)
        if (strncmp(a->v[i], prefix, strlen(prefix)) == 0)
            return true;
    return false;
}

/* Free 2 MiB pages. */
static unsigned long hugepages_free(void)
{
    unsigned long n = 0;
    FILE *f = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "r");
    if (f != NULL) {
        if (fscanf(f, "%lu", &n) != 1)
            n = 0;
        fclose(f);
    }
    return n;
}

static bool pci_wanted(const struct config *c)
{
    for (unsigned i = 0; i < c->port_count; i++)
        if (strncmp(c->ports[i].device, "net_", 4) != 0)
            return true;
    return false;
}

/* Of all that is bound to a driver for user space, what the configuration names and nothing else. */
static void add_devices(struct args *a, const struct config *c)
{
    if (has(a, "-a") || has(a, "--allow") || has(a, "-b") || has(a, "--block") || has(a, "--no-pci"))
        return;
    for (unsigned i = 0; i < c->port_count; i++)
        if (strncmp(c->ports[i].device, "net_", 4) != 0) {
            add(a, "-a");
            add(a, c->ports[i].device);
        }
}

static void cpus_allowed(char *out, size_t n)
{
    cpu_set_t set;
    size_t used = 0;
    out[0] = '\0';
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return;
    for (int c = 0; c < CPU_SETSIZE && used + 8 < n; c++)
        if (CPU_ISSET(c, &set))
            used += (size_t)snprintf(out + used, n - used, "%s%d", used > 0 ? "," : "", c);
}

/* "2-5,7" -> the w-th core. */
static int core_of(const char *cores, unsigned w)
{
    for (const char *p = cores; *p != '\0';) {
        char *end;
        long low = strtol(p, &end, 10), high = low;
        if (end == p)
            return -1;
        if (*end == '-')
            high = strtol(end + 1, &end, 10);
        if ((long)w <= high - low)
            return (int)(low + w);
        w -= (unsigned)(high - low + 1);
        p = *end == ',' ? end + 1 : end;
    }
    return -1;
}

/* Lcore 0 is the control plane's, lcore i + 1 worker i's; without `cores` all float over the CPUs that we may use. */
static void add_lcores(struct args *a, const struct boot *b)
{
    char cpus[512], text[16384];
    size_t n = 0;
    cpus_allowed(cpus, sizeof(cpus));
    n += (size_t)snprintf(text, sizeof(text), "--lcores=0@(%s)", cpus);
    for (unsigned w = 0; w < b->workers && n < sizeof(text); w++) {
        if (b->config->cores[0] != '\0')
            n += (size_t)snprintf(text + n, sizeof(text) - n, ",%u@%d", w + 1, core_of(b->config->cores, w));
        else
            n += (size_t)snprintf(text + n, sizeof(text) - n, ",%u@(%s)", w + 1, cpus);
    }
    add(a, text);
}

bool boot_eal_start(struct boot *b, const char *program, char *error, size_t error_len)
{
    struct args a = {.n = 0};
    char prefix[64];
    add(&a, program);
    for (unsigned i = 0; i < b->config->eal_count; i++)
        add(&a, b->config->eal[i]);
    add_devices(&a, b->config);
    if (b->config->eal_count == 0) {
        if (hugepages_free() < 64) {
            add(&a, "--no-huge");
            add(&a, "-m");
            add(&a, "128");
        }
        if (!pci_wanted(b->config))
            add(&a, "--no-pci");
    }
    if (!has(&a, "--file-prefix")) {
        snprintf(prefix, sizeof(prefix), "--file-prefix=penstock-%d", (int)getpid());
        add(&a, prefix);
    }
    if (!has(&a, "--log-level")) {
        add(&a, "--log-level=lib.*:warning");
        add(&a, "--log-level=pmd.*:warning");
    }
    add_lcores(&a, b);
    char *argv[EAL_ARGS_MAX];
    memcpy(argv, a.v, sizeof(argv));
    int r = rte_eal_init(a.n, argv);
    if (r < 0)
        snprintf(error, error_len, "DPDK's EAL did not start (%s); its own messages stand above; dpdk.eal is where its options are set",
                 rte_strerror(rte_errno));
    for (int i = 0; i < a.n; i++)
        free(a.v[i]);
    if (r < 0)
        return false;
    unsigned lcore, w = 0;
    RTE_LCORE_FOREACH_WORKER(lcore)
    if (w < b->workers)
        b->lcore[w++] = lcore;
    if (w < b->workers) {
        snprintf(error, error_len, "the EAL gave %u lcores for %u workers", w, b->workers);
        return false;
    }
    return true;
}

/* The EAL leaves its runtime directory behind. */
static void remove_directory(const char *path)
{
    DIR *d = opendir(path);
    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char file[512];
        if (e->d_name[0] != '.' && snprintf(file, sizeof(file), "%s/%s", path, e->d_name) < (int)sizeof(file))
            unlink(file);
    }
    closedir(d);
    rmdir(path);
}

void boot_eal_stop(void)
{
    char path[256];
    const char *dir = rte_eal_get_runtime_dir();
    snprintf(path, sizeof(path), "%s", dir != NULL ? dir : "");
    rte_eal_cleanup();
    if (strstr(path, "penstock-") != NULL)
        remove_directory(path);
}
