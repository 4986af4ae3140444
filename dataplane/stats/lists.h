/* One list of every reason for which something is dropped or refused, one of every plain counter.
 * X(NAME, "label"): the label is what penstock_drops_total{reason} and the admin API show. */
#ifndef STATS_LISTS_H
#define STATS_LISTS_H

#define STATS_DROPS(X)                                                                                                 \
    /* port */                                                                                                         \
    X(PORT_TX_FULL, "port_tx_full")                                                                                    \
    X(PORT_TX_REFUSED, "port_tx_refused")                                                                              \
    X(PORT_NO_BUFFER, "port_no_buffer")                                                                                \
    X(PORT_RX_SCATTERED, "port_rx_scattered")                                                                          \
    X(HANDOVER_FULL, "handover_full")                                                                                  \
    /* ip */                                                                                                           \
    X(ETH_SHORT, "eth_short")                                                                                          \
    X(ETH_UNKNOWN_TYPE, "eth_unknown_type")                                                                            \
    X(ETH_NOT_FOR_US, "eth_not_for_us")                                                                                \
    X(ETH_VLAN, "eth_vlan")                                                                                            \
    X(ARP_MALFORMED, "arp_malformed")                                                                                  \
    X(ND_MALFORMED, "nd_malformed")                                                                                    \
    X(IP_MALFORMED, "ip_malformed")                                                                                    \
    X(IP_TRUNCATED, "ip_truncated")                                                                                    \
    X(IP_CHECKSUM, "ip_checksum")                                                                                      \
    X(IP_NOT_FOR_US, "ip_not_for_us")                                                                                  \
    X(IP_BAD_SOURCE, "ip_bad_source")                                                                                  \
    X(IP_FRAGMENT, "ip_fragment")                                                                                      \
    X(FRAGMENT_MALFORMED, "fragment_malformed")                                                                        \
    X(FRAGMENT_TINY, "fragment_tiny")                                                                                  \
    X(FRAGMENT_TOO_LARGE, "fragment_too_large")                                                                        \
    X(FRAGMENT_OVERLAP, "fragment_overlap")                                                                            \
    X(FRAGMENT_DUPLICATE, "fragment_duplicate")                                                                        \
    X(FRAGMENT_REFUSED, "fragment_of_refused")                                                                         \
    X(FRAGMENT_EVICTED, "fragments_evicted")                                                                           \
    X(FRAGMENT_TIMEOUT, "fragments_timed_out")                                                                         \
    X(IP_UNKNOWN_PROTOCOL, "ip_unknown_protocol")                                                                      \
    X(IP_NO_ROUTE, "ip_no_route")                                                                                      \
    X(ICMP_MALFORMED, "icmp_malformed")                                                                                \
    X(ICMP_RATE, "icmp_rate")                                                                                          \
    X(ICMP_IGNORED, "icmp_ignored")                                                                                    \
    X(ICMP_REDIRECT, "icmp_redirect")                                                                                  \
    X(ICMP_TOO_LARGE, "icmp_echo_too_large")                                                                           \
    X(UDP_NO_PORT, "udp_no_port")                                                                                      \
    X(UDP_MALFORMED, "udp_malformed")                                                                                  \
    X(NEIGHBOUR_TABLE_FULL, "neighbour_table_full")                                                                    \
    X(NEIGHBOUR_QUEUE_FULL, "neighbour_queue_full")                                                                    \
    X(NEIGHBOUR_UNRESOLVED, "neighbour_unresolved")                                                                    \
    X(IP_NO_BUFFER, "ip_no_buffer")                                                                                    \
    X(L4_CHECKSUM, "l4_checksum")                                                                                      \
    X(L4_PARTIAL, "l4_partial_checksum")                                                                               \
    X(DEVICE_CHECKSUM, "device_checksum_lied")                                                                         \
    X(DEVICE_HASH, "device_hash_lied")                                                                                 \
    /* tcp */                                                                                                          \
    X(TCP_MALFORMED, "tcp_malformed")                                                                                  \
    X(TCP_NO_LISTENER, "tcp_no_listener")                                                                              \
    X(TCP_CONNECTIONS_FULL, "tcp_connections_full")                                                                    \
    X(TCP_SYN_BACKLOG, "tcp_syn_backlog")                                                                              \
    X(TCP_BAD_RST, "tcp_bad_rst")                                                                                      \
    X(TCP_BAD_ACK, "tcp_bad_ack")                                                                                      \
    X(TCP_BAD_SYN, "tcp_bad_syn")                                                                                      \
    X(TCP_BAD_ICMP, "tcp_bad_icmp")                                                                                    \
    X(TCP_OUT_OF_WINDOW, "tcp_out_of_window")                                                                          \
    X(TCP_PAWS, "tcp_paws")                                                                                            \
    X(TCP_DUPLICATE, "tcp_duplicate")                                                                                  \
    X(TCP_REASSEMBLY_FULL, "tcp_reassembly_full")                                                                      \
    X(TCP_CHALLENGE_RATE, "tcp_challenge_rate")                                                                        \
    X(TCP_NO_BUFFER, "tcp_no_buffer")                                                                                  \
    X(TCP_NO_PORT, "tcp_no_port")                                                                                      \
    X(TCP_TIMEWAIT_FULL, "tcp_timewait_full")                                                                          \
    X(TCP_REPLIES_FULL, "tcp_replies_full")                                                                            \
    X(TCP_AFTER_CLOSE, "tcp_after_close")                                                                              \
    X(TCP_MEMORY, "tcp_memory")                                                                                        \
    X(TCP_HOARDER, "tcp_hoarder")                                                                                      \
    /* http2 */                                                                                                        \
    X(H2_PROTOCOL, "h2_protocol_error")                                                                                \
    X(H2_FRAME_SIZE, "h2_frame_size")                                                                                  \
    X(H2_FLOW_CONTROL, "h2_flow_control")                                                                              \
    X(H2_COMPRESSION, "h2_compression")                                                                                \
    X(H2_STREAM_CLOSED, "h2_stream_closed")                                                                            \
    X(H2_STREAMS_FULL, "h2_streams_full")                                                                              \
    X(H2_REFUSED, "h2_refused_stream")                                                                                 \
    X(H2_BUFFERED, "h2_connection_buffered")                                                                           \
    X(H2_HEADER_LIST, "h2_header_list_too_large")                                                                      \
    X(H2_INTERIM, "h2_interim_dropped")                                                                                \
    X(H2_FLOOD, "h2_flood")                                                                                            \
    X(H2_FLOOD_RESETS, "h2_flood_resets")                                                                              \
    X(H2_FLOOD_PINGS, "h2_flood_pings")                                                                                \
    X(H2_FLOOD_SETTINGS, "h2_flood_settings")                                                                          \
    X(H2_FLOOD_EMPTY, "h2_flood_empty_data")                                                                           \
    X(H2_FLOOD_PRIORITY, "h2_flood_priority")                                                                          \
    X(H2_FLOOD_WINDOW, "h2_flood_window_updates")                                                                      \
    X(H2_FLOOD_OTHER, "h2_flood_frames_without_effect")                                                                \
    X(H2_FLOOD_CONTINUATION, "h2_flood_continuation")                                                                  \
    X(H2_NO_MEMORY, "h2_no_memory")                                                                                    \
    X(H2_TOO_MANY_PINGS, "h2_too_many_pings")                                                                          \
    X(H2_KEEPALIVE, "h2_keepalive_timeout")                                                                            \
    X(H2_HANDSHAKE_TIMEOUT, "h2_handshake_timeout")                                                                    \
    X(H2_BLOCK_EVICTED, "h2_header_block_evicted")                                                                     \
    X(H2_RESETS_EVICTED, "h2_resets_evicted")                                                                          \
    X(H2_OVERLOAD, "h2_overload_refused")                                                                              \
    X(H2_HOARDER, "h2_overload_hoarder")                                                                               \
    X(H2_HEADER_TIMEOUT, "h2_header_timeout")                                                                          \
    X(H2_GRACE_OVER, "h2_grace_over")                                                                                  \
    /* session and above */                                                                                            \
    X(SESSION_FULL, "session_full")                                                                                    \
    X(STREAM_FULL, "stream_full")                                                                                      \
    X(BUFFER_FULL, "buffer_full")                                                                                      \
    X(RPC_FULL, "rpc_full")                                                                                            \
    X(REPLAY_FULL, "replay_full")                                                                                            \
    X(MAILBOX_FULL, "mailbox_full")                                                                                    \
    X(LOG_FULL, "log_full")                                                                                            \
    X(ACCESS_FULL, "access_full")                                                                                      \
    X(CAPTURE_FULL, "capture_full")

/* Those that penstock_events_total shows. */
#define STATS_EVENTS(X)                                                                                                \
    X(PORT_RX_PACKETS, "port_rx_packets")                                                                              \
    X(PORT_TX_PACKETS, "port_tx_packets")                                                                              \
    X(PORT_RX_BYTES, "port_rx_bytes")                                                                                  \
    X(PORT_TX_BYTES, "port_tx_bytes")                                                                                  \
    X(ARP_REQUESTS, "arp_requests")                                                                                    \
    X(ARP_REPLIES, "arp_replies")                                                                                      \
    X(ND_SOLICITS, "nd_solicits")                                                                                      \
    X(ND_ADVERTS, "nd_adverts")                                                                                        \
    X(ICMP_ECHOES, "icmp_echoes")                                                                                      \
    X(ICMP_ERRORS, "icmp_errors_out")                                                                                  \
    X(ICMP_ERRORS_HELD, "icmp_errors_held_back")                                                                       \
    X(IP_REASSEMBLED, "ip_reassembled")                                                                                \
    X(TCP_ACTIVE_OPENS, "tcp_active_opens")                                                                            \
    X(TCP_PASSIVE_OPENS, "tcp_passive_opens")                                                                          \
    X(TCP_PROBES, "tcp_window_probes")                                                                                 \
    X(TCP_CHALLENGE_ACKS, "tcp_challenge_acks")                                                                        \
    X(TCP_SEND_SCARCE, "tcp_send_scarce")                                                                              \
    X(TCP_SACK_NONSENSE, "tcp_sack_nonsense")                                                                          \
    X(TCP_MSS_RAISED, "tcp_mss_raised")                                                                                \
    X(TCP_RSTS_IN, "tcp_rsts_in")                                                                                      \
    X(TCP_RSTS_OUT, "tcp_rsts_out")                                                                                    \
    X(TCP_TIMEOUTS, "tcp_timeouts")                                                                                    \
    X(TCP_SYN_COOKIES_KEPT, "tcp_syn_cookies_accepted")                                                                \
    X(TCP_SPURIOUS, "tcp_spurious_recoveries")                                                                         \
    X(TCP_PATH_MTU, "tcp_path_mtu_reductions")                                                                         \
    X(TCP_BLACK_HOLES, "tcp_path_mtu_black_holes")                                                                     \
    X(TCP_ECN, "tcp_ecn_connections")                                                                                  \
    X(TCP_ECN_MARKS, "tcp_ecn_marks_in")                                                                               \
    X(TCP_ECN_REDUCTIONS, "tcp_ecn_reductions")                                                                        \
    X(WINDOWS_GROWN, "h2_windows_grown")                                                                               \
    X(WINDOWS_SHRUNK, "h2_windows_shrunk")                                                                             \
    X(WINDOWS_REFUSED, "h2_windows_over_budget")                                                                       \
    X(STREAMS_LOWERED, "h2_max_streams_lowered")                                                                       \
    X(STREAMS_BACKED_UP, "h2_streams_backed_up")                                                                       \
    X(CLIENTS_POSTPONED, "h2_clients_postponed")                                                                      \
    X(WARNINGS_UNANSWERED, "h2_warnings_unanswered")                                                                   \
    X(HANDOVERS_SENT, "handovers_for_sending")                                                                         \
    X(DEVICE_SUMS_PROVEN, "device_tx_checksums_proven")                                                                \
    X(DEVICE_SUMS_REFUTED, "device_tx_checksums_refuted")                                                              \
    X(OWNERS_BY_DEVICE, "owners_by_device_hash")                                                                       \
    X(PORT_TX_SUPERS, "port_tx_tso")                                                                                   \
    X(TURNS, "turns")

#define STATS_COUNTERS(X)                                                                                              \
    X(TCP_RETRANSMITS_RTO, "rto")                                                                                      \
    X(TCP_RETRANSMITS_FAST, "fast")                                                                                    \
    X(TCP_RETRANSMITS_TLP, "tlp")                                                                                      \
    X(TCP_RETRANSMITS_SYN, "syn")                                                                                      \
    X(TCP_SYN_COOKIES, "tcp_syn_cookies")                                                                              \
    X(DOWN_BYTES_IN, "down_bytes_in")                                                                                  \
    X(DOWN_BYTES_OUT, "down_bytes_out")                                                                                \
    X(UP_BYTES_IN, "up_bytes_in")                                                                                      \
    X(UP_BYTES_OUT, "up_bytes_out")                                                                                    \
    X(HANDOVERS, "handovers")                                                                                          \
    X(BUSY_NS, "busy_ns")                                                                                              \
    X(IDLE_NS, "idle_ns")                                                                                              \
    STATS_EVENTS(X)

#endif
