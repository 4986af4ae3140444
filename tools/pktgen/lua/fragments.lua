-- Fragments that never become a packet.  Make the capture first:  tools/pktgen/captures.py fragments --to MAC > fragments.pcap, and give it with -s.
package.path = "tools/pktgen/lua/?.lua;" .. package.path
require("flood").replay("fragments", [[RPCs go on, memory is flat.  penstock_drops_total names them: reasons that begin with ip_fragment or fragment.  Nothing comes back but,
at a bounded rate, ICMP's "reassembly time exceeded".]])
