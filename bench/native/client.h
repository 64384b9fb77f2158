/* One client's connection: our frames, our frames with shared memory, or HTTP. Blocking; any fault ends the program,
 * except that a connection may end (the server was killed). */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stdint.h>
#include <stddef.h>

struct settings {
    const char *socket, *model;
    const uint8_t *questions; /* question_count times question_bytes */
    size_t question_bytes, question_count;
    size_t answer_bytes;
    unsigned depth; /* requests on their way */
    int http, share, pieces;
};

struct answer {
    uint64_t id, release;
    uint32_t invoked_us;
    const uint8_t *data;
    char error[160]; /* what an ERROR says, else empty */
};

struct client {
    const struct settings *settings;
    int fd;
    unsigned random;
    uint8_t interface[16];
    uint32_t share;
    uint8_t *shared;  /* depth slots of question_bytes */
    uint8_t *private; /* the same, where nothing is shared: what a camera writes into */
    uint8_t *buffer;
    size_t buffer_bytes;
};

struct client *client_new(const struct settings *settings, unsigned seed);
/* Connects and says HELLO. Gives 0, or -1 where the connection ended. */
int client_connect(struct client *client);
/* Writes the frame of a request where the next `client_ask` takes it from, as a camera would. */
void client_produce(struct client *client, uint64_t id);
int client_ask(struct client *client, uint64_t id);
int client_answer(struct client *client, struct answer *answer);

#endif
