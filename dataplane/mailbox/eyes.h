/* What an operator's looks cost a worker: access records that go up, and connections written into memory that the control plane lends.
 * A part of mailbox's door. */
#ifndef MAILBOX_EYES_H
#define MAILBOX_EYES_H

#include "base/base.h"

/* One finished RPC. */
struct mailbox_access {
    struct base_endpoint client;
    uint16_t worker;
    uint16_t cluster;  /* id; UINT16_MAX: no route */
    uint16_t listener; /* id */
    uint64_t duration_ns;
    uint64_t bytes_up, bytes_down; /* of DATA: towards the backend, towards the client */
    uint32_t slot, serial;         /* the endpoint's; slot UINT32_MAX: none */
    uint32_t stream_down, stream_up; /* HTTP/2 stream ids; 0: not known */
    uint8_t code;   /* grpc-status */
    uint8_t reason; /* enum stats_reason + 1; 0: the answer was the backend's, or the client cancelled */
    bool grpc;      /* else: plain HTTP/2, and the code is a guess */
    uint8_t method_len, trace_len;
    char trace[55];   /* traceparent */
    char method[160]; /* :path, cut */
};

/* One TCP connection, as in `ss -ti`. */
struct mailbox_connection {
    struct base_flow flow;
    uint8_t state;  /* enum tcp_state */
    bool passive;   /* a client's; else ours to a backend */
    bool session;   /* the HTTP/2 numbers are there */
    bool closing;   /* GOAWAY sent or received, or left to tcp to close */
    uint16_t listener;       /* id, of a client's; UINT16_MAX: not known */
    uint32_t slot, serial;   /* the endpoint's, of one to a backend; slot UINT32_MAX: not known */
    uint32_t mss, cwnd, ssthresh, send_window, receive_window, in_flight, unsent, unread, reassembly;
    uint32_t streams;                     /* HTTP/2 streams active */
    int32_t h2_send_window, h2_receive_window; /* of the HTTP/2 connection */
    uint64_t srtt_ns, rttvar_ns, rto_ns;
    uint64_t bytes_in, bytes_out, retransmits;
    uint64_t age_ns;
};

/* RFC 9293's names, in the order of enum tcp_state. */
#define MAILBOX_TCP_STATES 11
extern const char *const mailbox_tcp_states[MAILBOX_TCP_STATES];

#define MAILBOX_DUMP_ENTRIES 512

/* Lent with the order MAILBOX_DUMP (a: the pointer), written by the worker a part a turn, given back by `state`. */
struct mailbox_dump {
    uint32_t cursor; /* where this part begins: 0 at first, else as the part before left it; UINT32_MAX: that was the last */
    uint32_t count;
    uint32_t lent; /* 1: the worker's.  Release and acquire go over this word. */
    struct mailbox_connection entry[MAILBOX_DUMP_ENTRIES];
};

static inline bool mailbox_dump_lent(const struct mailbox_dump *d)
{
    return __atomic_load_n(&d->lent, __ATOMIC_ACQUIRE) != 0;
}

static inline void mailbox_dump_give(struct mailbox_dump *d, bool to_worker)
{
    __atomic_store_n(&d->lent, to_worker ? 1u : 0u, __ATOMIC_RELEASE);
}

#endif
