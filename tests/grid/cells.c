/* cells: a cell is three streams side by side; the whole grid is cells, some of them side by side, each remembered as soon as it is done. */
#include "grid.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIDE_BY_SIDE = 4, JOBS = 3 * 4 * 2 * 6, ATTEMPTS = 6 };
#define LATE_MOST 0.05 /* above this a run is repeated, and in the end not believed */

struct job {
    struct cell cell;
    struct result *result[KINDS];
    pid_t pid[KINDS];
    int left, attempts;
    bool done;
};

struct result *result_create(const struct cell *c)
{
    struct result *r = mmap(NULL, result_size(c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (r == MAP_FAILED)
        die("mmap");
    return r;
}

void result_destroy(const struct cell *c, struct result *r)
{
    munmap(r, result_size(c));
}

double result_mbit(const struct result *r)
{
    return r->ns > 0 ? (double)r->bytes * 8e3 / (double)r->ns : 0;
}

double result_late(struct result *const r[KINDS])
{
    double worst = 0;
    for (int k = 0; k < KINDS; k++) {
        double late = r[k]->frames > 0 ? (double)r[k]->late / (double)r[k]->frames : 0;
        worst = late > worst ? late : worst;
    }
    return worst;
}

static void job_start(struct job *j)
{
    for (int k = 0; k < KINDS; k++) {
        if (j->result[k] != NULL)
            result_destroy(&j->cell, j->result[k]);
        j->result[k] = result_create(&j->cell);
        fflush(stdout);
        if ((j->pid[k] = fork()) == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            stream_run(&j->cell, (enum kind)k, j->result[k]);
            _exit(0);
        }
    }
    j->left = KINDS;
    j->attempts++;
}

static bool job_good(const struct job *j)
{
    const struct cell *c = &j->cell;
    bool good = true;
    for (int k = 0; k < KINDS; k++) {
        const struct result *r = j->result[k];
        if (r->done && r->good && (c->form != FORM_WHOLE || r->hash == load_hash(c->bytes)))
            continue;
        printf("%s at %llu us, %u ppm, seed %llu: %s\n", grid_kind_names[k], (unsigned long long)c->rtt_us, c->loss_ppm, (unsigned long long)c->seed,
               r->done ? "what arrives is not what was sent" : "it did not come to its end");
        good = false;
    }
    return good;
}

static void job_end(struct job *j)
{
    for (int k = 0; k < KINDS; k++)
        result_destroy(&j->cell, j->result[k]);
    j->done = true;
}

/* Some job whose last stream has ended; NULL: that was another one. */
static struct job *job_wait(struct job *jobs, int n)
{
    pid_t pid = wait(NULL);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < KINDS; k++)
            if (jobs[i].left > 0 && jobs[i].pid[k] == pid) {
                jobs[i].pid[k] = 0;
                return --jobs[i].left == 0 ? &jobs[i] : NULL;
            }
    return NULL;
}

bool cell_run(const struct cell *c, struct result *r[KINDS])
{
    struct job j = {.cell = *c};
    job_start(&j);
    while (job_wait(&j, 1) == NULL)
        ;
    memcpy(r, j.result, sizeof(j.result));
    return job_good(&j);
}

/* In an order in which cells of every loss, the cheap and the dear, come to lie side by side. Those of 0.1 ms, which run alone, come last. */
static int jobs_make(struct job *jobs, const char *file)
{
    static const uint32_t losses[] = {0, 1000, 10000, 30000};
    int n = 0;
    for (int i = 0; i < JOBS; i++) {
        int alone = i >= JOBS * 2 / 3, at = alone ? i - JOBS * 2 / 3 : i, combination = alone ? at / 4 % 2 : (at + at / 4) % 4, round = alone ? at / 8 : at / 16;
        struct cell c = {.form = round < 5 ? FORM_TIMED : FORM_WHOLE, .loss_ppm = losses[at % 4], .reorder = combination & 1, .rto_ns_min = 200 * MS};
        c.rtt_us = alone ? 100 : combination & 2 ? 100000 : 20000;
        c.seed = round < 5 ? (uint64_t)round + 1 : 1;
        c.seconds = c.form == FORM_TIMED ? alone ? 5 : 30 : 0;
        c.bytes = c.form == FORM_WHOLE ? 20000000 : 0;
        if (!report_has(file, &c))
            jobs[n++].cell = c;
    }
    return n;
}

static int running(const struct job *jobs, int n)
{
    int count = 0;
    for (int i = 0; i < n; i++)
        count += jobs[i].left > 0;
    return count;
}

static bool may_start(const struct job *jobs, int n, const struct job *j)
{
    for (int i = 0; i < n; i++)
        if (jobs[i].left > 0 && (jobs[i].cell.rtt_us < 1000 || j->cell.rtt_us < 1000))
            return false;
    return running(jobs, n) < SIDE_BY_SIDE;
}

static struct job *job_next(struct job *jobs, int n)
{
    for (int i = 0; i < n; i++)
        if (!jobs[i].done && jobs[i].left == 0)
            return &jobs[i];
    return NULL;
}

static bool job_take(struct job *j, const char *file)
{
    bool good = job_good(j);
    double late = result_late(j->result);
    if (good && late > LATE_MOST) {
        printf("%.1f %% of the segments were late: %s\n", late * 100, j->attempts < ATTEMPTS ? "again" : "left out; 'grid long' with the same file runs it");
        fflush(stdout);
        if (j->attempts < ATTEMPTS)
            return true; /* job_next() finds it once more */
        good = false;
    } else if (good) {
        report_add(file, &j->cell, j->result);
        report_row(stdout, &j->cell, j->result);
    }
    job_end(j);
    return good;
}

int cells_long(const char *file)
{
    static struct job jobs[JOBS];
    int n = jobs_make(jobs, file);
    bool good = true;
    struct job *j;
    while ((j = job_next(jobs, n)) != NULL || running(jobs, n) > 0) {
        for (; j != NULL && may_start(jobs, n, j); j = job_next(jobs, n))
            job_start(j);
        if ((j = job_wait(jobs, n)) != NULL)
            good &= job_take(j, file);
    }
    return good ? 0 : 1;
}
