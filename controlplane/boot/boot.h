/* boot: main: configuration, EAL, memory, launch, drain, exit.
 *
 * Owns:   the process: everything is made here, in order, and taken down in the reverse order.
 * Uses:   everything.
 * Thread: the main lcore is the control plane's thread; workers run on lcores of their own.
 * Time:   CLOCK_MONOTONIC through loop.
 * Memory: the sum of all parts is printed at start-up and held against limits.memory.
 * Errors: sentences on stderr; exit status 1 for a failure that they explain, 2 for wrong usage. */
#ifndef BOOT_H
#define BOOT_H

int boot_main(int argc, char **argv);

#endif
