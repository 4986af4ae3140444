/* Frames longer than an ordinary one on drivers that carry them and do not say so: net_af_packet, whose frames are as long as its argument
 * "framesz", and net_memif, whose buffers are as long as "bsize" (beyond that it would chain descriptors, and takes the flags of old chains for
 * new ones).  ethdev takes both at their word (1,518 bytes) and would refuse the MTU, so it is told of an
 * ordinary one, and what it would have done is done here. */
#include "internal.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* In a slot of the packet socket's ring: what the kernel puts in front of a received frame's network header, an Ethernet header among it
 * (tpacket_rcv()), and what the driver takes off a slot to know what a frame may have (TPACKET2_HDRLEN without the address). */
#define SLOT_HEAD_RX  80u
#define SLOT_HEAD     32u
#define SLOT_DEFAULT  2048u
#define SLOT_UNIT     1024u /* four slots fill whole pages */
#define SLOTS_A_BLOCK 4u

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

bool port_understates(const char *device)
{
    return starts(device, "net_af_packet") || starts(device, "net_memif");
}

static bool is_memif(const char *device)
{
    return starts(device, "net_memif");
}

/* Of a slot, or a buffer: what the arguments say. */
static uint32_t slot_of(const char *device)
{
    const char *key = is_memif(device) ? ",bsize=" : ",framesz=", *at = strstr(device, key);
    return at != NULL ? (uint32_t)strtoul(at + strlen(key), NULL, 10) : SLOT_DEFAULT;
}

static bool chooses_slot(const char *device, uint32_t mtu)
{
    return port_understates(device) && mtu > RTE_ETHER_MTU && strstr(device, is_memif(device) ? ",bsize=" : ",framesz=") == NULL;
}

static uint32_t slot_for(uint32_t mtu)
{
    return (mtu + SLOT_HEAD_RX + SLOT_UNIT - 1) / SLOT_UNIT * SLOT_UNIT;
}

uint32_t port_buffer_room(const char *device, uint32_t mtu)
{
    uint32_t room = mtu + PORT_BUFFER_SPARE;
    if (!starts(device, "net_af_packet"))
        return room;
    uint32_t slot = (chooses_slot(device, mtu) ? slot_for(mtu) : slot_of(device)) - SLOT_HEAD;
    return mtu > RTE_ETHER_MTU && slot > room ? slot : room;
}

uint32_t port_largest_mtu(const char *device, uint32_t mtu)
{
    if (chooses_slot(device, mtu))
        return UINT16_MAX;
    uint32_t slot = slot_of(device), head = is_memif(device) ? RTE_ETHER_HDR_LEN + RTE_VLAN_HLEN : SLOT_HEAD_RX;
    return slot > head ? slot - head : 0;
}

void port_arguments(const char *device, uint32_t mtu, char *text, size_t len)
{
    uint32_t slot = slot_for(mtu);
    if (chooses_slot(device, mtu) && is_memif(device)) /* no shorter than ours: then a frame is copied whole */
        snprintf(text, len, "%s,bsize=%u", device, (mtu + PORT_BUFFER_SPARE + 63) / 64 * 64);
    else if (chooses_slot(device, mtu) && strstr(device, ",blocksz=") == NULL)
        snprintf(text, len, "%s,framesz=%u,blocksz=%u", device, slot, slot * SLOTS_A_BLOCK);
    else
        snprintf(text, len, "%s", device);
}

int port_interface_mtu(const char *interface, uint32_t mtu)
{
    struct ifreq r = {.ifr_mtu = 0};
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc = s < 0 ? -errno : 0;
    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", interface);
    if (rc == 0 && ioctl(s, SIOCGIFMTU, &r) != 0)
        rc = -errno;
    if (rc == 0 && (uint32_t)r.ifr_mtu < mtu) {
        r.ifr_mtu = (int)mtu;
        rc = ioctl(s, SIOCSIFMTU, &r) != 0 ? -errno : 0;
    }
    if (s >= 0)
        close(s);
    return rc;
}
