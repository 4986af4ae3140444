/* Frames into the ring and out of it, each in its place there: copied once on this side. */
#include "tap.h"

#include <pcap/bpf.h>
#include <rte_ring.h>
#include <rte_ring_peek_zc.h>

static uint32_t element_size(uint32_t snaplen)
{
    return (uint32_t)((sizeof(struct packet_tap_frame) + snaplen + 7) & ~(size_t)7);
}

static size_t ring_size(uint32_t frames, uint32_t element)
{
    return base_align((size_t)rte_ring_get_memsize_elem(element, rte_align32pow2(frames)));
}

size_t packet_tap_footprint(uint32_t frames, uint32_t snaplen)
{
    return base_align(sizeof(struct packet_tap)) + ring_size(frames, element_size(snaplen));
}

struct packet_tap *packet_tap_create(void *memory, uint32_t frames, uint32_t snaplen, const struct bpf_insn *filter)
{
    struct packet_tap *t = memory;
    *t = (struct packet_tap){.filter = filter, .snaplen = snaplen, .element = element_size(snaplen)};
    t->ring = (struct rte_ring *)((uint8_t *)memory + base_align(sizeof(*t)));
    int rc = rte_ring_init(t->ring, "tap", rte_align32pow2(frames), RING_F_SP_ENQ | RING_F_SC_DEQ);
    return rc == 0 ? t : NULL;
}

static bool keep(struct packet_tap *t, struct packet *p, uint16_t device, bool out)
{
    uint32_t n = packet_total(p), kept = n < t->snaplen ? n : t->snaplen;
    struct rte_ring_zc_data zc;
    if (rte_ring_enqueue_zc_bulk_elem_start(t->ring, t->element, 1, &zc, NULL) == 0)
        return false;
    struct packet_tap_frame *f = zc.ptr1;
    *f = (struct packet_tap_frame){.tsc = t->tsc, .length = n, .kept = kept, .device = device, .out = out};
    for (uint32_t at = 0; at < kept; p = packet_next(p)) {
        uint32_t some = packet_len(p) < kept - at ? packet_len(p) : kept - at;
        memcpy(f->data + at, packet_data(p), some);
        at += some;
    }
    rte_ring_enqueue_zc_elem_finish(t->ring, 1);
    return true;
}

static void count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

uint32_t packet_tap_see(struct packet_tap *t, struct packet *const *packets, uint32_t n, uint16_t device, bool out)
{
    uint32_t matched = 0, lost = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (t->filter != NULL && bpf_filter(t->filter, packet_data(packets[i]), packet_total(packets[i]), packet_len(packets[i])) == 0)
            continue; /* headers lie in the first buffer of a join */
        matched++;
        lost += !keep(t, packets[i], device, out);
    }
    count(&t->seen, n);
    count(&t->matched, matched);
    count(&t->lost, lost);
    return lost;
}

const struct packet_tap_frame *packet_tap_next(struct packet_tap *t)
{
    struct rte_ring_zc_data zc;
    return rte_ring_dequeue_zc_bulk_elem_start(t->ring, t->element, 1, &zc, NULL) == 0 ? NULL : zc.ptr1;
}

void packet_tap_done(struct packet_tap *t)
{
    rte_ring_dequeue_zc_elem_finish(t->ring, 1);
}
