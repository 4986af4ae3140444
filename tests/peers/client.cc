// echo-client: a stock gRPC client in several modes.  This file only chooses the mode.
#include <cstdio>
#include <cstring>

#include "client.h"

namespace {

const char help_text[] =
    "usage: echo-client MODE --target IP:PORT [options]     output: one JSON object a line\n"
    "  load   unary calls: --rate N (a second) or closed loop; --in-flight N, --channels K, --count N, --seconds S,\n"
    "         --interval-ms N, --size B, --response-size B, --delay-ms N, --deadline-ms N, --retries.\n"
    "         SIGUSR1 begins a new window: each window's calls are those begun in it, and it is summed up on its own.\n"
    "         SIGTERM ends the load as --seconds does\n"
    "  ping   --count N --pause-ms N: one call at a time, the latency of each\n"
    "  hold   --streams N --seconds S --interval-ms N: bidirectional streams that stay open and keep talking\n"
    "  calls  --direct IP:PORT (and --target): every kind of call both ways, compared field by field;\n"
    "         --only WORD: cases whose name holds WORD; --list\n"
    "  slow   --seconds S --same-channel: a reader of 1 KB/s beside one at full speed\n"
    "  cancel --count N --beside K --seed N: on N connections a first call that is cancelled as it begins, and K that are not\n"
    "  mixed  --seconds S --threads N --channels K --seed N --rate N --interval-ms N --show N: all kinds, sizes, deadlines and\n"
    "         cancels at random; the first N (50) that end otherwise than asked one by one; SIGTERM ends it as --seconds does";

} // namespace

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0)
        return puts(help_text), argc < 2 ? 2 : 0;
    setvbuf(stdout, nullptr, _IOLBF, 0);
    static const struct { const char *name; int (*run)(Options &); } modes[] = {
        {"load", mode_load}, {"ping", mode_ping}, {"calls", mode_calls}, {"hold", mode_hold}, {"slow", mode_slow}, {"cancel", mode_cancel}, {"mixed", mode_mixed}};
    Options options(argc, argv, 2);
    for (auto &mode : modes)
        if (strcmp(argv[1], mode.name) == 0)
            return mode.run(options);
    usage_error(std::string("no such mode: ") + argv[1]);
}
