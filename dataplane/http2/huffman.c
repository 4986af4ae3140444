/* The Huffman code of RFC 7541 appendix B: two symbols a step where they fit into HUFFMAN_BITS bits. */
#include "hpack.h"
#include "huffman_tables.h"

static inline uint64_t load_be64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}

/* A code longer than HUFFMAN_BITS at the top of w.  Returns its bits, and -1 in *symbol for EOS. */
static unsigned long_code(uint32_t w, int *symbol)
{
    const struct huffman_length *l = huffman_long;
    while (w >= l->limit && l->bits < 30)
        l++;
    uint32_t at = l->at + ((w >> (32 - l->bits)) - l->first);
    *symbol = at == HUFFMAN_EOS ? -1 : huffman_symbols[at];
    return l->bits;
}

/* The last < 30 bits, followed by ones in acc. Section 5.2: padding is at most 7 ones; EOS never appears. */
static uint8_t *decode_tail(uint8_t *out, uint64_t acc, unsigned have)
{
    while (have > 0) {
        uint32_t e = huffman_fast[acc >> (64 - HUFFMAN_BITS)];
        int symbol = (int)(e & 255);
        unsigned bits = e != 0 ? (e >> 16) & 15 : long_code((uint32_t)(acc >> 32), &symbol);
        if (bits > have)
            break;
        *out++ = (uint8_t)symbol;
        acc = (acc << bits) | ((1ull << bits) - 1);
        have -= bits;
    }
    return have <= 7 && acc == ~0ull ? out : NULL;
}

size_t hpack_huffman_decode(uint8_t *out, const uint8_t *in, size_t n)
{
    uint8_t *start = out;
    const uint8_t *end = in + n;
    uint64_t acc = 0;
    unsigned have = 0;
    for (;;) {
        if (end - in >= 8) {
            acc |= load_be64(in) >> have;
            in += (63 - have) >> 3;
            have |= 56;
        } else {
            for (; have <= 56 && in < end; have += 8)
                acc |= (uint64_t)*in++ << (56 - have);
        }
        if (have < 30)
            break;
        do {
            uint32_t e = huffman_fast[acc >> (64 - HUFFMAN_BITS)];
            unsigned bits = (e >> 20) & 15;
            if (e != 0) {
                out[0] = (uint8_t)e;
                out[1] = (uint8_t)(e >> 8);
                out += e >> 24;
            } else {
                int symbol;
                bits = long_code((uint32_t)(acc >> 32), &symbol);
                if (symbol < 0)
                    return SIZE_MAX;
                *out++ = (uint8_t)symbol;
            }
            acc <<= bits;
            have -= bits;
        } while (have >= 30);
    }
    /* bits below `have` may hold part of an octet that was loaded but not counted: none here, as the input is used up */
    acc |= have > 0 ? ~0ull >> have : ~0ull;
    out = decode_tail(out, acc, have);
    return out != NULL ? (size_t)(out - start) : SIZE_MAX;
}

size_t hpack_huffman_length(const uint8_t *in, size_t n)
{
    size_t bits = 0;
    for (size_t i = 0; i < n; i++)
        bits += huffman_bits[in[i]];
    return (bits + 7) / 8;
}

uint8_t *hpack_huffman_encode(uint8_t *out, const uint8_t *in, size_t n)
{
    uint64_t acc = 0;
    unsigned have = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned bits = huffman_bits[in[i]];
        acc = (acc << bits) | huffman_code[in[i]];
        have += bits;
        if (have >= 32) {
            have -= 32;
            uint32_t word = __builtin_bswap32((uint32_t)(acc >> have));
            memcpy(out, &word, 4);
            out += 4;
        }
    }
    for (; have >= 8; have -= 8)
        *out++ = (uint8_t)(acc >> (have - 8));
    if (have > 0)
        *out++ = (uint8_t)((acc << (8 - have)) | (0xffu >> have));
    return out;
}
