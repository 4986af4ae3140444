/* tap: copies of frames for whoever watches, out of a worker's bursts and through a bounded ring.
 *
 * Owns:   nothing: the control plane makes a tap, lends it to one worker, and takes it back.
 * Uses:   base, packet; rte_ring; bpf_filter() of libpcap, a pure function of a checked program and the bytes of one frame.
 * Thread: packet_tap_see() the worker's; packet_tap_next() and packet_tap_done() the control plane's.  `lent` hands the whole over.
 * Time:   whoever lends the loop its clock writes `tsc` before each burst; frames carry it.
 * Memory: packet_tap_footprint() bytes that the control plane brings; a frame keeps at most `snaplen` bytes.
 * Errors: a full ring loses the frame, which is counted.
 *
 * The filter runs on the worker, before the copy: run behind the ring, it would let unwanted frames push wanted ones out of it, and
 * each of them would cost a copy. */
#ifndef PACKET_TAP_H
#define PACKET_TAP_H

#include "packet.h"

struct rte_ring;
struct bpf_insn;

struct packet_tap_frame {
    uint64_t tsc;
    uint32_t length; /* on the wire */
    uint32_t kept;   /* bytes of it in data[] */
    uint16_t device;
    bool out;
    uint8_t pad[5];
    uint8_t data[];
};

struct packet_tap {
    /* -- written before it is lent ------------------------------------------------------- */
    struct rte_ring *ring;
    const struct bpf_insn *filter; /* NULL: every frame.  Outlives the tap. */
    uint32_t snaplen;
    uint32_t element; /* bytes in the ring */
    /* -- the worker's ---------------------------------------------------------------------- */
    _Alignas(BASE_CACHE_LINE) uint64_t tsc;
    uint64_t seen, matched, lost; /* frames; matched: by the filter; lost: matched, and no room in the ring */
    uint32_t lent;                /* 1: the worker may touch it */
};

size_t packet_tap_footprint(uint32_t frames, uint32_t snaplen);
/* memory: packet_tap_footprint() bytes, aligned to a cache line. */
struct packet_tap *packet_tap_create(void *memory, uint32_t frames, uint32_t snaplen, const struct bpf_insn *filter);

/* Worker: shows it n frames of a burst; returns how many were lost. */
uint32_t packet_tap_see(struct packet_tap *tap, struct packet *const *packets, uint32_t n, uint16_t device, bool out);

/* Control plane: the next frame, until packet_tap_done(); NULL: none now. */
const struct packet_tap_frame *packet_tap_next(struct packet_tap *tap);
void packet_tap_done(struct packet_tap *tap);

static inline bool packet_tap_lent(const struct packet_tap *tap)
{
    return __atomic_load_n(&tap->lent, __ATOMIC_ACQUIRE) != 0;
}

static inline void packet_tap_lend(struct packet_tap *tap, bool to_worker)
{
    __atomic_store_n(&tap->lent, to_worker ? 1u : 0u, __ATOMIC_RELEASE);
}

#endif
