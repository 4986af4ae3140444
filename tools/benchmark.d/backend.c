/* benchmark-backend: the cheapest honest gRPC backend, for tools/benchmark: libnghttp2, one thread, several ports.
 *
 * A stock gRPC server costs several times what a good proxy does, so that the proxy would stand idle behind it.  This one reads each request
 * whole, looks at its message's prefix and length, and answers with a message of its own as grpc-go would: headers, one message, trailers.  What it
 * counted for each port lies in a file that is mapped: the reader takes counts and clocks at the same moment. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PORTS_MAX = 16, EVENTS = 64, PREFIX = 5, MESSAGE_MAX = 1 << 20, READ_MAX = 1 << 18, WRITE_MAX = 1 << 18 };

/* The mapped file: native 64-bit words. */
struct counts {
    uint64_t answered, wrong;
};

struct listener {
    int fd;
    struct counts *counts;
};

struct connection {
    int fd;
    nghttp2_session *session;
    struct counts *counts;
    size_t out_from, out_to; /* what the socket did not take: out[out_from, out_to) */
    uint8_t out[WRITE_MAX];
};

/* One request: its bytes so far, then the answer's that are out. */
struct call {
    uint8_t prefix[PREFIX];
    size_t received, sent;
};

static size_t message_size;
static uint8_t answer[PREFIX + MESSAGE_MAX];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

#define FIELD(name, value) {(uint8_t *)(name), (uint8_t *)(value), sizeof(name) - 1, sizeof(value) - 1, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE}

static ssize_t give(nghttp2_session *session, int32_t id, uint8_t *out, size_t room, uint32_t *flags, nghttp2_data_source *source, void *user)
{
    static const nghttp2_nv trailers[] = {FIELD("grpc-status", "0"), FIELD("grpc-message", "")};
    struct call *call = source->ptr;
    (void)user;
    size_t left = PREFIX + message_size - call->sent, n = left < room ? left : room;
    memcpy(out, answer + call->sent, n);
    call->sent += n;
    if (n == left) {
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_trailer(session, id, trailers, 2);
    }
    return (ssize_t)n;
}

static int begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)user;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct call *call = calloc(1, sizeof(*call));
    return call == NULL ? NGHTTP2_ERR_CALLBACK_FAILURE : nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
}

static int take(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t length, void *user)
{
    struct call *call = nghttp2_session_get_stream_user_data(session, id);
    (void)flags, (void)user;
    for (size_t i = 0; i < length && call->received + i < PREFIX; i++)
        call->prefix[call->received + i] = data[i];
    call->received += length;
    return 0;
}

static int frame_ended(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    static const nghttp2_nv headers[] = {FIELD(":status", "200"), FIELD("content-type", "application/grpc")};
    struct connection *c = user;
    if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    struct call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (call == NULL)
        return 0;
    if (call->received != PREFIX + message_size || memcmp(call->prefix, answer, PREFIX) != 0)
        c->counts->wrong++;
    return nghttp2_submit_response(session, frame->hd.stream_id, headers, 2, &(nghttp2_data_provider){.source.ptr = call, .read_callback = give});
}

static int stream_closed(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
    struct connection *c = user;
    struct call *call = nghttp2_session_get_stream_user_data(session, id);
    if (call != NULL && error == NGHTTP2_NO_ERROR && call->sent == PREFIX + message_size)
        c->counts->answered++;
    free(call);
    return 0;
}

static nghttp2_session_callbacks *callbacks_make(void)
{
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        die("nghttp2");
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, begin);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, take);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, frame_ended);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, stream_closed);
    return callbacks;
}

static bool write_some(struct connection *c)
{
    while (c->out_from < c->out_to) {
        ssize_t n = write(c->fd, c->out + c->out_from, c->out_to - c->out_from);
        if (n < 0)
            return errno == EAGAIN;
        c->out_from += (size_t)n;
    }
    c->out_from = c->out_to = 0;
    return true;
}

/* All that the session has, in as few writes as go. */
static bool flush(struct connection *c)
{
    const uint8_t *data;
    ssize_t n = 1;
    while (n > 0) {
        while (c->out_to + 16384 + 64 <= WRITE_MAX && (n = nghttp2_session_mem_send(c->session, &data)) > 0) {
            memcpy(c->out + c->out_to, data, (size_t)n);
            c->out_to += (size_t)n;
        }
        if (n < 0 || !write_some(c))
            return false;
        if (c->out_to > 0)
            return true; /* the socket is full: EPOLLOUT */
    }
    return true;
}

/* Edge-triggered: a read that fills the buffer is repeated; below that the socket is empty. */
static bool receive(struct connection *c)
{
    static uint8_t in[READ_MAX];
    ssize_t n;
    do {
        n = read(c->fd, in, sizeof(in));
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        if (nghttp2_session_mem_recv(c->session, in, (size_t)n) != n)
            return false;
    } while (n == sizeof(in));
    return true;
}

static void take_up(int epoll, const struct listener *l, nghttp2_session_callbacks *callbacks)
{
    static const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1 << 20}, {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20}};
    int one = 1, fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0)
        return;
    struct connection *c = calloc(1, sizeof(*c));
    if (c == NULL || nghttp2_session_server_new(&c->session, callbacks, c) != 0)
        die("no memory");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->fd = fd;
    c->counts = l->counts;
    nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, 2);
    nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, 1 << 28);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, .data.ptr = c}) != 0)
        die("epoll_ctl");
}

static void serve(struct connection *c, uint32_t events)
{
    bool alive = !(events & (EPOLLERR | EPOLLHUP)) && (!(events & EPOLLIN) || receive(c));
    alive = alive && write_some(c) && (c->out_to > 0 || flush(c)) && !(events & EPOLLRDHUP);
    if (alive)
        return;
    close(c->fd);
    nghttp2_session_del(c->session);
    free(c);
}

static int port_open(uint16_t port)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 4096) != 0)
        die("listen");
    return fd;
}

static struct counts *counts_map(const char *path)
{
    size_t size = PORTS_MAX * sizeof(struct counts);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
        die(path);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        die(path);
    close(fd);
    return memory;
}

int main(int argc, char **argv)
{
    static struct listener listeners[PORTS_MAX];
    struct epoll_event events[EVENTS];
    if (argc < 4 || argc - 3 > PORTS_MAX || (message_size = strtoul(argv[2], NULL, 10)) > MESSAGE_MAX) {
        fputs("usage: benchmark-backend COUNTS-FILE MESSAGE-BYTES PORT…\n", stderr);
        return 2;
    }
    struct counts *counts = counts_map(argv[1]);
    nghttp2_session_callbacks *callbacks = callbacks_make();
    int epoll = epoll_create1(0), ports = argc - 3;
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    *(uint32_t *)(void *)(answer + 1) = htonl((uint32_t)message_size);
    for (int i = 0; i < ports; i++) {
        listeners[i] = (struct listener){port_open((uint16_t)strtoul(argv[3 + i], NULL, 10)), &counts[i]};
        epoll_ctl(epoll, EPOLL_CTL_ADD, listeners[i].fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &listeners[i]});
    }
    puts("listening");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct listener *l = events[i].data.ptr;
            if (l >= listeners && l < listeners + ports)
                take_up(epoll, l, callbacks);
            else
                serve(events[i].data.ptr, events[i].events);
        }
    }
}
