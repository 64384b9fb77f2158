/* littoral.h: ask a model that the Littoral runtime serves on this device.
 *
 * Speaks version 1 of the local protocol (docs/protocol.md) over a Unix socket. Linux, C99, no library, no thread, no
 * global state: a client belongs to one thread at a time. It reads no picture files, and decodes nothing: that is done
 * by the runtime, see lt_detect.
 *
 * Functions give 0 (lt_poll: 1), or -1 with *error filled; `error` may be NULL. A client that lost its connection
 * connects again by itself and asks again what was not answered, for timeout_ms from the loss on.
 */
#ifndef LITTORAL_H
#define LITTORAL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { LT_IN_FLIGHT = 64 }; /* requests of one client that wait for their answers */
enum { LT_NOTE_BYTES = 200 }; /* of a report */

/* One of the codes of docs/errors.md, what happened, and what to do about it (may be empty). */
typedef struct {
    char code[32];
    char cause[400];
    char remedy[200];
    uint32_t retry_after_ms; /* code "busy": when to come again */
} lt_error;

/* All may be left 0. */
typedef struct {
    const char *socket;    /* NULL: LITTORAL_SOCKET from the environment, or /run/littoral/query.sock */
    const char *client;    /* who asks, for the operator */
    const char *signature; /* which of the model's signatures to run; NULL: its first */
    int latest;            /* of requests that wait, keep only the newest; the others fail as "replaced" */
    int subscribe;         /* see what the model answers to others; lt_poll gives it, and nothing can be asked; reports can
                              be submitted */
    int lease;             /* no update of the model begins to answer, but an urgent one, while the client is open */
    int timeout_ms;        /* the longest a call waits; 0: 30,000 */
    uint64_t deadline_us;  /* the longest a request may wait in the runtime, else it fails as "deadline"; 0: for ever */
} lt_options;

typedef enum { LT_COMMITTED = 0, LT_TRIAL = 1, LT_LOCAL = 2 } lt_stage;

/* What an answer holds. */
typedef enum {
    LT_NOTHING = 0, /* the window of samples is not full yet */
    LT_CLASSES = 1,
    LT_BOXES = 2,
    LT_POSES = 3,
    LT_MASK = 4,
    LT_EMBEDDING = 5,
    LT_RAW = 6, /* all output tensors one after the other, as every answer to lt_infer */
    LT_REPORTED = 7 /* what came of lt_submit_report: count 1, or 0 where the report counts for nobody */
} lt_kind;

/* real value = scale * (stored value - zero_point); scale 0: not quantized. */
typedef struct {
    const char *name;
    const char *dtype;     /* "int8", "float32" ... */
    const uint32_t *shape; /* of rank numbers */
    uint32_t rank;
    double scale;
    int64_t zero_point;
    size_t offset; /* bytes before it: in what lt_infer takes, or in what it gives */
    size_t size;   /* bytes */
} lt_tensor;

typedef struct {
    const char *model, *version, *engine, *signature;
    uint64_t release;
    lt_stage stage;
    char interface[33]; /* 32 hex digits: what raw bytes of requests and answers depend on */
    int detects;        /* whether lt_detect is served; then detect is the kind of its answers */
    lt_kind detect;
    const lt_tensor *inputs, *outputs;
    const char *const *labels;
    const char *const *signatures;
    size_t input_count, output_count, label_count, signature_count;
    size_t input_bytes, output_bytes; /* of all inputs, of all outputs */
    uint64_t max_frame_bytes, max_shares, max_share_bytes;
} lt_info;

/* `data` is aligned to 8 bytes and holds `count` items of `item_bytes`; little-endian, as the runtime sent it. It stays
 * until the next call but lt_submit, lt_submit_detect, lt_submit_report, lt_share_slot and the readers below. */
typedef struct {
    uint64_t id; /* of the request; for a subscriber it counts the model's answers */
    uint64_t release;
    lt_stage stage;
    lt_kind kind;
    uint32_t queued_us, prepared_us, invoked_us, decoded_us;
    uint32_t width, height; /* of the frame, in whose pixels coordinates are; 0 of lt_infer */
    uint32_t count, item_bytes;
    const void *data;
    size_t size;
    uint64_t dropped;        /* a subscriber's: answers left out since the last one it got */
    unsigned char interface[16]; /* all 0 of lt_infer */
} lt_answer;

typedef enum {
    LT_RGB24 = 1,
    LT_BGR24 = 2,
    LT_GREY = 3,
    LT_NV12 = 4,
    LT_YUV420 = 5,
    LT_JPEG = 6,   /* width and height are 0 */
    LT_SAMPLES = 7 /* width: number of samples, height: channels */
} lt_format;

/* A frame as the camera has it. strides: bytes from row to row of each plane, 0: rows follow one another; offsets: from
 * data to each plane, 0: it follows the one before. */
typedef struct {
    lt_format format;
    uint32_t width, height;
    uint32_t strides[3], offsets[3];
    const void *data;
    size_t size;
} lt_picture;

/* What one request wants of its results. All may be left 0: as the model's card says. */
typedef struct {
    double threshold; /* least score, up to 1 */
    double overlap;   /* intersection over union above which the weaker of two boxes goes, up to 1 */
    uint32_t top;     /* at most so many, up to 1,000 */
    const char *const *labels; /* only these */
    size_t label_count;
} lt_wishes;

typedef struct lt_client lt_client;
typedef struct lt_share lt_share;

/* Connects and waits until the model is there. `options` may be NULL. Ended by lt_close, which takes NULL too.
 *
 * With options->lease it waits for the lease, and nothing can be asked: lt_get_info gives NULL, and lt_poll 0 while the
 * lease is held. When it ended, lt_poll gives -1 once: "lease-expired", or "unreachable" where the runtime went away.
 * It is not taken anew by itself; a later call takes it anew. */
int lt_open(lt_client **client, const char *model, const lt_options *options, lt_error *error);
void lt_close(lt_client *client);

/* What is served now; it stays until the next call but this one. What it gave last is what lt_infer and lt_submit say
 * their bytes were made for: where another interface is served meanwhile they fail as "stale-interface", nothing is
 * run, and this tells the new one. */
const lt_info *lt_get_info(lt_client *client);

/* Asks and waits. `data` are all inputs one after the other, nothing between. What is still in flight must be taken by
 * lt_poll before: else "busy". */
int lt_infer(lt_client *client, const void *data, size_t size, lt_answer *answer, lt_error *error);
int lt_detect(lt_client *client, const lt_picture *picture, const lt_wishes *wishes, lt_answer *answer,
              lt_error *error);

/* Asks without waiting, up to LT_IN_FLIGHT at once; then "busy". The bytes stay the caller's, and must stay as they are
 * until lt_poll gave the answer (or the error) of this id. Answers come in the order of requests. */
int lt_submit(lt_client *client, const void *data, size_t size, uint64_t *id, lt_error *error);
int lt_submit_detect(lt_client *client, const lt_picture *picture, const lt_wishes *wishes, uint64_t *id,
                     lt_error *error);

/* Says whether an answer that this client got was good (1) or bad (0). The device weighs that while it judges the
 * release. `note`: why, at most LT_NOTE_BYTES of UTF-8, or NULL; notes on bad answers are for the operator. The answer is
 * known by its id and release; its data is not looked at.
 *
 * A report that comes after another release began to answer counts for nobody. The answer of another client, or one from
 * before the connection was lost, is "unknown-answer"; more than 100 reports a second are "busy".
 *
 * lt_report waits, and nothing may be in flight, as for lt_infer; a subscriber submits. lt_submit_report takes its turn
 * among what is in flight, and lt_poll gives an answer of kind LT_REPORTED, or the error, with its id. */
int lt_report(lt_client *client, const lt_answer *answer, int good, const char *note, lt_error *error);
int lt_submit_report(lt_client *client, const lt_answer *answer, int good, const char *note, uint64_t *id,
                     lt_error *error);

/* Waits up to timeout_ms (0: not at all) and gives 1: an answer; 0: none yet; -1: the request answer->id failed, or,
 * where that is 0, the connection, and with it all that was in flight. A later call connects anew. */
int lt_poll(lt_client *client, int timeout_ms, lt_answer *answer, lt_error *error);

/* Memory that the runtime sees too, in `slots` slots: frames written there are not sent. Give a place in a slot as data
 * of lt_infer, lt_submit or a picture. Nothing may be in flight at open and close. lt_close closes shares too. */
int lt_share_open(lt_client *client, size_t slot_bytes, uint32_t slots, lt_share **share, lt_error *error);
int lt_share_close(lt_share *share, lt_error *error);
/* The lowest slot that no request in flight is using, aligned to 64 bytes; NULL while there is none. */
void *lt_share_slot(lt_share *share);

/* Readers of what lt_detect and subscribers get. Beyond the end of an answer, and of another kind, they give 0 (a mask:
 * 255, which stands for none). */
typedef struct {
    uint32_t label; /* index into the labels, see lt_label */
    float score;
    float x0, y0, x1, y1; /* boxes and poses: from the corner of the frame's first pixel */
} lt_item;
typedef struct {
    float x, y, score;
} lt_point;
lt_item lt_item_at(const lt_answer *answer, uint32_t index);                    /* classes, boxes, poses */
uint32_t lt_point_count(const lt_answer *answer);                               /* poses: points of each */
lt_point lt_point_at(const lt_answer *answer, uint32_t index, uint32_t point);  /* poses */
uint8_t lt_mask_at(const lt_answer *answer, uint32_t x, uint32_t y); /* mask, by the frame's pixel; 255: none */
float lt_value_at(const lt_answer *answer, uint32_t index);                     /* embedding */
const char *lt_label(const lt_client *client, const lt_answer *answer, uint32_t label); /* "": it has no name */

#ifdef __cplusplus
}
#endif
#endif
