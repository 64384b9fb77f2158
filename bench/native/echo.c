/* echo SOCKET INPUT_BYTES OUTPUT_BYTES [WALK_BYTES WALK_US]
 *
 * The floor that the runtime is measured against: it reads our frames and answers each INFER with OUTPUT_BYTES zeros,
 * one loop over all connections. With WALK it also reads and writes so much memory, round and round, for so long: the
 * caches are then as cold as an invoke leaves them, and the time is told as the answer's invoke time.
 */
#define _GNU_SOURCE
#include "frames.h"

#include <sys/epoll.h>
#include <sys/uio.h>

enum { LINE = 64 };

struct connection {
    int fd;
    size_t held;
    uint8_t *buffer;
};

static size_t input_bytes, output_bytes, buffer_bytes, walk_bytes, walked;
static uint64_t walk_ns;
static uint8_t *walk, *output;

static uint32_t invoke(void) {
    uint64_t start = now_ns();
    if (!walk_bytes)
        return 0;
    do {
        for (int line = 0; line < 256; line++) {
            walk[walked]++;
            walked = walked + LINE < walk_bytes ? walked + LINE : 0;
        }
    } while (now_ns() - start < walk_ns);
    return (uint32_t)((now_ns() - start) / 1000);
}

static void send_all(int fd, struct iovec *parts, int count) {
    while (count) {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (sent < 0)
            return; /* the client is gone: its end of file comes next */
        while (count && (size_t)sent >= parts->iov_len) {
            sent -= (ssize_t)parts->iov_len;
            parts++, count--;
        }
        if (count) {
            parts->iov_base = (uint8_t *)parts->iov_base + sent;
            parts->iov_len -= (size_t)sent;
        }
    }
}

static void reply(int fd, const struct header *request) {
    static const char welcome[] = "{\"interface\":\"00000000000000000000000000000000\"}";
    if (request->kind == HELLO) {
        struct header header = header_of(WELCOME, sizeof welcome - 1, 0);
        send_all(fd, (struct iovec[]){{&header, sizeof header}, {(void *)welcome, sizeof welcome - 1}}, 2);
        return;
    }
    struct answer_head head = {.release = 1, .invoked_us = invoke()};
    struct header header = header_of(ANSWER, sizeof head + output_bytes, request->id);
    send_all(fd, (struct iovec[]){{&header, sizeof header}, {&head, sizeof head}, {output, output_bytes}}, 3);
}

/* Whether the connection goes on. */
static int serve(struct connection *connection) {
    uint8_t *buffer = connection->buffer;
    ssize_t got = recv(connection->fd, buffer + connection->held, buffer_bytes - connection->held, MSG_DONTWAIT);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    connection->held += (size_t)got;
    size_t at = 0;
    while (connection->held - at >= sizeof(struct header)) {
        struct header header;
        memcpy(&header, buffer + at, sizeof header);
        if (header.length > buffer_bytes - sizeof header)
            return 0;
        if (connection->held - at < sizeof header + header.length)
            break;
        reply(connection->fd, &header);
        at += sizeof header + header.length;
    }
    connection->held -= at;
    if (at && connection->held)
        memmove(buffer, buffer + at, connection->held);
    return 1;
}

static void take(int poll, int listener) {
    struct connection *connection = reserve(sizeof *connection);
    connection->fd = accept(listener, NULL, NULL);
    connection->buffer = reserve(buffer_bytes);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (connection->fd < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, connection->fd, &event))
        give_up("a connection");
}

int main(int count, char **arguments) {
    if (count != 4 && count != 6)
        return 2;
    input_bytes = strtoul(arguments[2], NULL, 10);
    output_bytes = strtoul(arguments[3], NULL, 10);
    if (count == 6) {
        walk_bytes = strtoul(arguments[4], NULL, 10);
        walk_ns = strtoul(arguments[5], NULL, 10) * 1000;
    }
    buffer_bytes = sizeof(struct header) + sizeof(struct infer_head) + input_bytes + 4096;
    walk = reserve(walk_bytes);
    output = reserve(output_bytes);
    struct sockaddr_un address = address_of(arguments[1]);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128) ||
        epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event))
        give_up(arguments[1]);
    for (;;) {
        struct epoll_event events[64];
        int ready = epoll_wait(poll, events, 64, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!connection) {
                take(poll, listener);
            } else if (!serve(connection)) {
                close(connection->fd);
                free(connection->buffer);
                free(connection);
            }
        }
    }
}
