/* packet: buffers with ownership.
 *
 * A packet is one buffer: headroom, data, tailroom, a reference count, and a scratch area of PACKET_SCRATCH bytes
 * that belongs to whichever room holds the packet.  Frames that a device delivers in several segments are
 * made linear by port before anybody else sees them.
 *
 * On the way out several packets may be joined to one frame, for a device that cuts it into segments itself.  A join is the device's view of
 * them: each stays a packet with its own references, and packet_reset() of one that nobody else holds any more takes it out of its join.
 *
 * Owns:   buffers and pools.  Two back ends behind this header: rte_mbuf (the only room that knows it), and,
 *         with -DPACKET_MALLOC, one malloc'd object a buffer, so that sanitizers see every overrun and every use after free.
 * Uses:   base, stats; rte_mbuf, rte_mempool.
 * Thread: a buffer belongs to one worker at a time, its pool's or the one that it was handed over to (port/handover.h); either may free it.
 * Time:   none.
 * Memory: pools made at start-up, bounded; packet_alloc() gives NULL when one is empty (a refusal).
 * Errors: NULL. Misuse (append beyond tailroom) is a bug: an assertion. */
#ifndef PACKET_H
#define PACKET_H

#include "base/base.h"

#define PACKET_HEADROOM 128 /* Ethernet + VLAN + IPv6 + TCP with options, and to spare */
#define PACKET_SCRATCH  64
#define PACKET_ROOM     2048 /* data bytes of an ordinary buffer behind the headroom */

struct packet;
struct packet_pool;

/* What the device found, and what it is asked to do.  Flags as port set them on receive: */
enum {
    PACKET_RX_IP_GOOD = 1,
    PACKET_RX_IP_BAD = 2,
    PACKET_RX_L4_GOOD = 4,
    PACKET_RX_L4_BAD = 8, /* neither good nor bad: not checked, software must */
    PACKET_RX_VLAN = 16,  /* the tag was stripped, packet_vlan() has it */
    PACKET_RX_HASH = 32,  /* packet_hash() has the device's RSS hash */
    PACKET_RX_L4_PARTIAL = 64, /* the sender is on this machine and vouches for the data: the field holds the pseudo-header's sum alone */
};
/* and as ip sets them on transmit: */
enum {
    PACKET_TX_IP_CSUM = 1,
    PACKET_TX_TCP_CSUM = 2,
    PACKET_TX_IPV6 = 4,
    PACKET_TX_TSO = 8, /* cut into segments of packet_tx_segment() bytes of payload */
};

#ifdef PACKET_MALLOC
#include "malloc.h"
#else
#include "mbuf.h"
#endif

/* Both back ends give, inline where it is a field access:
 *
 *   struct packet *packet_alloc(struct packet_pool *)           one reference, empty, PACKET_HEADROOM; NULL: pool empty
 *   void           packet_free(struct packet *)                 drops one reference
 *   void           packet_ref(struct packet *)                  adds one
 *   bool           packet_shared(const struct packet *)         more than one reference: contents must not be edited
 *   uint8_t       *packet_data(struct packet *)
 *   uint32_t       packet_len(const struct packet *)
 *   uint32_t       packet_headroom(const struct packet *), packet_tailroom(const struct packet *)
 *   uint8_t       *packet_prepend(struct packet *, uint32_t n)  returns the new start
 *   uint8_t       *packet_append(struct packet *, uint32_t n)   returns the start of the n new bytes
 *   void           packet_adj(struct packet *, uint32_t n)      drops n bytes at the front
 *   void           packet_trim(struct packet *, uint32_t n)     drops n bytes at the end
 *   void           packet_reset(struct packet *)                empty, full headroom again
 *   void          *packet_scratch(struct packet *)              PACKET_SCRATCH bytes, 8-byte aligned
 *   uint32_t       packet_rx_flags(const struct packet *)
 *   uint16_t       packet_vlan(const struct packet *);  uint32_t packet_hash(const struct packet *)
 *   void           packet_tx_offload(struct packet *, uint32_t flags, l2_len, l3_len, l4_len)
 *   void           packet_tx_segment(struct packet *, uint32_t payload)  after it, with PACKET_TX_TSO
 *   void           packet_join(struct packet *head, struct packet *last, struct packet *next)  next comes behind last, the last of head's join so far
 *   uint32_t       packet_total(const struct packet *), packet_joined(const struct packet *)  of head: bytes, and packets, of the join
 *   struct packet *packet_next(const struct packet *)           in the join; NULL: the last
 *   struct packet_pool *packet_pool_create(name, count, room, socket)     start-up only; room: data bytes a buffer
 *   void           packet_pool_destroy(struct packet_pool *)
 *   size_t         packet_pool_footprint(count, room)           bytes of memory that such a pool takes, rounded up
 *   uint32_t       packet_pool_in_use(const struct packet_pool *), packet_pool_size(const struct packet_pool *)   a few loads
 *   uint32_t       packet_pool_outstanding(const struct packet_pool *)  as in_use, but what lies in any worker's cache counts as free: exact
 *                                                               while nobody moves; dear, for the control plane
 *   void           packet_pool_reserve(struct packet_pool *, uint32_t n)  start-up only: n more of its buffers lie in receive rings
 *   uint32_t       packet_pool_reserved(const struct packet_pool *)
 */

/* Another packet with the same bytes, rx flags apart, from the same pool; NULL: pool empty, or p is longer than its buffers. */
struct packet *packet_copy(struct packet *p);

/* A packet that is to be kept beyond this turn of the loop.  Returns `p` itself while fewer than a quarter of its
 * pool's buffers (those in receive rings apart) are in use; above that a copy from `spare`, and `p` is freed; NULL (and `p` freed) when
 * `spare` is empty too.  So whoever keeps data never starves the receive ring. */
struct packet *packet_keep(struct packet *p, struct packet_pool *spare);

#endif
