-- Segments of connections that do not exist.  Make the capture first:  tools/pktgen/captures.py stray --to MAC > stray.pcap, and give it with -s.
package.path = "tools/pktgen/lua/?.lua;" .. package.path
require("flood").replay("stray segments", [[RPCs go on.  penstock_drops_total names them: tcp_bad_ack, tcp_no_listener, tcp_bad_syn.  What comes back are RSTs (RFC 9293
section 3.10.7.1), never more than one for a segment.]])
