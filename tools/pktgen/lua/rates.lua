-- How many frames a second the gateway's port takes before it loses some: UDP, that no one is there for, in sizes and rates.
package.path = "tools/pktgen/lua/?.lua;" .. package.path
local flood = require("flood")

for _, size in ipairs({ 64, 128, 256, 512, 1024, 1518 }) do
    flood.range("udp", size, 9)
    for _, rate in ipairs({ 10, 25, 50, 100 }) do
        flood.rate = rate
        flood.send(string.format("%4d bytes, %3d %% of line rate", size, rate))
    end
end
pktgen.set_range(flood.port, "off")
print([[expect: each step's frames in penstock_drops_total{reason="udp_no_port"} and penstock_events_total{event="port_rx_packets"}; what is missing there
was lost before the gateway saw it: the packet rate that one worker takes lies between the last step that lost nothing
and the first that did.  Well-behaved RPCs beside it are slowed only above that.]])
