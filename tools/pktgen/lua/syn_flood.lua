-- SYNs to a listener, from 65,536 addresses and ever other ports.
package.path = "tools/pktgen/lua/?.lua;" .. package.path
local flood = require("flood")

flood.range("tcp", 64, flood.listener)
pktgen.load("tools/pktgen/lua/syn.pkt") -- flags have no word in Lua
flood.send("SYN flood")
pktgen.set_range(flood.port, "off")
print([[expect: RPCs on connections that are there go on; a new client gets in.  The gateway holds 4,096 half-open connections a worker, and
answers every further SYN by a cookie, without memory of it: penstock_tcp_syn_cookies_total counts nearly all that were sent, memory is flat.
What comes back are SYN-ACKs, if the way to 198.19.0.0/16 leads here.]])
