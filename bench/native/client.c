#define _GNU_SOURCE
#include "client.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "frames.h"

enum {
    HEAD_BYTES = 65536, /* above any JSON body, and any HTTP head */
    PATIENCE_S = 20,    /* an answer that does not come by then is lost */
};

struct client *client_new(const struct settings *settings, unsigned seed) {
    struct client *client = reserve(sizeof *client);
    client->settings = settings;
    client->fd = -1;
    client->random = seed + 1;
    client->private = reserve(settings->depth * settings->question_bytes);
    client->buffer_bytes = HEAD_BYTES + settings->answer_bytes;
    client->buffer = reserve(client->buffer_bytes);
    return client;
}

static int receive_all(struct client *client, void *to, size_t size) {
    for (size_t at = 0; at < size;) {
        ssize_t got = recv(client->fd, (uint8_t *)to + at, size - at, 0);
        if (got <= 0) {
            errno = got ? errno : ECONNRESET;
            return -1;
        }
        at += (size_t)got;
    }
    return 0;
}

static int send_vector(struct client *client, struct iovec *parts, int count) {
    while (count) {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
        ssize_t sent = sendmsg(client->fd, &message, MSG_NOSIGNAL);
        if (sent < 0)
            return -1;
        while (count && (size_t)sent >= parts->iov_len) {
            sent -= (ssize_t)parts->iov_len;
            parts++, count--;
        }
        if (count) {
            parts->iov_base = (uint8_t *)parts->iov_base + sent;
            parts->iov_len -= (size_t)sent;
        }
    }
    return 0;
}

/* In pieces of all sizes, so that a switch finds half a frame. */
static int send_pieces(struct client *client, struct iovec *parts, int count) {
    static const size_t sizes[] = {5, 9, 16, 70001, SIZE_MAX};
    for (int i = 0; i < count; i++) {
        for (size_t at = 0; at < parts[i].iov_len;) {
            client->random = client->random * 1103515245 + 12345;
            size_t piece = sizes[(client->random >> 16) % 5], left = parts[i].iov_len - at;
            struct iovec part = {(uint8_t *)parts[i].iov_base + at, piece < left ? piece : left};
            size_t size = part.iov_len;
            if (send_vector(client, &part, 1))
                return -1;
            at += size;
        }
    }
    return 0;
}

static int send_frame(struct client *client, struct iovec *parts, int count) {
    return client->settings->pieces ? send_pieces(client, parts, count) : send_vector(client, parts, count);
}

/* The next frame that is no EVENT; its body is in the buffer, which holds it whole. */
static int next_frame(struct client *client, struct header *header) {
    do {
        if (receive_all(client, header, sizeof *header))
            return -1;
        if (header->length > client->buffer_bytes - 1) {
            errno = EMSGSIZE;
            give_up("an answer");
        }
        if (receive_all(client, client->buffer, header->length))
            return -1;
        client->buffer[header->length] = 0;
    } while (header->kind == EVENT);
    return 0;
}

static void expect(struct client *client, const struct header *header, enum kind kind) {
    if (header->kind != kind) {
        fprintf(stderr, "bench: a frame of kind %d in place of %d: %.200s\n", header->kind, kind, client->buffer);
        exit(1);
    }
}

static const char *json_value(struct client *client, const char *key) {
    const char *found = strstr((char *)client->buffer, key);
    if (!found) {
        fprintf(stderr, "bench: no %s in %.200s\n", key, client->buffer);
        exit(1);
    }
    found += strlen(key);
    return found + strspn(found, "\": ");
}

static int share_memory(struct client *client) {
    const struct settings *settings = client->settings;
    size_t size = settings->depth * settings->question_bytes;
    int memory = memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory < 0 || ftruncate(memory, (off_t)size) || fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK))
        give_up("a shared memory");
    client->shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (client->shared == MAP_FAILED)
        give_up("a shared memory");
    char body[64];
    int length = snprintf(body, sizeof body, "{\"size\": %zu}", size);
    struct header header = header_of(SHARE, (size_t)length, 0);
    struct iovec parts[] = {{&header, sizeof header}, {body, (size_t)length}};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.head), &memory, sizeof memory);
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = sizeof control};
    if (sendmsg(client->fd, &message, MSG_NOSIGNAL) < 0 || next_frame(client, &header))
        return -1;
    close(memory);
    expect(client, &header, INFO);
    client->share = (uint32_t)strtoul(json_value(client, "\"share\""), NULL, 10);
    return 0;
}

static int say_hello(struct client *client) {
    char body[256];
    int length = snprintf(body, sizeof body, "{\"protocol\":1,\"model\":\"%s\",\"client\":\"bench\"}", client->settings->model);
    struct header header = header_of(HELLO, (size_t)length, 0);
    struct iovec parts[] = {{&header, sizeof header}, {body, (size_t)length}};
    if (send_vector(client, parts, 2) || next_frame(client, &header))
        return -1;
    expect(client, &header, WELCOME);
    const char *digits = json_value(client, "\"interface\"");
    for (int i = 0; i < 16; i++)
        sscanf(digits + 2 * i, "%2hhx", &client->interface[i]);
    return client->settings->share ? share_memory(client) : 0;
}

/* HTTP as it is served: on a port of this machine. */
static int connect_http(struct client *client) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(client->settings->socket)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int now = 1;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0 || setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &now, sizeof now) ||
        connect(client->fd, (struct sockaddr *)&address, sizeof address))
        give_up(client->settings->socket);
    return 0;
}

int client_connect(struct client *client) {
    if (client->fd >= 0)
        close(client->fd);
    if (client->settings->http)
        return connect_http(client);
    struct sockaddr_un address = address_of(client->settings->socket);
    struct timeval patience = {.tv_sec = PATIENCE_S};
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0 || setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) ||
        connect(client->fd, (struct sockaddr *)&address, sizeof address))
        give_up(client->settings->socket);
    return say_hello(client);
}

static uint8_t *slot(struct client *client, uint64_t id) {
    return (client->shared ? client->shared : client->private) +
           id % client->settings->depth * client->settings->question_bytes;
}

void client_produce(struct client *client, uint64_t id) {
    const struct settings *settings = client->settings;
    const uint8_t *question = settings->questions + id % settings->question_count * settings->question_bytes;
    memcpy(slot(client, id), question, settings->question_bytes);
}

int client_ask(struct client *client, uint64_t id) {
    const struct settings *settings = client->settings;
    uint8_t *frame = slot(client, id);
    if (settings->http) {
        char head[160];
        int length = snprintf(head, sizeof head,
                              "POST /infer HTTP/1.1\r\nHost: bench\r\nContent-Type: application/octet-stream\r\n"
                              "Content-Length: %zu\r\n\r\n",
                              settings->question_bytes);
        return send_vector(client, (struct iovec[]){{head, (size_t)length}, {frame, settings->question_bytes}}, 2);
    }
    struct infer_head head = {.flags = client->shared != NULL};
    memcpy(head.interface, client->interface, sizeof head.interface);
    struct place place = {client->share, 0, (uint64_t)(frame - (client->shared ? client->shared : frame))};
    struct iovec data = {frame, settings->question_bytes};
    if (client->shared)
        data = (struct iovec){&place, sizeof place};
    struct header header = header_of(INFER, sizeof head + data.iov_len, id);
    return send_frame(client, (struct iovec[]){{&header, sizeof header}, {&head, sizeof head}, data}, 3);
}

static int http_answer(struct client *client, struct answer *answer) {
    char *head = (char *)client->buffer, *end = NULL;
    size_t held = 0;
    while (!end) {
        ssize_t got = recv(client->fd, head + held, client->buffer_bytes - 1 - held, 0);
        if (got <= 0)
            return -1;
        held += (size_t)got;
        head[held] = 0;
        end = strstr(head, "\r\n\r\n");
    }
    const char *length = strcasestr(head, "content-length:"), *invoked = strcasestr(head, "x-invoked-us:");
    if (strncmp(head, "HTTP/1.1 200", 12) || !length || !invoked) {
        fprintf(stderr, "bench: %.200s\n", head);
        exit(1);
    }
    size_t body = strtoul(length + 15, NULL, 10), have = held - (size_t)(end + 4 - head);
    if ((size_t)(end + 4 - head) + body > client->buffer_bytes || receive_all(client, head + held, body - have))
        return -1;
    answer->invoked_us = (uint32_t)strtoul(invoked + 13, NULL, 10);
    answer->data = (uint8_t *)end + 4;
    return 0;
}

int client_answer(struct client *client, struct answer *answer) {
    *answer = (struct answer){0};
    if (client->settings->http)
        return http_answer(client, answer);
    struct header header;
    if (next_frame(client, &header))
        return -1;
    answer->id = header.id;
    if (header.kind == ERROR) {
        snprintf(answer->error, sizeof answer->error, "%s", client->buffer);
        return 0;
    }
    expect(client, &header, ANSWER);
    struct answer_head head;
    memcpy(&head, client->buffer, sizeof head);
    answer->release = head.release;
    answer->invoked_us = head.invoked_us;
    answer->data = client->buffer + sizeof head;
    if (header.length != sizeof head + client->settings->answer_bytes)
        snprintf(answer->error, sizeof answer->error, "an answer of %u bytes", header.length);
    return 0;
}
