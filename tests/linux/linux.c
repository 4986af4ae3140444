/* linux: our TCP and Linux's, given the same sequences of segments and of their user's acts (root: a network namespace and a tun device).
 *
 *     linux quick [FIRST COUNT]    some hundred sequences
 *     linux long FILE              10,000; FILE says how far an earlier run came
 *     linux one SEED               both sides of one of them, and what differs
 *
 * After TCP-Fuzz (ATC '21).  A difference belongs to a class with a name (classes.c), or is not explained: then the sequence is played to Linux up to seven times more, as a
 * machine with other work may be late, and if it stays, the run fails. */
#include "play.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH   500
#define CLASSES 40
#define WHOLE   10000
#define ROUNDS  8

struct tally {
    const char *name;
    uint64_t times, example;
};

static struct sequence sequences[BATCH];
static struct trace kernels[BATCH], ours;
static struct tally tallies[CLASSES];
static uint32_t tally_count;
static char names[CLASSES][64];
static uint64_t clean, unexplained;

static struct tally *tally(const char *name)
{
    for (uint32_t i = 0; i < tally_count; i++)
        if (strcmp(tallies[i].name, name) == 0)
            return &tallies[i];
    if (tally_count == CLASSES)
        abort();
    snprintf(names[tally_count], sizeof(names[0]), "%s", name);
    tallies[tally_count].name = names[tally_count];
    return &tallies[tally_count++];
}

static const struct difference *first_unexplained(const struct difference *d, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (d[i].name == NULL)
            return &d[i];
    return NULL;
}

/* False: what it showed is not explained. */
static bool judge(uint32_t i, bool last, bool loud)
{
    struct difference d[DIFFERENCES];
    rooms_play(&sequences[i], &ours);
    uint32_t n = compare(&sequences[i], &kernels[i], &ours, d);
    const struct difference *odd = first_unexplained(d, n);
    if (odd != NULL && !last)
        return false;
    if (odd != NULL) {
        printf("sequence %llu, event %u: %s\n", (unsigned long long)sequences[i].seed, odd->interval, odd->words);
        unexplained++;
    }
    clean += n == 0;
    for (uint32_t k = 0; k < n; k++)
        if (d[k].name != NULL) {
            struct tally *t = tally(d[k].name);
            if (t->times++ == 0)
                t->example = sequences[i].seed;
        }
    for (uint32_t k = 0; loud && k < n; k++)
        printf("  after event %u: %s (%s)\n", d[k].interval, d[k].words, d[k].name != NULL ? d[k].name : "not explained");
    return odd == NULL;
}

static void batch(uint64_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        draw(&sequences[i], first + i);
    for (int round = 0; round < ROUNDS && count > 0; round++) {
        uint32_t left = 0;
        kernel_play(sequences, kernels, count);
        for (uint32_t i = 0; i < count; i++)
            if (!judge(i, round == ROUNDS - 1, false))
                sequences[left++] = sequences[i];
        count = left;
    }
}

static void tallies_print(FILE *f)
{
    for (uint32_t i = 0; i < tally_count; i++)
        fprintf(f, "| %s | %llu | %llu |\n", tallies[i].name, (unsigned long long)tallies[i].times, (unsigned long long)tallies[i].example);
}

static void range_run(uint64_t first, uint64_t count)
{
    for (uint64_t done = 0; done < count; done += BATCH)
        batch(first + done, count - done < BATCH ? (uint32_t)(count - done) : BATCH);
}

static int one(uint64_t seed)
{
    draw(&sequences[0], seed);
    kernel_play(sequences, kernels, 1);
    rooms_play(&sequences[0], &ours);
    wire_print(&sequences[0], &kernels[0], &ours);
    return judge(0, true, true) ? 0 : 1;
}

static void file_write(const char *path, uint64_t next)
{
    FILE *f = fopen(path, "w");
    if (f == NULL) {
        perror(path);
        exit(1);
    }
    fprintf(f, "# Our TCP beside Linux's: sequences of events\n\nWhat a class is: docs/RFC.md. Again, one of them: `build/tests/linux/linux one SEQUENCE`.\n\n"
               "next sequence: %llu; without any difference: %llu; not explained: %llu\n\n| class | times | for example |\n|---|---|---|\n",
            (unsigned long long)next, (unsigned long long)clean, (unsigned long long)unexplained);
    tallies_print(f);
    fclose(f);
}

static uint64_t file_read(const char *path)
{
    FILE *f = fopen(path, "r");
    char line[300], name[64];
    unsigned long long next = 1, a, b, c;
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "next sequence: %llu; without any difference: %llu; not explained: %llu", &a, &b, &c) == 3)
            next = a, clean = b, unexplained = c;
        else if (sscanf(line, "| %63[^|]| %llu | %llu |", name, &a, &b) == 3) {
            name[strcspn(name, "\n") > 0 ? strlen(name) - 1 : 0] = 0;
            *tally(name) = (struct tally){tally(name)->name, a, b};
        }
    }
    if (f != NULL)
        fclose(f);
    return next;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "one") == 0) {
        kernel_open();
        return one(strtoull(argv[2], NULL, 10));
    }
    if (argc == 3 && strcmp(argv[1], "long") == 0) {
        uint64_t next = file_read(argv[2]);
        kernel_open();
        for (; next <= WHOLE; next += BATCH) {
            range_run(next, BATCH);
            file_write(argv[2], next + BATCH);
        }
    } else if ((argc == 2 || argc == 4) && strcmp(argv[1], "quick") == 0) {
        kernel_open();
        range_run(argc == 4 ? strtoull(argv[2], NULL, 10) : 1, argc == 4 ? strtoull(argv[3], NULL, 10) : BATCH);
    } else {
        fprintf(stderr, "linux quick [FIRST COUNT] | long FILE | one SEED\n");
        return 2;
    }
    tallies_print(stdout);
    printf("%llu sequences without any difference, %llu with one that is not explained\n", (unsigned long long)clean, (unsigned long long)unexplained);
    return unexplained == 0 ? 0 : 1;
}
