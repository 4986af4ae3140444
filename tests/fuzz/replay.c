/* replay FILE: a kept corpus, an input a line in hexadecimal, through a fuzz target that is linked in; without libFuzzer, so that any compiler will do. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max) /* the target's mutator asks for it; nobody asks the mutator */
{
    (void)data, (void)max;
    return size;
}

static size_t unhex(const char *line, uint8_t *out, size_t room)
{
    unsigned byte;
    size_t n = 0;
    for (; n < room && sscanf(line + 2 * n, "%2x", &byte) == 1; n++)
        out[n] = (uint8_t)byte;
    return n;
}

int main(int argc, char **argv)
{
    static char line[1 << 17];
    static uint8_t bytes[1 << 16];
    unsigned count = 0;
    FILE *f = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (f == NULL)
        return 2;
    for (; fgets(line, sizeof(line), f) != NULL; count++)
        LLVMFuzzerTestOneInput(bytes, unhex(line, bytes, sizeof(bytes)));
    fclose(f);
    printf("%u inputs\n", count);
    return count > 0 ? 0 : 1;
}
