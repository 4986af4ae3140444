-- What the scripts beside this one share: where the gateway is, how fast to send, for how long; and what was sent.
--
--   GATEWAY_MAC=… [GATEWAY_IP=198.18.0.2] [GATEWAY_PORT=50051] [PORT=0] [RATE=100] [SECONDS=10] \
--       pktgen -l 0,1 -n 4 -- -m "1.0" [-s 0:FILE.pcap] -f tools/pktgen/lua/NAME.lua        (from the top of the tree)
--
-- RATE is in percent of the port's line rate.  Written for Pktgen-DPDK 23.06, which is built against DPDK 22.11.

local flood = {
    port = os.getenv("PORT") or "0",
    mac = os.getenv("GATEWAY_MAC"),
    ip = os.getenv("GATEWAY_IP") or "198.18.0.2",
    listener = tonumber(os.getenv("GATEWAY_PORT") or "50051"),
    rate = tonumber(os.getenv("RATE") or "100"),
    seconds = tonumber(os.getenv("SECONDS") or "10"),
}

-- Sends what has been set up, for the time given; says what the port sent, and what came back.
function flood.send(words)
    pktgen.clear(flood.port)
    pktgen.set(flood.port, "count", 0)
    pktgen.set(flood.port, "rate", flood.rate)
    pktgen.start(flood.port)
    pktgen.sleep(flood.seconds)
    pktgen.stop(flood.port)
    pktgen.sleep(1)
    local stats = pktgen.portStats(flood.port, "port")[tonumber(flood.port)]
    print(string.format("%s: %d frames sent in %d s (%.3f Mpps), %d came back, %d errors",
        words, stats.opackets, flood.seconds, stats.opackets / flood.seconds / 1e6, stats.ipackets, stats.oerrors))
    return stats
end

-- The capture that -s has loaded, over and over.
function flood.replay(words, expectation)
    pktgen.pcap(flood.port, "on")
    flood.send(words)
    pktgen.pcap(flood.port, "off")
    print("expect: " .. expectation)
end

-- Frames of one size to the gateway, from 65,536 addresses (198.19.0.0/16) and as many ports as it takes.
function flood.range(protocol, size, destination_port)
    assert(flood.mac, "GATEWAY_MAC is not set: `ip neigh` on a machine that has pinged the gateway shows it")
    local port = flood.port
    for _, what in ipairs({ "start", "min", "max" }) do
        pktgen.range.dst_mac(port, what, flood.mac)
        pktgen.range.dst_ip(port, what, flood.ip)
        pktgen.range.dst_port(port, what, destination_port)
        pktgen.range.pkt_size(port, what, size)
    end
    pktgen.range.dst_mac(port, "inc", "00:00:00:00:00:00")
    pktgen.range.dst_ip(port, "inc", "0.0.0.0")
    pktgen.range.dst_port(port, "inc", 0)
    pktgen.range.pkt_size(port, "inc", 0)
    pktgen.range.src_ip(port, "start", "198.19.0.1")
    pktgen.range.src_ip(port, "min", "198.19.0.1")
    pktgen.range.src_ip(port, "max", "198.19.255.254")
    pktgen.range.src_ip(port, "inc", "0.0.0.1")
    pktgen.range.src_port(port, "start", 1024)
    pktgen.range.src_port(port, "min", 1024)
    pktgen.range.src_port(port, "max", 65535)
    pktgen.range.src_port(port, "inc", 7)
    pktgen.range.ip_proto(port, protocol)
    pktgen.set_range(port, "on")
end

return flood
