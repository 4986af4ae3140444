/* play: one sequence of events, played to Linux's TCP and to ours, and what each of them said and did.
 *
 * Numbers are relative: the peer's to its initial sequence number, the stack's to its own, so that the first byte of data is number 1 either way.  Time goes in ticks
 * of 10 ms; an event happens at the start of its tick, one a tick at most.  After each event comes its interval, up to the next event; a mark is what the
 * stack's user sees at the interval's end. */
#ifndef LINUX_PLAY_H
#define LINUX_PLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TICK_NS   10000000ull
#define EVENTS    30
#define SAIDS     120
#define PEER_PORT 4000

enum kind { SEGMENT, OPEN, WRITE, READ, SHUTDOWN, CLOSE, ABORT, WAIT };
enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32 };
enum stamp { STAMP_NONE, STAMP_NOW, STAMP_OLD };

struct range {
    uint32_t left, right;
};

struct event {
    uint32_t tick;
    enum kind kind;
    /* a segment */
    uint8_t flags, sacks;
    enum stamp stamp;
    bool mss, sackok;
    int wscale; /* -1: none */
    uint32_t seq, ack, len;
    uint16_t win;
    struct range sack[2];
    /* WRITE, READ */
    uint32_t n;
    const char *about; /* what a stranger would call it */
};

struct sequence {
    uint64_t seed;
    bool listen;  /* somebody listens on the port */
    uint32_t isn; /* the peer's */
    uint32_t count, end; /* events; the tick after the last interval */
    struct event event[EVENTS];
};

struct said { /* a segment of the stack */
    uint32_t tick, interval;
    uint8_t flags, sacks;
    uint32_t seq, ack, len;
    uint16_t win;
    bool ts, mss, wscale, sackok;
    bool prompt; /* said at the event itself, not by a timer */
    struct range sack[4];
};

enum app_state { APP_NONE, APP_SYN_SENT, APP_SYN_RECEIVED, APP_ESTABLISHED, APP_FIN_WAIT_1, APP_FIN_WAIT_2, APP_CLOSE_WAIT, APP_CLOSING, APP_LAST_ACK, APP_CLOSED, APP_STATES };
extern const char *const app_names[APP_STATES];

struct mark {
    uint8_t state; /* APP_NONE: no connection is held */
    bool error;
    uint32_t received; /* bytes that came in order, read or not */
    uint64_t hash;     /* of those that were read */
};

struct trace {
    uint32_t saids;
    bool overflow;
    struct said said[SAIDS];
    struct mark mark[EVENTS];
    /* while it is played */
    uint32_t isn, ts;
    bool isn_known;
    uint32_t read, written;
    uint64_t hash;
};

/* draw.c */
void draw(struct sequence *s, uint64_t seed);

/* wire.c */
/* The event as a TCP segment, checksum 0; its length. */
uint32_t wire_write(const struct sequence *s, const struct event *e, const struct trace *t, uint16_t stack_port, uint8_t *at);
/* Notes what the stack sent. */
void wire_note(const struct sequence *s, struct trace *t, uint32_t tick, uint32_t interval, bool prompt, const uint8_t *tcp, uint32_t len);
void wire_read(struct trace *t, const uint8_t *data, size_t n); /* the user read these */
void wire_print(const struct sequence *s, const struct trace *linux_trace, const struct trace *ours);

/* kernel.c: in real time, all at once. In a network namespace of the process, which kernel_open() makes. */
void kernel_open(void);
void kernel_play(const struct sequence *s, struct trace *t, uint32_t count);

/* rooms.c: on a clock of its own. */
void rooms_play(const struct sequence *s, struct trace *t);

/* compare.c */
struct difference {
    const char *name; /* of its class; NULL: none */
    uint32_t interval;
    char words[160];
};
#define DIFFERENCES 64
/* How many were found. A class that is not explained is called "unexplained: …". */
uint32_t compare(const struct sequence *s, const struct trace *k, const struct trace *o, struct difference *out);

#endif
