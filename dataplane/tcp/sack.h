/* sack.h: ranges of sequence numbers, as RFC 2018 has them: [left, right). */
#ifndef TCP_SACK_H
#define TCP_SACK_H

#include <stdint.h>

struct tcp_range {
    uint32_t left, right;
};
#define TCP_SACK_BLOCKS 4 /* in 40 bytes of options */

#endif
