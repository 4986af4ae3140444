/* A capture's filter: pcap-filter's language, less the words that would be looked up.  pcap_compile() asks the resolver for host names, and that
 * would hold up the loop: so a word is one of the language's own, and all else is a number or an address. */
#include "internal.h"

#include <ctype.h>
#include <pcap/pcap.h>
#include <stdio.h>

#define FILTER_BYTES_MAX 1000

static bool word_known(const char *word, size_t n)
{
    static const char *const words[] = {
        "and",   "or",       "not",      "host",      "net",       "mask",    "port",    "portrange", "src",     "dst",     "ether", "ip",     "ip6",
        "arp",   "rarp",     "tcp",      "udp",       "icmp",      "icmp6",   "proto",   "less",      "greater", "len",     "vlan",  "broadcast",
        "multicast", "protochain", "tcpflags", "tcp-fin", "tcp-syn", "tcp-rst", "tcp-push", "tcp-ack", "tcp-urg", "icmptype", "icmpcode", "igmp",
        "sctp",  "icmp-echo", "icmp-echoreply", "icmp-unreach", "length", NULL};
    for (const char *const *w = words; *w != NULL; w++)
        if (strlen(*w) == n && memcmp(*w, word, n) == 0)
            return true;
    return false;
}

/* 198.18.0.1, 2001:db8::1, 0x0800, 02:00:5e:00:00:01 */
static bool number_like(const char *word, size_t n)
{
    bool colon = memchr(word, ':', n) != NULL, hex = n > 2 && word[0] == '0' && (word[1] == 'x' || word[1] == 'X');
    for (size_t i = hex ? 2 : 0; i < n; i++)
        if (!isdigit((unsigned char)word[i]) && word[i] != ':' && word[i] != '.' && !((colon || hex) && isxdigit((unsigned char)word[i])))
            return false;
    return true;
}

static const char *check_words(const char *text, char *error, size_t room)
{
    for (const char *p = text; *p != '\0';) {
        size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:_-");
        if (n == 0) {
            if (strchr(" \t()[]!&|=<>+-*/%^,~", *p) == NULL) {
                snprintf(error, room, "the filter has a character that is not of pcap-filter's language at \"%.20s\"", p);
                return error;
            }
            p++;
            continue;
        }
        size_t trimmed = n; /* tcp[0:2], 1-2 */
        if (!word_known(p, n) && !number_like(p, n)) {
            for (trimmed = 0; trimmed < n && p[trimmed] != ':' && p[trimmed] != '-'; trimmed++)
                ;
            if (trimmed == n || (!word_known(p, trimmed) && !number_like(p, trimmed))) {
                snprintf(error, room, "the filter's \"%.*s\" is no word of pcap-filter's and no number: names of hosts and services are not looked up",
                         (int)(n < 40 ? n : 40), p);
                return error;
            }
        }
        p += trimmed > 0 ? trimmed : 1;
    }
    return NULL;
}

const char *admin_filter_compile(const char *text, uint32_t snaplen, struct bpf_program *program, char *error, size_t n)
{
    *program = (struct bpf_program){0};
    if (text[strspn(text, " \t")] == '\0')
        return NULL;
    if (strlen(text) > FILTER_BYTES_MAX) {
        snprintf(error, n, "the filter is longer than %d bytes", FILTER_BYTES_MAX);
        return error;
    }
    if (check_words(text, error, n) != NULL)
        return error;
    pcap_t *pcap = pcap_open_dead(DLT_EN10MB, (int)snaplen);
    if (pcap == NULL || pcap_compile(pcap, program, text, 1, PCAP_NETMASK_UNKNOWN) != 0) {
        snprintf(error, n, "the filter can't be read: %s", pcap != NULL ? pcap_geterr(pcap) : "out of memory");
        *program = (struct bpf_program){0};
    } else {
        error = NULL;
    }
    if (pcap != NULL)
        pcap_close(pcap);
    return error;
}
