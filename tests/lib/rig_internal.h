#ifndef TESTS_RIG_INTERNAL_H
#define TESTS_RIG_INTERNAL_H

#include <stdio.h>
#include <stdlib.h>

#include "rig.h"
#include "world.h"

void rig_die(const char *what) __attribute__((noreturn));
void rig_peer_turn(struct rig_host *h);

#endif
