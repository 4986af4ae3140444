/* Segments joined to one that the device cuts up again (TSO).  tcp counts, times and retransmits them one by one, as ever: here only their
 * headers are compared, after they were written. */
#include "segment.h"
#include "tcp.h"

#define PORTS 4 /* bytes: the same for all of a flow */

struct run {
    struct packet *head, *last;
    uint8_t *header; /* of head */
    uint32_t length; /* of a header */
    uint32_t payload; /* of a full segment */
    uint32_t seq;    /* that comes next */
};

static uint32_t seq_of(const uint8_t *header)
{
    uint32_t v;
    memcpy(&v, header + PORTS, 4);
    return __builtin_bswap32(v);
}

/* All but sequence number, flags and checksum must be alike: a device copies the header and counts the number on.  It leaves PSH and FIN for
 * the last, and so do we: behind a segment with more than an ACK there is none. */
static bool fits(const struct run *r, struct packet *p)
{
    const uint8_t *h = packet_data(p), *o = r->header;
    uint32_t n = packet_len(p);
    return n > r->length && n - r->length <= r->payload && seq_of(h) == r->seq && memcmp(h + 8, o + 8, 5) == 0 && o[13] == TCP_ACK &&
           (h[13] & ~(TCP_PSH | TCP_FIN)) == TCP_ACK && memcmp(h + 14, o + 14, 2) == 0 && memcmp(h + 18, o + 18, r->length - 18) == 0;
}

static void add(struct run *r, struct packet *p)
{
    r->header[13] = packet_data(p)[13];
    packet_adj(p, r->length);
    packet_join(r->head, r->last, p);
    r->seq += packet_len(p);
    r->last = p;
}

uint32_t tcp_join(struct tcp_out *out, uint32_t n, uint32_t bytes, uint32_t packets)
{
    struct run r = {.head = out[0].packet, .last = out[0].packet, .header = packet_data(out[0].packet)};
    uint32_t k = 1;
    r.length = (uint32_t)(r.header[12] >> 4) * 4;
    r.payload = packet_len(r.head) - r.length;
    r.seq = seq_of(r.header) + r.payload;
    for (uint32_t last = r.payload; k < n && k < packets && last == r.payload && last > 0; k++) {
        if (!base_flow_eq(&out[k].flow, &out[0].flow) || out[k].flow.ecn != out[0].flow.ecn || !fits(&r, out[k].packet))
            break;
        last = packet_len(out[k].packet) - r.length;
        if ((k + 1) * r.payload > bytes)
            break;
        add(&r, out[k].packet);
    }
    return k;
}
