/* Receive side scaling that is ours: the key and the table go to the device, and what it says of them afterwards is compared. */
#include "internal.h"

#include <string.h>

#define BOTH_TCP (RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV6_TCP)
/* EX: some devices (QEMU's igb) leave out IPv6's ports without it; with it, packets that have no extension headers are hashed as they are. */
#define WANTED   (RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_IPV6 | BOTH_TCP | RTE_ETH_RSS_IPV6_TCP_EX)

/* Entries of the table that hold one of rte_eth_rss_reta_entry64. */
#define GROUP 64

static bool key_fits(const struct rte_eth_dev_info *dev)
{
    return dev->hash_key_size >= BASE_STEER_KEY_MIN && dev->hash_key_size <= BASE_STEER_KEY;
}

void port_rss_choose(const struct rte_eth_dev_info *dev, uint16_t queues, const uint8_t *key, struct rte_eth_conf *conf)
{
    if (queues < 2 || (WANTED & dev->flow_type_rss_offloads) == 0)
        return;
    struct rte_eth_rss_conf *rss = &conf->rx_adv_conf.rss_conf;
    conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf->rxmode.offloads |= dev->rx_offload_capa & RTE_ETH_RX_OFFLOAD_RSS_HASH;
    rss->rss_hf = WANTED & dev->flow_type_rss_offloads;
    if (key != NULL && key_fits(dev)) {
        rss->rss_key = (uint8_t *)(uintptr_t)key;
        rss->rss_key_len = dev->hash_key_size;
    }
}

static bool table_is_ours(uint16_t device, const struct base_steer *s, uint16_t entries)
{
    struct rte_eth_rss_reta_entry64 want[BASE_STEER_ENTRIES / GROUP] = {0}, have[BASE_STEER_ENTRIES / GROUP] = {0};
    for (uint32_t i = 0; i < entries; i++) {
        want[i / GROUP].mask |= UINT64_C(1) << (i % GROUP);
        want[i / GROUP].reta[i % GROUP] = s->queue[i];
        have[i / GROUP].mask = want[i / GROUP].mask;
    }
    if (rte_eth_dev_rss_reta_update(device, want, entries) != 0 || rte_eth_dev_rss_reta_query(device, have, entries) != 0)
        return false;
    for (uint32_t i = 0; i < entries; i++)
        if (have[i / GROUP].reta[i % GROUP] != s->queue[i])
            return false;
    return true;
}

static const char *compare_hash(uint16_t device, const struct rte_eth_dev_info *dev, const uint8_t *key)
{
    uint8_t have[BASE_STEER_KEY] = {0};
    struct rte_eth_rss_conf conf = {.rss_key = have, .rss_key_len = dev->hash_key_size};
    if (rte_eth_dev_rss_hash_conf_get(device, &conf) != 0)
        return "the device does not say what key it has";
    if ((conf.rss_hf & BOTH_TCP) != BOTH_TCP)
        return "the device does not hash TCP's ports for both families";
    return memcmp(have, key, dev->hash_key_size) == 0 ? NULL : "the key that the device has is not the one that was set";
}

const char *port_rss_verify(uint16_t device, const struct rte_eth_dev_info *dev, uint16_t queues, const uint8_t *key, struct base_steer *steer)
{
    uint16_t entries = dev->reta_size;
    if (queues < 2)
        return "one queue";
    if (key == NULL || (WANTED & dev->flow_type_rss_offloads & BOTH_TCP) != BOTH_TCP || !key_fits(dev))
        return "the device offers none that can be set";
    if (entries == 0 || entries > BASE_STEER_ENTRIES || (entries & (entries - 1)) != 0)
        return "the device has no table that can be set";
    const char *why = compare_hash(device, dev, key);
    if (why != NULL)
        return why;
    base_steer_init(steer, key, entries, queues);
    return table_is_ours(device, steer, entries) ? NULL : "the table that the device has is not the one that was set";
}
