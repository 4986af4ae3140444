/* front: the rooms ip and tcp as sockets, over a packet device and a clock that the caller brings.  Nothing blocks: front_poll() is one turn of the loop. */
#ifndef FRONT_H
#define FRONT_H

#include "ip/ip.h"
#include "tcp/tcp.h"

struct front;
struct front_socket;

struct front_device {
    void *ctx;
    void (*send)(void *ctx, const uint8_t *frame, uint32_t len);
    uint32_t (*receive)(void *ctx, uint8_t *frame, uint32_t room); /* 0: none */
};

/* address: "198.18.0.1/24" or "2001:db8::1/64". */
struct front *front_create(const struct front_device *device, const struct tcp_config *tcp, const char *address, uint64_t seed, uint64_t now);
/* Aborts what is open; every object must be back. */
void front_destroy(struct front *f);
void front_poll(struct front *f, uint64_t now);

bool front_listen(struct front *f, uint16_t port);
struct front_socket *front_accept(struct front *f);                                       /* NULL: none yet */
struct front_socket *front_connect(struct front *f, const char *address, uint16_t port); /* NULL: refused at once */
enum { FRONT_AGAIN = -1, FRONT_FAILED = -2 };
long front_read(struct front_socket *s, void *data, size_t n);        /* 0: the peer has finished */
long front_write(struct front_socket *s, const void *data, size_t n); /* what was taken */
void front_shutdown(struct front_socket *s);
void front_close(struct front_socket *s);
void front_abort(struct front_socket *s);
bool front_is_open(const struct front_socket *s);
uint32_t front_in_use(const struct front *f, const char *kind); /* objects of tcp's and ip's: "tcp_conn", "tcp_timewait" ... */
void front_info(const struct front_socket *s, struct tcp_info *info);

#endif
