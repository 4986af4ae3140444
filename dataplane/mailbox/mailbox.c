/* Four rings a worker: reports up, orders down, log records up, access records up.  Every ring has one producer and one consumer, so that neither end
 * ever waits for the other.  The rings live in memory of our own (rte_ring_init), so nothing here needs the EAL.
 *
 * Formatting a log record is the only libc formatting on a worker, and is skipped when the ring is full. */
#include "mailbox.h"

#include <linux/mempolicy.h>
#include <rte_ring.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { REPORTS = 4096, ORDERS = 1024, LOGS = 1024, ACCESS = 8192, PAGE = 4096 };

struct mailbox {
    struct rte_ring *reports, *orders, *logs, *access;
    uint32_t worker;
    /* Written by the worker, read by the control plane. */
    _Alignas(BASE_CACHE_LINE) uint64_t log_dropped;
};

static_assert(sizeof(struct mailbox_message) % 4 == 0, "rte_ring_elem moves words");
static_assert(sizeof(struct mailbox_log) % 4 == 0, "rte_ring_elem moves words");
static_assert(sizeof(struct mailbox_access) % 4 == 0, "rte_ring_elem moves words");

/* RING_F_EXACT_SZ holds `count` elements in a ring of the next power of two above it. */
static size_t ring_size(size_t element, unsigned count)
{
    return base_align((size_t)rte_ring_get_memsize_elem((unsigned)element, rte_align32pow2(count + 1)));
}

static struct rte_ring *ring_make(struct base_arena *a, const char *name, size_t element, unsigned count)
{
    struct rte_ring *r = base_arena_take(a, ring_size(element, count));
    int rc = rte_ring_init(r, name, count, RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ);
    return rc == 0 ? r : NULL;
}

/* On the worker's NUMA node where that can be had; a remote ring is slower, not wrong. */
static void prefer_node(void *memory, size_t size, int socket)
{
    if (socket < 0 || socket >= 64)
        return;
    unsigned long mask = 1ul << socket;
    (void)syscall(SYS_mbind, memory, size, MPOL_PREFERRED, &mask, sizeof(mask) * 8 + 1, 0);
}

struct mailbox *mailbox_create(uint32_t worker, int socket)
{
    size_t size = base_align(sizeof(struct mailbox)) + ring_size(sizeof(struct mailbox_message), REPORTS) +
                  ring_size(sizeof(struct mailbox_message), ORDERS) + ring_size(sizeof(struct mailbox_log), LOGS) +
                  ring_size(sizeof(struct mailbox_access), ACCESS);
    size = (size + PAGE - 1) / PAGE * PAGE;
    struct base_arena a;
    void *memory = aligned_alloc(PAGE, size);
    if (memory == NULL)
        return NULL;
    prefer_node(memory, size, socket);
    base_arena_init(&a, memory, size);
    struct mailbox *m = base_arena_take(&a, sizeof(*m));
    memset(m, 0, sizeof(*m));
    m->worker = worker;
    m->reports = ring_make(&a, "reports", sizeof(struct mailbox_message), REPORTS);
    m->orders = ring_make(&a, "orders", sizeof(struct mailbox_message), ORDERS);
    m->logs = ring_make(&a, "logs", sizeof(struct mailbox_log), LOGS);
    m->access = ring_make(&a, "access", sizeof(struct mailbox_access), ACCESS);
    if (m->access == NULL || m->reports == NULL || m->orders == NULL || m->logs == NULL) {
        free(m);
        return NULL;
    }
    return m;
}

void mailbox_destroy(struct mailbox *m)
{
    free(m);
}

bool mailbox_report(struct mailbox *m, const struct mailbox_message *msg)
{
    struct mailbox_message stamped = *msg;
    stamped.worker = (uint16_t)m->worker;
    return rte_ring_sp_enqueue_elem(m->reports, &stamped, sizeof(stamped)) == 0;
}

bool mailbox_report_next(struct mailbox *m, struct mailbox_message *msg)
{
    return rte_ring_sc_dequeue_elem(m->reports, msg, sizeof(*msg)) == 0;
}

bool mailbox_order(struct mailbox *m, const struct mailbox_message *msg)
{
    struct mailbox_message stamped = *msg;
    stamped.worker = (uint16_t)m->worker;
    return rte_ring_sp_enqueue_elem(m->orders, &stamped, sizeof(stamped)) == 0;
}

bool mailbox_order_next(struct mailbox *m, struct mailbox_message *msg)
{
    return rte_ring_sc_dequeue_elem(m->orders, msg, sizeof(*msg)) == 0;
}

bool mailbox_access(struct mailbox *m, const struct mailbox_access *record)
{
    struct mailbox_access stamped = *record;
    stamped.worker = (uint16_t)m->worker;
    return rte_ring_sp_enqueue_elem(m->access, &stamped, sizeof(stamped)) == 0;
}

bool mailbox_access_next(struct mailbox *m, struct mailbox_access *out)
{
    return rte_ring_sc_dequeue_elem(m->access, out, sizeof(*out)) == 0;
}

/* For its producer.  rte_ring_free_count() would do, but for its plain load of what the other end writes meanwhile. */
static bool full(const struct rte_ring *r)
{
    return r->prod.head - __atomic_load_n(&r->cons.tail, __ATOMIC_RELAXED) >= r->capacity;
}

void mailbox_log(struct mailbox *m, uint64_t now, unsigned level, const char *format, ...)
{
    if (full(m->logs)) {
        __atomic_store_n(&m->log_dropped, m->log_dropped + 1, __ATOMIC_RELAXED);
        return;
    }
    struct mailbox_log record;
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(record.text, sizeof(record.text), format, arguments);
    va_end(arguments);
    /* The terminating zero is inside MAILBOX_LOG_TEXT, so that a reader may print the text as a string. */
    record.length = n < 0 ? 0 : (uint32_t)n < sizeof(record.text) ? (uint32_t)n : (uint32_t)sizeof(record.text) - 1;
    memset(record.text + record.length, 0, sizeof(record.text) - record.length);
    record.now = now;
    record.level = (uint16_t)level;
    record.worker = (uint16_t)m->worker;
    rte_ring_sp_enqueue_elem(m->logs, &record, sizeof(record));
}

bool mailbox_log_next(struct mailbox *m, struct mailbox_log *out)
{
    return rte_ring_sc_dequeue_elem(m->logs, out, sizeof(*out)) == 0;
}

uint64_t mailbox_log_dropped(const struct mailbox *m)
{
    return __atomic_load_n(&m->log_dropped, __ATOMIC_RELAXED);
}
