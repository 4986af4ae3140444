/* base: the words that every room speaks.
 *
 * Owns:   nothing at run time.
 * Uses:   libc's string functions; no room.
 * Thread: everything here is plain data, used by the one thread that owns it.
 * Time:   an argument (nanoseconds).
 * Memory: an arena made at start-up; slabs refuse when full.
 * Errors: false or NULL. */
#ifndef BASE_H
#define BASE_H

#include "addr.h"
#include "arena.h"
#include "hash.h"
#include "headers.h"
#include "list.h"
#include "poison.h"
#include "seq.h"
#include "slab.h"
#include "wheel.h"

#endif
