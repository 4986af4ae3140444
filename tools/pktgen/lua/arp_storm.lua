-- ARP from everybody.  Make the capture first:  tools/pktgen/captures.py arp --to MAC > arp.pcap, and give it with -s.
package.path = "tools/pktgen/lua/?.lua;" .. package.path
require("flood").replay("ARP storm", [[RPCs go on, the gateway's neighbours stay reachable.  One answer comes back for each request for the gateway's address (one frame in five);
arp_malformed counts the broken ones (one in five); the rest is heard and forgotten.]])
