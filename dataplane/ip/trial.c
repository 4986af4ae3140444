/* Does the device compute TCP checksums as it says?  Nothing that we send comes back to be looked at, so the first handshakes tell.
 *
 * A SYN (or SYN,ACK) goes out with its checksum left to the device; all else is summed in software meanwhile.  If its peer acknowledges that
 * sequence number before we had to send it again, only the device can have made it right.  If it is sent again, that is done in software:
 * an acknowledgement then speaks against the device, or for a lost packet.  PASSES of the one end the trial, as do FAILURES of the other without a
 * single pass: the device is not used for it from then on, and no connection was lost by the finding out, only a second each.
 * Each family is tried by itself, on each worker. */
#include "internal.h"

#define PASSES   3
#define FAILURES 3
#define SKIPS    16 /* handshakes that go by before one that nobody answers is given up as evidence */

#define FLAG_SYN 0x02
#define FLAG_ACK 0x10

void trial_begin(struct port_state *port)
{
    bool tried = (port->c.flags & IP_TX_TCP_CSUM) != 0;
    uint8_t state = !tried ? IP_SUM_SOFTWARE : (port->c.flags & IP_TX_TRIAL) != 0 ? IP_SUM_TRIAL : IP_SUM_DEVICE;
    for (uint32_t v6 = 0; v6 < 2; v6++)
        port->trial[v6] = (struct trial){.state = state};
    port->trials = state == IP_SUM_TRIAL ? 2 : 0;
}

static bool same_flow(const struct trial *t, const struct base_flow *f)
{
    return base_addr_eq(&t->flow.remote, &f->remote) && base_addr_eq(&t->flow.local, &f->local) && t->flow.remote_port == f->remote_port &&
           t->flow.local_port == f->local_port;
}

bool trial_sends(struct trial *t, const struct base_flow *f, const uint8_t *tcp)
{
    if ((tcp[13] & FLAG_SYN) == 0)
        return false;
    uint32_t seq = load32(tcp + 4);
    if (t->tries > 0 && t->seq == seq && same_flow(t, f)) {
        t->tries = 2;
        return false;
    }
    if (t->tries > 0 && t->skipped++ < SKIPS)
        return false;
    t->flow = *f;
    t->seq = seq;
    t->tries = 1;
    t->skipped = 0;
    return true;
}

static void verdict(struct ip *ip, struct port_state *port, struct trial *t, enum ip_sum state)
{
    t->state = (uint8_t)state;
    port->trials--;
    ip->epoch++; /* ways are made anew, with what is now known */
    stats_count(ip->stats, state == IP_SUM_DEVICE ? STATS_DEVICE_SUMS_PROVEN : STATS_DEVICE_SUMS_REFUTED, 1);
}

void trial_answer(struct ip *ip, struct port_state *port, const struct base_flow *f, const uint8_t *tcp)
{
    struct trial *t = &port->trial[!base_addr_is_v4(&f->remote)];
    if (t->state != IP_SUM_TRIAL || t->tries == 0 || (tcp[13] & FLAG_ACK) == 0 || load32(tcp + 8) != t->seq + 1 || !same_flow(t, f))
        return;
    bool by_device = t->tries == 1;
    t->tries = 0;
    t->passes += by_device;
    t->failures += !by_device;
    if (t->passes == PASSES)
        verdict(ip, port, t, IP_SUM_DEVICE);
    else if (t->failures == FAILURES && t->passes == 0)
        verdict(ip, port, t, IP_SUM_SOFTWARE);
}
