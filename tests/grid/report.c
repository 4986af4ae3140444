/* report: what was measured, a line a run in a file, and the page that is made of it: medians of the seeds, ratios of medians, the verdict.
 *
 *     timed RTT_US LOSS_PPM REORDER SEED  MBIT MBIT MBIT  LATE      in order of kinds
 *     whole RTT_US LOSS_PPM REORDER SEED  S S S  LATE  HASH         20 MB each */
#include "grid.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SEEDS = 5, CELLS = 24 };
#define MEAN_LEAST 1.0
#define CELL_LEAST 0.85

struct row {
    uint64_t rtt_us;
    uint32_t loss_ppm;
    bool reorder;
    int seeds;
    double timed[KINDS][SEEDS], whole[KINDS], late;
    unsigned long long hash;
};

const char report_heading[] = "| RTT | loss | reordering | seed | ours -> Linux | Linux -> ours | Linux -> Linux | ratio, sending | ratio, receiving | late |\n"
                              "|---|---|---|---|---|---|---|---|---|---|\n";

static int key_print(char *out, size_t room, const struct cell *c)
{
    return snprintf(out, room, "%s %llu %u %d %llu ", c->form == FORM_WHOLE ? "whole" : "timed", (unsigned long long)c->rtt_us, c->loss_ppm, c->reorder,
                    (unsigned long long)c->seed);
}

bool report_has(const char *file, const struct cell *c)
{
    char key[200], line[400];
    int n = key_print(key, sizeof(key), c);
    FILE *f = fopen(file, "r");
    bool found = false;
    while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL)
        found = strncmp(line, key, (size_t)n) == 0;
    if (f != NULL)
        fclose(f);
    return found;
}

void report_add(const char *file, const struct cell *c, struct result *const r[KINDS])
{
    char key[200];
    FILE *f = fopen(file, "a");
    if (f == NULL)
        die(file);
    key_print(key, sizeof(key), c);
    fputs(key, f);
    for (int k = 0; k < KINDS; k++)
        fprintf(f, " %.3f", c->form == FORM_WHOLE ? (double)r[k]->ns / 1e9 : result_mbit(r[k]));
    fprintf(f, "  %.4f", result_late(r));
    if (c->form == FORM_WHOLE)
        fprintf(f, "  %016llx", (unsigned long long)r[0]->hash);
    fputs("\n", f);
    fclose(f);
}

static const char *loss_name(uint32_t ppm)
{
    static char text[20];
    snprintf(text, sizeof(text), "%g %%", ppm / 1e4);
    return ppm == 0 ? "none" : text;
}

static void cell_name(FILE *out, uint64_t rtt_us, uint32_t loss_ppm, bool reorder)
{
    fprintf(out, "| %g ms | %s | %s ", (double)rtt_us / 1e3, loss_name(loss_ppm), reorder ? "2 %" : "none");
}

void report_row(FILE *out, const struct cell *c, struct result *const r[KINDS])
{
    cell_name(out, c->rtt_us, c->loss_ppm, c->reorder);
    double v[KINDS];
    fprintf(out, "| %llu ", (unsigned long long)c->seed);
    for (int k = 0; k < KINDS; k++) {
        v[k] = result_mbit(r[k]);
        fprintf(out, "| %.2f ", v[k]);
    }
    fprintf(out, "| %.2f | %.2f | %.1f %% |%s\n", v[0] / v[2], v[1] / v[2], result_late(r) * 100, c->form == FORM_WHOLE ? " 20 MB" : "");
    fflush(out);
}

/* ---- the page ---- */

static struct row *row_find(struct row *rows, int *n, uint64_t rtt_us, uint32_t loss_ppm, bool reorder)
{
    for (int i = 0; i < *n; i++)
        if (rows[i].rtt_us == rtt_us && rows[i].loss_ppm == loss_ppm && rows[i].reorder == reorder)
            return &rows[i];
    if (*n == CELLS)
        die("more cells than there are");
    rows[*n] = (struct row){.rtt_us = rtt_us, .loss_ppm = loss_ppm, .reorder = reorder};
    return &rows[(*n)++];
}

static void line_read(const char *line, struct row *rows, int *n)
{
    char word[10];
    unsigned long long rtt, seed, hash = 0;
    unsigned loss;
    int reorder;
    double v[KINDS], late;
    int k = sscanf(line, "%9s %llu %u %d %llu %lf %lf %lf %lf %llx", word, &rtt, &loss, &reorder, &seed, &v[0], &v[1], &v[2], &late, &hash);
    if (k < 9)
        return;
    struct row *r = row_find(rows, n, rtt, loss, reorder != 0);
    r->late = late > r->late ? late : r->late;
    if (word[0] == 'w') {
        memcpy(r->whole, v, sizeof(v));
        r->hash = hash;
    } else if (r->seeds < SEEDS) {
        for (int i = 0; i < KINDS; i++)
            r->timed[i][r->seeds] = v[i];
        r->seeds++;
    }
}

static int double_order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int row_order(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->rtt_us != y->rtt_us)
        return x->rtt_us < y->rtt_us ? -1 : 1;
    if (x->loss_ppm != y->loss_ppm)
        return x->loss_ppm < y->loss_ppm ? -1 : 1;
    return x->reorder - y->reorder;
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof(*v), double_order);
    return n == 0 ? 0 : n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

struct verdict {
    double logs[2], least;
    int cells, seeds, transfers, small;
};

static void page_row(struct row *r, struct verdict *v)
{
    double m[KINDS];
    for (int k = 0; k < KINDS; k++)
        m[k] = median(r->timed[k], r->seeds);
    cell_name(stdout, r->rtt_us, r->loss_ppm, r->reorder);
    printf("| %d | %.2f | %.2f | %.2f ", r->seeds, m[0], m[1], m[2]);
    for (int i = 0; i < 2; i++) {
        double ratio = m[i] / m[2];
        printf("| %s%.2f%s ", ratio < CELL_LEAST ? "**" : "", ratio, ratio < CELL_LEAST ? "**" : "");
        v->logs[i] += log(ratio);
        v->least = ratio < v->least ? ratio : v->least;
        v->small += ratio < CELL_LEAST;
    }
    if (r->hash != 0)
        printf("| %.1f, %.1f, %.1f s ", r->whole[0], r->whole[1], r->whole[2]);
    else
        printf("| ");
    printf("| %.1f %% |\n", r->late * 100);
    v->cells++;
    v->seeds += r->seeds;
    v->transfers += r->hash != 0;
}

int report(const char *file)
{
    static struct row rows[CELLS];
    struct verdict v = {.least = INFINITY};
    char line[400];
    int n = 0;
    FILE *f = fopen(file, "r");
    if (f == NULL)
        die(file);
    while (fgets(line, sizeof(line), f) != NULL)
        line_read(line, rows, &n);
    fclose(f);
    qsort(rows, (size_t)n, sizeof(rows[0]), row_order);
    puts("| RTT | loss | reordering | seeds | ours -> Linux | Linux -> ours | Linux -> Linux | ratio, sending | ratio, receiving | 20 MB, in order of columns | late |\n"
         "|---|---|---|---|---|---|---|---|---|---|---|");
    for (int i = 0; i < n; i++)
        page_row(&rows[i], &v);
    if (v.cells == 0)
        return 1;
    double sending = exp(v.logs[0] / v.cells), receiving = exp(v.logs[1] / v.cells), mean = sqrt(sending * receiving);
    printf("\nMbit/s, medians of the seeds; ratios of medians to Linux -> Linux; late: the worst run's share of segments that this machine gave to an end later than a\n"
           "twentieth of the RTT (1 ms at 0.1 ms). %d of %d cells, %d of %d runs, %d of %d transfers of 20 MB, whose hashes are right.\n\n",
           v.cells, CELLS, v.seeds, CELLS * SEEDS, v.transfers, CELLS);
    printf("Geometric mean %.3f (sending %.3f, receiving %.3f; to reach: %.2f): %s. Smallest ratio %.2f, %d below %.2f: %s.\n", mean, sending, receiving,
           MEAN_LEAST, mean >= MEAN_LEAST ? "reached" : "missed", v.least, v.small, CELL_LEAST, v.small == 0 ? "reached" : "missed");
    return v.seeds == CELLS * SEEDS && v.transfers == CELLS && mean >= MEAN_LEAST && v.small == 0 ? 0 : 1;
}
