/* owner: which worker a frame belongs to, found without touching any state, so that every worker finds the same.
 *
 * A connection that we opened names its worker in the low bits of its local port (tcp_config.port_mask, port_owner); one that we
 * accepted goes to the worker whose queue the device chooses for it, where the port's steering is ours (base_steer), else by a hash of its tuple
 * under a key that all workers share.  Local ports between port_low and port_high are for those that we open, and no listener may have one of them:
 * that is what tells the two apart.
 *
 * The hash that a device leaves in the packet saves computing it: once IP_OWNER_VERIFY of a family were found right, and never again after one
 * of that family was wrong (devices hash the families by rules of their own).  It is asked for plain headers alone: what a device makes of options
 * and extension headers is its own affair.
 *
 * Uses: base, stats, packet.  Thread: a copy a worker.  Time, memory, errors: none; a frame that ip_input() will drop has no
 * owner (IP_OWNER_ANY), and whatever ip_input() would make of a frame, the owner found here is that of the flow found there. */
#ifndef IP_OWNER_H
#define IP_OWNER_H

#include "packet/packet.h"
#include "stats/stats.h"
#include "base/hash.h"
#include "base/steer.h"

#define IP_OWNER_VERIFY 64
#define IP_OWNER_LIED   255

struct ip_owners {
    uint32_t workers;
    uint16_t port_low, port_high; /* local ports of connections that we open, inclusive */
    uint16_t port_mask;           /* of these, the bits that name the worker */
    struct base_hash_key key;     /* secret, the same for all workers */
    const struct base_steer *steer[BASE_STEER_PORTS]; /* by port; NULL: not ours.  Its queues are workers. */
    /* -- the worker's own ------------------------------------------------------------------- */
    uint8_t unverified[BASE_STEER_PORTS][2]; /* by port, and IPv4 or IPv6: hashes still to be checked before they are believed; IP_OWNER_LIED: never */
    struct stats *stats;                  /* NULL: nobody counts */
};

#define IP_OWNER_ANY 0xfffffffeu /* whoever has it: about no connection */
#define IP_OWNER_ALL 0xffffffffu /* news of a neighbour (ARP, ND): all learn from it (ip_learn), whoever has it answers (ip_input) */

/* < workers.  flow->port: which it uses. */
uint32_t ip_owner_flow(const struct ip_owners *o, const struct base_flow *flow);
/* Of an Ethernet frame received on `port`: < workers, IP_OWNER_ANY or IP_OWNER_ALL.  ICMP errors go by the flow that they are about; fragments by
 * source, destination and identification, so that those of one packet meet. */
uint32_t ip_owner(struct ip_owners *o, uint16_t port, struct packet *p);

#endif
