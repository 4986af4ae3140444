/* segment.h: a TCP header, read into words and written from them.  Knows no connection. */
#ifndef TCP_SEGMENT_H
#define TCP_SEGMENT_H

#include "packet/packet.h"
#include "sack.h"

enum {
    TCP_FIN = 1,
    TCP_SYN = 2,
    TCP_RST = 4,
    TCP_PSH = 8,
    TCP_ACK = 16,
    TCP_URG = 32,
    TCP_ECE = 64, /* RFC 3168 section 6.1 */
    TCP_CWR = 128,
    TCP_CE = 256, /* not of the header: the IP header said that there is congestion */
};

#define TCP_HEADER        20
#define TCP_TS_OPTION     12 /* with the two NOPs of RFC 7323 appendix A */
#define TCP_HEADER_MAX    60
#define TCP_WSCALE_MAX    14 /* RFC 7323 section 2.3 */

struct tcp_segment {
    uint32_t seq, ack;
    uint32_t len; /* payload bytes */
    uint32_t tsval, tsecr;
    uint16_t wnd; /* not scaled */
    uint16_t mss; /* 0: no option */
    uint16_t flags;
    uint8_t wscale;
    bool has_ts, has_wscale, sack_ok;
    uint8_t sack_count;
    struct tcp_range sack[TCP_SACK_BLOCKS];
};

/* Reads the header and leaves the packet at its payload.  False: no TCP header. */
bool tcp_segment_parse(struct packet *p, struct tcp_segment *s);

/* What a header to be written says.  mss 0, wscale 255, ts false, sack_count 0: no such option. */
struct tcp_header {
    uint16_t local_port, remote_port;
    uint32_t seq, ack;
    uint32_t tsval, tsecr;
    uint16_t wnd;
    uint16_t mss;
    uint8_t flags;
    uint8_t wscale;
    bool ts, sack_ok;
    uint8_t sack_count;
    const struct tcp_range *sack;
};
#define TCP_NO_WSCALE 255

/* Puts it in front of what the packet holds. */
void tcp_header_prepend(struct packet *p, const struct tcp_header *h);

#endif
