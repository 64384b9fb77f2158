/* What the C programs of the bench share: our frames as docs/protocol.md has them, and time. */
#ifndef BENCH_FRAMES_H
#define BENCH_FRAMES_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum kind { HELLO = 1, WELCOME = 2, INFER = 3, ANSWER = 4, ERROR = 5, EVENT = 6, INFO = 9, SHARE = 11 };

struct __attribute__((packed)) header {
    char magic[2];
    uint8_t version, kind;
    uint32_t length;
    uint64_t id;
};

struct __attribute__((packed)) infer_head {
    uint8_t interface[16];
    uint64_t deadline_us;
    uint32_t flags, reserved;
};

struct __attribute__((packed)) place {
    uint32_t share, reserved;
    uint64_t offset;
};

struct __attribute__((packed)) answer_head {
    uint64_t release;
    uint32_t queued_us, invoked_us;
    uint8_t stage, zero[7];
};

static inline struct header header_of(enum kind kind, size_t length, uint64_t id) {
    return (struct header){{'L', 't'}, 1, (uint8_t)kind, (uint32_t)length, id};
}

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline _Noreturn void give_up(const char *what) {
    fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

static inline void *reserve(size_t size) {
    void *memory = calloc(1, size ? size : 1);
    if (!memory)
        give_up("memory");
    return memory;
}

static inline struct sockaddr_un address_of(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        give_up(path);
    }
    strcpy(address.sun_path, path);
    return address;
}

#endif
