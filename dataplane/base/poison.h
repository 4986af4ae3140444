/* Memory that nobody owns is poisoned under AddressSanitizer, so that a use after free is reported. */
#ifndef BASE_POISON_H
#define BASE_POISON_H

#if defined(__SANITIZE_ADDRESS__)
#define BASE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BASE_ASAN 1
#endif
#endif

#ifdef BASE_ASAN
#include <sanitizer/asan_interface.h>
#define base_poison(p, n)   __asan_poison_memory_region((p), (n))
#define base_unpoison(p, n) __asan_unpoison_memory_region((p), (n))
#else
#define base_poison(p, n)   ((void)(p), (void)(n))
#define base_unpoison(p, n) ((void)(p), (void)(n))
#endif

#endif
