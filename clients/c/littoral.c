/* littoral.c: the client of littoral.h. One file in five parts: errors and bytes; a strict JSON reader; what WELCOME
 * says; frames out; frames in and the life of a connection; what the app calls.
 *
 * All memory is bounded: requests in flight by LT_IN_FLIGHT (their bytes stay the app's), what is read by MAX_BODY,
 * JSON by MAX_JSON, and what is made of it by a multiple of its length.
 */
#define _GNU_SOURCE /* memfd_create and its seals */
#include "littoral.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { HELLO = 1, WELCOME, INFER, ANSWER, ERROR, EVENT, INFO = 9, REPORT, SHARE, DETECT, RESULT };
enum { HEADER = 16, INFER_HEAD = 32, INFER_PLACE = 16, ANSWER_HEAD = 24, DETECT_HEAD = 72, RESULT_HEAD = 56 };
enum { REPORT_HEAD = 24 };
enum {
    MAX_BODY = 64 << 20,  /* of an answer */
    MAX_JSON = 1 << 20,   /* of any other frame: room for tens of thousands of labels */
    MAX_HELLO = 4096,
    MAX_OPTIONS = 8192,
    MAX_DEPTH = 32,       /* of JSON in JSON */
    MAX_SHARES = 8,
    MAX_TENSOR = 1 << 30, /* bytes of all inputs or outputs */
    SLOT_ALIGN = 64,
    BACKOFF_MS = 10,
    MAX_BACKOFF_MS = 1000
};

/* What a step gives: two kinds of failure; nothing came; an answer for the app; something else was done. */
enum { BROKEN = -2, FAILED = -1, NOTHING = 0, ANSWERED = 1, PROGRESS = 2 };

typedef enum { AWAY, GREETING, OPEN } state_t;
typedef enum { FREE, NEW, SHARED, DROPPING } share_state_t;

struct lt_share {
    lt_client *client;
    share_state_t state; /* NEW: the runtime of this connection does not know it yet */
    uint32_t number;     /* given by the runtime, anew on each connection */
    int memfd;
    unsigned char *base;
    size_t slot_bytes, size;
};

typedef struct {
    uint64_t id;
    int kind;
    unsigned char interface[16];
    const unsigned char *data;
    size_t size;
    const lt_share *share; /* that holds data, or NULL */
    lt_picture picture;
    char *options; /* of DETECT, JSON; the note of REPORT; owned */
    size_t options_size;
    uint64_t answer, release; /* of REPORT: what it is about */
    int good;
} request_t;

struct lt_client {
    struct sockaddr_un address;
    unsigned char hello[HEADER + MAX_HELLO];
    size_t hello_size;
    int timeout_ms, subscribes, leases;
    uint64_t deadline_us;

    int fd;
    state_t state;
    int deaf;                /* the other end takes nothing more; what it sent is still read */
    int64_t troubled_ms;     /* when the connection was lost and nothing was answered since; 0: all is well */
    int64_t retry_ms;        /* when to connect again */
    int backoff_ms;
    lt_error trouble;        /* why */

    unsigned char *in;       /* frames as they came: in[start] to in[end] */
    size_t room, start, end;
    size_t taken;            /* bytes of the frame that the app looks at now */

    request_t ring[LT_IN_FLIGHT];
    size_t first, count;     /* in flight */
    size_t sent;             /* of those, sent as a whole */
    unsigned char head[HEADER + DETECT_HEAD]; /* of the one that is being sent */
    size_t head_size, head_sent, part_sent;   /* part_sent: of all its bytes, head and all */
    uint64_t last_id;

    lt_info *info;
    unsigned char made_for[16];
    lt_share shares[MAX_SHARES];
    lt_share *asked;         /* whose SHARE is unanswered */
    uint64_t asked_id;
    uint64_t dropped;
};

/* --- errors and bytes --- */

static int fail(lt_error *error, const char *code, const char *remedy, const char *cause, ...)
    __attribute__((format(printf, 4, 5)));

static int fail(lt_error *error, const char *code, const char *remedy, const char *cause, ...) {
    va_list facts;
    memset(error, 0, sizeof *error);
    snprintf(error->code, sizeof error->code, "%s", code);
    snprintf(error->remedy, sizeof error->remedy, "%s", remedy);
    va_start(facts, cause);
    vsnprintf(error->cause, sizeof error->cause, cause, facts);
    va_end(facts);
    return FAILED;
}

/* After these two there is nothing to go on from. */
static int no_memory(lt_error *error) {
    fail(error, "internal", "", "no memory for it in this process");
    return BROKEN;
}

static int strange(lt_error *error, const char *what) {
    fail(error, "protocol", "use a runtime and a client of one version", "the runtime sent %s", what);
    return BROKEN;
}

static void put(unsigned char *at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++)
        at[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t get(const void *from, int bytes) {
    const unsigned char *at = from;
    uint64_t value = 0;
    for (int i = bytes; i-- > 0;)
        value = value << 8 | at[i];
    return value;
}

static float get_float(const unsigned char *at) {
    uint32_t bits = (uint32_t)get(at, 4);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void put_header(unsigned char *at, int kind, size_t size, uint64_t id) {
    memcpy(at, "Lt\1", 3);
    at[3] = (unsigned char)kind;
    put(at + 4, size, 4);
    put(at + 8, id, 8);
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + 1; /* never 0 */
}

/* --- JSON: `skip_` functions give what follows a value, or NULL where it is not whole and well-formed --- */

typedef struct {
    const char *at, *end;
} span_t;

static const char *skip_space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four hexadecimal digits, or -1. */
static int32_t hex4(const char *p, const char *end) {
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = p + i < end ? hex_digit(p[i]) : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* The character behind a backslash-u at p, which may be a pair; *after: what follows. 0 where it is none, or zero. */
static uint32_t escaped(const char *p, const char *end, const char **after) {
    int32_t high = hex4(p + 2, end);
    *after = p + 6;
    if (high < 0xD800 || high > 0xDFFF)
        return high > 0 ? (uint32_t)high : 0;
    int32_t low = end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? hex4(p + 8, end) : -1;
    *after = p + 12;
    if (high > 0xDBFF || low < 0xDC00 || low > 0xDFFF)
        return 0;
    return 0x10000 + (((uint32_t)high & 0x3FF) << 10 | ((uint32_t)low & 0x3FF));
}

/* Bytes of the UTF-8 character at p; 0 where it is none. */
static int utf8_size(const char *p, const char *end) {
    const unsigned char *u = (const unsigned char *)p;
    int size = *u < 0x80 ? 1 : *u < 0xC2 ? 0 : *u < 0xE0 ? 2 : *u < 0xF0 ? 3 : *u < 0xF5 ? 4 : 0;
    if (size == 0 || end - p < size)
        return 0;
    for (int i = 1; i < size; i++)
        if ((u[i] & 0xC0) != 0x80)
            return 0;
    int overlong = (*u == 0xE0 && u[1] < 0xA0) || (*u == 0xF0 && u[1] < 0x90);
    int surrogate = *u == 0xED && u[1] > 0x9F, beyond = *u == 0xF4 && u[1] > 0x8F;
    return overlong || surrogate || beyond ? 0 : size;
}

static const char *skip_text(const char *p, const char *end) {
    for (p++; p < end && *p != '"';) {
        if (*p == '\\') {
            if (end - p < 2 || !memchr("\"\\/bfnrtu", p[1], 9))
                return NULL;
            if (p[1] != 'u')
                p += 2;
            else if (!escaped(p, end, &p))
                return NULL;
        } else {
            int size = (unsigned char)*p < 0x20 ? 0 : utf8_size(p, end);
            if (size == 0)
                return NULL;
            p += size;
        }
    }
    return p < end ? p + 1 : NULL;
}

static const char *skip_digits(const char *p, const char *end) {
    const char *from = p;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p > from ? p : NULL;
}

static const char *skip_number(const char *p, const char *end) {
    if (p < end && *p == '-')
        p++;
    p = p < end && *p == '0' ? p + 1 : skip_digits(p, end);
    if (p && p < end && *p == '.')
        p = skip_digits(p + 1, end);
    if (p && p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        p = skip_digits(p, end);
    }
    return p;
}

static const char *skip_value(const char *p, const char *end, int depth) {
    static const char *const words[] = {"true", "false", "null"};
    if (p >= end || depth > MAX_DEPTH)
        return NULL;
    if (*p == '"')
        return skip_text(p, end);
    for (int i = 0; i < 3; i++)
        if ((size_t)(end - p) >= strlen(words[i]) && !memcmp(p, words[i], strlen(words[i])))
            return p + strlen(words[i]);
    if (*p != '{' && *p != '[')
        return skip_number(p, end);
    char open = *p, close = open == '{' ? '}' : ']';
    p = skip_space(p + 1, end);
    if (p < end && *p == close)
        return p + 1;
    for (;;) {
        if (open == '{') {
            p = p < end && *p == '"' ? skip_text(p, end) : NULL;
            p = p ? skip_space(p, end) : end;
            if (p >= end || *p != ':')
                return NULL;
            p = skip_space(p + 1, end);
        }
        p = skip_value(p, end, depth + 1);
        p = p ? skip_space(p, end) : end;
        if (p >= end || (*p != ',' && *p != close))
            return NULL;
        if (*p == close)
            return p + 1;
        p = skip_space(p + 1, end);
    }
}

/* The body as one JSON object; 0 where it is none. The functions below take what this has looked over. */
static int read_object(const unsigned char *body, size_t size, span_t *object) {
    const char *end = (const char *)body + size;
    object->at = skip_space((const char *)body, end);
    object->end = object->at < end && *object->at == '{' ? skip_value(object->at, end, 0) : NULL;
    return object->end && skip_space(object->end, end) == end;
}

/* The next member of an object or element of an array; *at is NULL at first. 0 after the last. */
static int step(span_t all, const char **at, span_t *key, span_t *value) {
    const char *p = skip_space(*at ? *at : all.at + 1, all.end);
    if (*at && *p == ',')
        p = skip_space(p + 1, all.end);
    if (*p == '}' || *p == ']')
        return 0;
    if (*all.at == '{') {
        key->at = p;
        key->end = skip_text(p, all.end);
        p = skip_space(skip_space(key->end, all.end) + 1, all.end);
    }
    value->at = p;
    value->end = *at = skip_value(p, all.end, 0);
    return 1;
}

static size_t put_utf8(char *out, uint32_t c) {
    size_t size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char first[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = size; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)(first[size] | c);
    return size;
}

/* Writes a string, as much of it as has room, with a closing zero; gives what it took of the room. */
static size_t take_text(span_t text, char *out, size_t room) {
    static const char names[] = "bfnrt", meant[] = "\b\f\n\r\t";
    char *to = out;
    for (const char *p = text.at + 1; p < text.end - 1;) {
        char one[4];
        size_t size;
        if (*p != '\\') {
            size = (size_t)utf8_size(p, text.end);
            memcpy(one, p, size);
            p += size;
        } else if (p[1] == 'u') {
            size = put_utf8(one, escaped(p, text.end, &p));
        } else {
            const char *name = strchr(names, p[1]);
            one[0] = name ? meant[name - names] : p[1];
            size = 1;
            p += 2;
        }
        if ((size_t)(to - out) + size >= room)
            break;
        memcpy(to, one, size);
        to += size;
    }
    *to++ = 0;
    return (size_t)(to - out);
}

static int is(span_t value, char begins) { return value.at && *value.at == begins; }

/* A member of an object by its name; at is NULL where there is none. */
static span_t member(span_t object, const char *name) {
    span_t key, value;
    char text[32];
    for (const char *at = NULL; is(object, '{') && step(object, &at, &key, &value);) {
        take_text(key, text, sizeof text);
        if (!strcmp(text, name))
            return value;
    }
    return (span_t){NULL, NULL};
}

static size_t count_of(span_t array) {
    span_t key, value;
    size_t count = 0;
    for (const char *at = NULL; is(array, '[') && step(array, &at, &key, &value);)
        count++;
    return count;
}

/* A whole number up to `most`, without a sign; 0 where it is none. */
static int take_number(span_t value, uint64_t most, uint64_t *number) {
    uint64_t sum = 0;
    if (!value.at || skip_digits(value.at, value.end) != value.end)
        return 0;
    for (const char *p = value.at; p < value.end; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (digit > most || sum > (most - digit) / 10)
            return 0;
        sum = sum * 10 + digit;
    }
    *number = sum;
    return 1;
}

/* --- what WELCOME says --- */

/* One block of memory, cut into pieces. */
typedef struct {
    char *at, *end;
} arena_t;

static void *cut(arena_t *arena, size_t size) {
    char *piece = arena->at + (-(uintptr_t)arena->at & 7); /* behind a string */
    arena->at = piece + size;
    return piece;
}

/* A string of its own, or NULL where the value is none. */
static const char *keep_text(arena_t *arena, span_t value) {
    if (!is(value, '"'))
        return NULL;
    char *text = arena->at;
    arena->at += take_text(value, text, (size_t)(arena->end - text));
    return text;
}

/* As C's %a writes it, whatever the locale; 0 where it is no such number. */
static int take_hex_float(const char *p, double *number) {
    double value = 0, sign = *p == '-' ? -1 : 1;
    long shift = 0, power = 0, down;
    p += *p == '-';
    if (strncmp(p, "0x", 2) || hex_digit(p[2]) < 0)
        return 0;
    for (p += 2; hex_digit(*p) >= 0; p++)
        value = value * 16 + hex_digit(*p);
    if (*p == '.')
        for (p++; hex_digit(*p) >= 0; p++, shift += 4)
            value = value * 16 + hex_digit(*p);
    if (*p++ != 'p')
        return 0;
    down = *p == '-';
    p += *p == '-' || *p == '+';
    if (*p < '0' || *p > '9')
        return 0;
    for (; *p >= '0' && *p <= '9' && power < 10000; p++)
        power = power * 10 + (*p - '0');
    if (*p || shift > 64)
        return 0;
    for (power = (down ? -power : power) - shift; power; power += power < 0 ? 1 : -1)
        value *= power < 0 ? 0.5 : 2;
    *number = sign * value;
    return value - value == 0; /* neither infinite nor none */
}

static size_t dtype_bytes(const char *dtype) {
    static const char *const names[] = {"int8",  "uint8",  "bool",    "int16", "uint16", "float16",
                                        "int32", "uint32", "float32", "int64", "uint64", "float64"};
    for (size_t i = 0; i < 12; i++)
        if (!strcmp(dtype, names[i]))
            return (size_t)1 << i / 3;
    return 0;
}

static int take_tensor(arena_t *arena, span_t from, lt_tensor *tensor) {
    span_t shape = member(from, "shape"), zero = member(from, "zero_point"), key, value;
    char scale[64];
    uint64_t size, number;
    int negative = is(zero, '-');
    tensor->name = keep_text(arena, member(from, "name"));
    tensor->dtype = keep_text(arena, member(from, "dtype"));
    if (!tensor->name || !tensor->dtype || !is(shape, '[') || !is(member(from, "scale"), '"'))
        return 0;
    if (!(size = dtype_bytes(tensor->dtype)))
        return 0;
    take_text(member(from, "scale"), scale, sizeof scale);
    zero.at += negative;
    if (!take_hex_float(scale, &tensor->scale) || !take_number(zero, INT64_MAX, &number))
        return 0;
    tensor->zero_point = negative ? -(int64_t)number : (int64_t)number;
    tensor->rank = (uint32_t)count_of(shape);
    uint32_t *sides = cut(arena, tensor->rank * sizeof *sides);
    tensor->shape = sides;
    for (const char *at = NULL; step(shape, &at, &key, &value);) {
        if (!take_number(value, UINT32_MAX, &number) || (size *= number) > MAX_TENSOR)
            return 0;
        *sides++ = (uint32_t)number;
    }
    tensor->size = (size_t)size;
    return 1;
}

static int take_tensors(arena_t *arena, span_t from, const lt_tensor **tensors, size_t *count, size_t *bytes) {
    span_t key, value;
    lt_tensor *tensor = cut(arena, count_of(from) * sizeof *tensor);
    *tensors = tensor;
    if (!is(from, '['))
        return 0;
    for (const char *at = NULL; step(from, &at, &key, &value); tensor++) {
        if (!take_tensor(arena, value, tensor))
            return 0;
        tensor->offset = *bytes;
        if ((*bytes += tensor->size) > MAX_TENSOR)
            return 0;
        ++*count;
    }
    return 1;
}

static int take_names(arena_t *arena, span_t from, const char *const **names, size_t *count) {
    span_t key, value;
    const char **name = cut(arena, count_of(from) * sizeof *name);
    *names = name;
    for (const char *at = NULL; is(from, '[') && step(from, &at, &key, &value); ++*count)
        if (!(*name++ = keep_text(arena, value)))
            return 0;
    return 1;
}

/* Room for all that take_info cuts: strings are never longer than their text; before a piece may lie 7 bytes. */
static size_t info_room(span_t from) {
    span_t key, value;
    size_t room = sizeof(lt_info) + (size_t)(from.end - from.at) + 64;
    room += (count_of(member(from, "labels")) + count_of(member(from, "signatures"))) * sizeof(char *);
    for (int i = 0; i < 2; i++) {
        span_t tensors = member(from, i ? "outputs" : "inputs");
        for (const char *at = NULL; is(tensors, '[') && step(tensors, &at, &key, &value);)
            room += sizeof(lt_tensor) + 8 + count_of(member(value, "shape")) * sizeof(uint32_t);
    }
    return room;
}

static int take_info(arena_t *arena, span_t from, lt_info *info) {
    static const char *const kinds[] = {"", "classes", "boxes", "poses", "mask", "embedding", "raw"};
    span_t limits = member(from, "limits"), interface = member(from, "interface");
    uint64_t stage;
    span_t labels = member(from, "labels");
    if (!is(labels, '[') || !take_names(arena, labels, &info->labels, &info->label_count))
        return 0;
    if (!take_names(arena, member(from, "signatures"), &info->signatures, &info->signature_count))
        return 0;
    if (!take_tensors(arena, member(from, "inputs"), &info->inputs, &info->input_count, &info->input_bytes))
        return 0;
    if (!take_tensors(arena, member(from, "outputs"), &info->outputs, &info->output_count, &info->output_bytes))
        return 0;
    info->model = keep_text(arena, member(from, "model"));
    info->version = keep_text(arena, member(from, "version"));
    info->engine = keep_text(arena, member(from, "engine"));
    info->signature = keep_text(arena, member(from, "signature"));
    const char *detect = keep_text(arena, member(from, "detect"));
    if (!info->model || !info->version || !info->engine || !is(interface, '"') || interface.end - interface.at != 34)
        return 0;
    info->signature = info->signature ? info->signature : "";
    take_text(interface, info->interface, sizeof info->interface);
    for (int i = 0; i < 32; i++)
        if (hex_digit(info->interface[i]) < 0)
            return 0;
    for (int i = 1; detect && i < 7; i++)
        if (!strcmp(detect, kinds[i])) {
            info->detects = 1;
            info->detect = (lt_kind)i;
        }
    take_number(member(limits, "max_shares"), UINT64_MAX, &info->max_shares);
    take_number(member(limits, "max_share_bytes"), UINT64_MAX, &info->max_share_bytes);
    if (!take_number(member(from, "stage"), LT_LOCAL, &stage))
        return 0;
    info->stage = (lt_stage)stage;
    return take_number(member(from, "release"), UINT64_MAX, &info->release) &&
           take_number(member(limits, "max_frame_bytes"), UINT64_MAX, &info->max_frame_bytes);
}

/* The interface as the 16 bytes that requests and results carry. */
static void interface_bytes(const lt_info *info, unsigned char *bytes) {
    for (int i = 0; i < 16; i++)
        bytes[i] = (unsigned char)(hex_digit(info->interface[2 * i]) << 4 | hex_digit(info->interface[2 * i + 1]));
}

/* Takes a WELCOME in place of the one before. */
static int learn(lt_client *client, span_t welcome, lt_error *error) {
    size_t room = is(welcome, '{') ? info_room(welcome) : sizeof(lt_info);
    char *block = calloc(1, room);
    if (!block)
        return no_memory(error);
    arena_t arena = {block, block + room};
    lt_info *info = cut(&arena, sizeof *info);
    if (!is(welcome, '{') || !take_info(&arena, welcome, info)) {
        free(block);
        return strange(error, "a WELCOME that cannot be read");
    }
    free(client->info);
    client->info = info;
    return 0;
}

/* --- frames out --- */

/* A string as JSON; *at moves on. Where there is no room left, *at becomes NULL. */
static void put_text(char **at, const char *end, const char *text) {
    static const char digits[] = "0123456789abcdef";
    char *to = *at;
    if (!to || end - to < 2)
        to = NULL;
    else
        *to++ = '"';
    for (; to && *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (end - to < 8) {
            to = NULL;
        } else if (c < 0x20) {
            memcpy(to, "\\u00", 4);
            to[4] = digits[c >> 4];
            to[5] = digits[c & 15];
            to += 6;
        } else {
            if (c == '"' || c == '\\')
                *to++ = '\\';
            *to++ = (char)c;
        }
    }
    if (to)
        *to++ = '"';
    *at = to;
}

static void put_plain(char **at, const char *end, const char *text) {
    size_t size = strlen(text);
    if (*at && (size_t)(end - *at) > size) {
        memcpy(*at, text, size);
        *at += size;
    } else {
        *at = NULL;
    }
}

static int make_hello(lt_client *client, const char *model, const lt_options *options) {
    char *at = (char *)client->hello + HEADER, *end = at + MAX_HELLO;
    const char *names[] = {"{\"protocol\":1,\"model\":", ",\"client\":", ",\"signature\":"};
    const char *values[] = {model, options->client, options->signature};
    for (int i = 0; i < 3; i++) {
        put_plain(&at, end, names[i]);
        put_text(&at, end, values[i] ? values[i] : "");
    }
    put_plain(&at, end, ",\"mode\":");
    put_text(&at, end, options->lease ? "lease" : options->subscribe ? "subscribe" : "infer");
    put_plain(&at, end, options->latest ? ",\"queue\":\"latest\"}" : ",\"queue\":\"all\"}");
    if (!at)
        return 0;
    client->hello_size = (size_t)(at - (char *)client->hello);
    put_header(client->hello, HELLO, client->hello_size - HEADER, 0);
    return 1;
}

/* A number from 0 to 1 that is written alike in every locale; nothing where it is 0. */
static void put_part(char **at, const char *end, const char *name, double number) {
    char text[64];
    unsigned millionths = (unsigned)(number * 1e6 + 0.5);
    if (number <= 0)
        return;
    snprintf(text, sizeof text, "%s\"%s\":%u.%06u", *at && (*at)[-1] == '{' ? "" : ",", name, millionths / 1000000,
             millionths % 1000000);
    put_plain(at, end, text);
}

/* The options of DETECT, to be freed; NULL where they cannot be said. */
static char *make_options(const lt_wishes *wishes, size_t *size) {
    char *options = calloc(1, MAX_OPTIONS), *at = options, *end = options + MAX_OPTIONS, top[32];
    if (!options || !(wishes->threshold >= 0 && wishes->threshold <= 1 && wishes->overlap >= 0 && wishes->overlap <= 1))
        at = NULL;
    put_plain(&at, end, "{");
    put_part(&at, end, "threshold", wishes->threshold);
    put_part(&at, end, "overlap", wishes->overlap);
    snprintf(top, sizeof top, "%s\"top\":%u", at && at[-1] == '{' ? "" : ",", (unsigned)wishes->top);
    if (wishes->top)
        put_plain(&at, end, top);
    for (size_t i = 0; i < wishes->label_count; i++) {
        put_plain(&at, end, i ? "," : at && at[-1] == '{' ? "\"labels\":[" : ",\"labels\":[");
        put_text(&at, end, wishes->labels[i]);
    }
    put_plain(&at, end, wishes->label_count ? "]}" : "}");
    if (!at) {
        free(options);
        return NULL;
    }
    *size = (size_t)(at - options);
    return options;
}

static size_t body_size(const request_t *request) {
    size_t inside = request->share ? 0 : request->size;
    if (request->kind == REPORT)
        return REPORT_HEAD + request->options_size;
    if (request->kind == DETECT)
        return DETECT_HEAD + request->options_size + inside;
    return INFER_HEAD + (request->share ? INFER_PLACE : inside);
}

/* Header and head of a request. Made when it is sent: shares have other numbers on another connection. */
static void make_head(lt_client *client, const request_t *request) {
    unsigned char *at = client->head + HEADER;
    uint64_t offset = request->share ? (uint64_t)(request->data - request->share->base) : 0;
    uint32_t number = request->share ? request->share->number : 0;
    memset(client->head, 0, sizeof client->head);
    put_header(client->head, request->kind, body_size(request), request->id);
    if (request->kind == INFER) {
        memcpy(at, request->interface, 16);
        put(at + 16, client->deadline_us, 8);
        put(at + 24, request->share != NULL, 4);
        put(at + 32, number, 4);
        put(at + 40, offset, 8);
        client->head_size = HEADER + INFER_HEAD + (request->share ? INFER_PLACE : 0);
        return;
    }
    if (request->kind == REPORT) {
        put(at, request->answer, 8);
        put(at + 8, request->release, 8);
        put(at + 16, request->good != 0, 1);
        client->head_size = HEADER + REPORT_HEAD;
        return;
    }
    const lt_picture *picture = &request->picture;
    put(at, client->deadline_us, 8);
    put(at + 8, request->share != NULL, 4);
    put(at + 12, (uint64_t)picture->format, 4);
    put(at + 16, picture->width, 4);
    put(at + 20, picture->height, 4);
    for (int i = 0; i < 3; i++) {
        put(at + 24 + 4 * i, picture->strides[i], 4);
        put(at + 36 + 4 * i, picture->offsets[i], 4);
    }
    put(at + 48, request->size, 4);
    put(at + 52, request->options_size, 4);
    put(at + 56, number, 4);
    put(at + 64, offset, 8);
    client->head_size = HEADER + DETECT_HEAD;
}

/* Sends what the runtime takes now. An end that takes nothing more shows when it is read from. */
static void send_requests(lt_client *client) {
    while (client->sent < client->count && !client->deaf) {
        const request_t *request = &client->ring[(client->first + client->sent) % LT_IN_FLIGHT];
        if (client->part_sent == 0)
            make_head(client, request);
        struct iovec parts[3] = {
            {client->head, client->head_size},
            {request->options, request->options_size},
            {(void *)(uintptr_t)request->data, request->share ? 0 : request->size},
        };
        size_t skip = client->part_sent, left = 0;
        for (int i = 0; i < 3; i++) {
            size_t less = skip < parts[i].iov_len ? skip : parts[i].iov_len;
            parts[i].iov_base = less ? (char *)parts[i].iov_base + less : parts[i].iov_base;
            left += parts[i].iov_len -= less;
            skip -= less;
        }
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
        ssize_t went = sendmsg(client->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (went < 0 && errno == EINTR)
            continue;
        if (went < 0) {
            client->deaf = errno != EAGAIN;
            return;
        }
        client->part_sent += (size_t)went;
        if ((size_t)went == left) {
            client->part_sent = 0;
            client->sent++;
        }
    }
}

/* SHARE, with the memory beside it or to give it up. Nothing else is on its way: so short, it goes as a whole. */
static void send_share(lt_client *client, lt_share *share) {
    union {
        struct cmsghdr header; /* aligns it */
        char bytes[CMSG_SPACE(sizeof(int))];
    } beside;
    unsigned char frame[HEADER + 64];
    int drops = share->state == DROPPING;
    int size = snprintf((char *)frame + HEADER, 64, drops ? "{\"drop\":%llu}" : "{\"size\":%llu}",
                        drops ? (unsigned long long)share->number : (unsigned long long)share->size);
    struct iovec part = {frame, HEADER + (size_t)size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (!drops) {
        memset(&beside, 0, sizeof beside);
        message.msg_control = &beside;
        message.msg_controllen = sizeof beside.bytes;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(head), &share->memfd, sizeof(int));
    }
    put_header(frame, SHARE, (size_t)size, ++client->last_id);
    if (sendmsg(client->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)part.iov_len)
        client->deaf = errno != EINTR && errno != EAGAIN && errno != ETOOMANYREFS;
    else {
        client->asked = share;
        client->asked_id = client->last_id;
    }
}

/* The share that the runtime has to be told of before anything is asked, or NULL. */
static lt_share *untold(lt_client *client) {
    for (int i = 0; i < MAX_SHARES; i++)
        if (client->shares[i].state == NEW || client->shares[i].state == DROPPING)
            return &client->shares[i];
    return NULL;
}

static void send_some(lt_client *client) {
    lt_share *share;
    if (client->state != OPEN || client->asked)
        return;
    if ((share = untold(client)))
        send_share(client, share);
    else
        send_requests(client);
}

/* --- frames in, and the life of a connection --- */

static request_t *oldest(lt_client *client) { return &client->ring[client->first]; }

static void forget_oldest(lt_client *client) {
    free(oldest(client)->options);
    oldest(client)->options = NULL;
    client->first = (client->first + 1) % LT_IN_FLIGHT;
    client->count--;
    client->sent--;
    client->troubled_ms = client->backoff_ms = 0;
}

static void free_share(lt_share *share) {
    munmap(share->base, share->size);
    close(share->memfd);
    memset(share, 0, sizeof *share);
}

/* The connection is gone. What was not answered is asked again on the next, in wait_ms. */
static void lose(lt_client *client, int wait_ms) {
    int64_t now = now_ms();
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->state = AWAY;
    client->deaf = 0;
    client->start = client->end = client->taken = 0;
    client->sent = client->part_sent = 0;
    client->asked = NULL;
    for (lt_share *share = client->shares; share < client->shares + MAX_SHARES; share++) {
        if (share->state == DROPPING)
            free_share(share);
        else if (share->state == SHARED)
            share->state = NEW;
    }
    if (!client->troubled_ms)
        client->troubled_ms = now;
    client->retry_ms = now + (wait_ms > client->backoff_ms ? wait_ms : client->backoff_ms);
    client->backoff_ms = client->backoff_ms ? client->backoff_ms * 2 : BACKOFF_MS;
    if (client->backoff_ms > MAX_BACKOFF_MS)
        client->backoff_ms = MAX_BACKOFF_MS;
}

/* Ends the connection for good, and with it all that was in flight. A later call begins anew. Gives FAILED. */
static int give_up(lt_client *client) {
    lose(client, 0);
    for (; client->count; client->count--) {
        free(oldest(client)->options);
        oldest(client)->options = NULL;
        client->first = (client->first + 1) % LT_IN_FLIGHT;
    }
    client->troubled_ms = client->retry_ms = client->backoff_ms = 0;
    return FAILED;
}

static void connect_now(lt_client *client) {
    client->troubled_ms = client->troubled_ms ? client->troubled_ms : now_ms();
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&client->address, sizeof client->address) < 0) {
        const char *remedy = "see that littoral-runtime runs";
        if (errno == EACCES)
            remedy = "join the group that the socket belongs to";
        fail(&client->trouble, "unreachable", remedy, "%s: %s", client->address.sun_path, strerror(errno));
        lose(client, 0);
        return;
    }
    client->state = GREETING;
    fail(&client->trouble, "unreachable", "see that littoral-runtime runs, and its log", "no WELCOME came within %d ms",
         client->timeout_ms);
    if (send(client->fd, client->hello, client->hello_size, MSG_NOSIGNAL) != (ssize_t)client->hello_size)
        client->deaf = 1;
}

/* The connection is good for what it was made for. */
static int open_now(lt_client *client) {
    client->state = OPEN;
    fail(&client->trouble, "unreachable", "see that littoral-runtime runs, and its log", "the connection ended");
    if (!client->count && !untold(client))
        client->troubled_ms = client->backoff_ms = 0;
    return PROGRESS;
}

static int take_welcome(lt_client *client, const unsigned char *body, size_t size, lt_error *error) {
    span_t welcome;
    int known = client->info != NULL;
    if (client->state != GREETING || client->leases || !read_object(body, size, &welcome))
        return strange(error, "a WELCOME that is out of place or not JSON");
    if (learn(client, welcome, error))
        return BROKEN;
    if (!known)
        interface_bytes(client->info, client->made_for);
    return open_now(client);
}

static int take_event(lt_client *client, const unsigned char *body, size_t size, lt_error *error) {
    span_t event;
    char name[16] = "";
    uint64_t count;
    if (!read_object(body, size, &event) || !is(member(event, "event"), '"'))
        return strange(error, "an EVENT that cannot be read");
    take_text(member(event, "event"), name, sizeof name);
    if (!strcmp(name, "dropped") && take_number(member(event, "count"), UINT64_MAX, &count))
        client->dropped += count;
    return !strcmp(name, "changed") && learn(client, member(event, "welcome"), error) ? BROKEN : PROGRESS;
}

static int take_error(lt_client *client, uint64_t id, span_t said, lt_answer *answer, lt_error *error) {
    uint64_t retry_ms = 0;
    memset(error, 0, sizeof *error);
    take_text(member(said, "code"), error->code, sizeof error->code);
    take_text(member(said, "cause"), error->cause, sizeof error->cause);
    if (is(member(said, "remedy"), '"'))
        take_text(member(said, "remedy"), error->remedy, sizeof error->remedy);
    take_number(member(said, "retry_after_ms"), 86400000, &retry_ms);
    error->retry_after_ms = (uint32_t)retry_ms;
    if (client->asked && id == client->asked_id) { /* what is in flight may need it, on a new connection */
        if (client->asked->state == DROPPING)
            free_share(client->asked);
        client->asked = NULL;
        return client->count ? give_up(client) : FAILED;
    }
    if (id == 0 || client->state == GREETING) {
        if (strcmp(error->code, "busy"))
            return give_up(client);
        client->trouble = *error;
        lose(client, (int)retry_ms);
        return PROGRESS;
    }
    if (!client->sent || id != oldest(client)->id)
        return strange(error, "an ERROR about nothing that was asked");
    forget_oldest(client);
    answer->id = id;
    lt_error unread;
    if (!strcmp(error->code, "stale-interface") && learn(client, member(said, "welcome"), &unread)) {
        *error = unread;
        return BROKEN;
    }
    return FAILED;
}

static int take_info_frame(lt_client *client, uint64_t id, const unsigned char *body, size_t size, lt_answer *answer,
                           lt_error *error) {
    span_t info, counted;
    uint64_t number;
    lt_share *share = client->asked;
    if (client->leases && client->state == GREETING && id == 0 && read_object(body, size, &info))
        return open_now(client);
    if (client->sent && oldest(client)->kind == REPORT && oldest(client)->id == id && read_object(body, size, &info)) {
        counted = member(info, "counted");
        *answer = (lt_answer){.id = id, .kind = LT_REPORTED, .data = body, .count = is(counted, 't') ? 1 : 0};
        forget_oldest(client);
        return ANSWERED;
    }
    if (!share || id != client->asked_id || !read_object(body, size, &info))
        return strange(error, "an INFO about nothing that was asked");
    client->asked = NULL;
    if (!client->count)
        client->troubled_ms = client->backoff_ms = 0;
    if (share->state == DROPPING) {
        free_share(share);
        return PROGRESS;
    }
    if (!take_number(member(info, "share"), UINT32_MAX, &number))
        return strange(error, "an INFO without the number of a share");
    share->number = (uint32_t)number;
    share->state = SHARED;
    return PROGRESS;
}

/* ANSWER or RESULT. */
static int take_answer(lt_client *client, int kind, uint64_t id, const unsigned char *body, size_t size,
                       lt_answer *answer, lt_error *error) {
    static const uint32_t least[] = {0, 8, 24, 24, 1, 4, 1}; /* bytes of an item, by kind */
    size_t head = kind == ANSWER ? ANSWER_HEAD : RESULT_HEAD;
    if (size < head)
        return strange(error, "an answer without its head");
    int asked = client->sent && oldest(client)->id == id && oldest(client)->kind == (kind == ANSWER ? INFER : DETECT);
    if (!client->subscribes && !asked)
        return strange(error, "an answer to nothing that was asked");
    *answer = (lt_answer){.id = id, .kind = LT_RAW, .data = body + head, .size = size - head, .item_bytes = 1};
    unsigned stage = body[kind == ANSWER ? 16 : 48];
    if (kind == ANSWER) {
        answer->release = get(body, 8);
        answer->queued_us = (uint32_t)get(body + 8, 4);
        answer->invoked_us = (uint32_t)get(body + 12, 4);
        answer->count = (uint32_t)answer->size;
    } else {
        memcpy(answer->interface, body, 16);
        answer->release = get(body + 16, 8);
        answer->queued_us = (uint32_t)get(body + 24, 4);
        answer->prepared_us = (uint32_t)get(body + 28, 4);
        answer->invoked_us = (uint32_t)get(body + 32, 4);
        answer->decoded_us = (uint32_t)get(body + 36, 4);
        answer->width = (uint32_t)get(body + 40, 4);
        answer->height = (uint32_t)get(body + 44, 4);
        answer->kind = (lt_kind)body[49];
        answer->item_bytes = (uint32_t)get(body + 50, 2);
        answer->count = (uint32_t)get(body + 52, 4);
        if (body[49] > LT_RAW || (answer->count && answer->item_bytes < least[body[49]]))
            return strange(error, "a RESULT of a kind that is not known here");
    }
    if (stage > LT_LOCAL || (uint64_t)answer->item_bytes * answer->count != answer->size)
        return strange(error, "an answer that contradicts itself");
    answer->stage = (lt_stage)stage;
    answer->dropped = client->dropped;
    client->dropped = 0;
    if (!client->subscribes)
        forget_oldest(client);
    return ANSWERED;
}

static int take_frame(lt_client *client, const unsigned char *frame, size_t size, lt_answer *answer, lt_error *error) {
    const unsigned char *body = frame + HEADER;
    uint64_t id = get(frame + 8, 8);
    span_t said;
    switch (frame[3]) {
    case WELCOME:
        return take_welcome(client, body, size, error);
    case ANSWER:
    case RESULT:
        return take_answer(client, frame[3], id, body, size, answer, error);
    case EVENT:
        return take_event(client, body, size, error);
    case INFO:
        return take_info_frame(client, id, body, size, answer, error);
    case ERROR:
        if (read_object(body, size, &said) && is(member(said, "code"), '"') && is(member(said, "cause"), '"'))
            return take_error(client, id, said, answer, error);
        return strange(error, "an ERROR that cannot be read");
    default:
        return strange(error, "a frame of a kind that is not for clients");
    }
}

/* Takes the next whole frame, if there is one, and makes room for the next. */
static int take_received(lt_client *client, lt_answer *answer, lt_error *error) {
    client->start += client->taken;
    client->taken = 0;
    if (client->start == client->end)
        client->start = client->end = 0;
    const unsigned char *frame = client->in + client->start;
    size_t held = client->end - client->start, size = HEADER;
    if (held >= HEADER) {
        int large = frame[3] == ANSWER || frame[3] == RESULT;
        size += (size_t)get(frame + 4, 4);
        if (memcmp(frame, "Lt\1", 3) || size - HEADER > (large ? (size_t)MAX_BODY : (size_t)MAX_JSON)) {
            strange(error, "bytes that are not the protocol, or a frame that is too large");
            return give_up(client);
        }
    }
    if (held < size || client->start % 8) { /* to the front: tensors behind a head are aligned then */
        memmove(client->in, frame, held);
        client->start = 0;
        client->end = held;
    }
    if (size > client->room) {
        unsigned char *in = realloc(client->in, size);
        if (!in) {
            no_memory(error);
            return give_up(client);
        }
        client->in = in;
        client->room = size;
    }
    if (held < size)
        return NOTHING;
    client->taken = size;
    int got = take_frame(client, client->in + client->start, size - HEADER, answer, error);
    if (got == BROKEN) {
        answer->id = 0;
        return give_up(client);
    }
    return got;
}

static void receive(lt_client *client) {
    ssize_t came = recv(client->fd, client->in + client->end, client->room - client->end, MSG_DONTWAIT);
    if (came > 0)
        client->end += (size_t)came;
    else if (came == 0 || (errno != EAGAIN && errno != EINTR))
        lose(client, 0);
}

/* One step: a frame that came, or else connecting, sending and waiting, until until_ms at most. */
static int advance(lt_client *client, int64_t until_ms, lt_answer *answer, lt_error *error) {
    answer->id = 0;
    int got = take_received(client, answer, error);
    if (got != NOTHING)
        return got;
    int64_t now = now_ms(), wake = until_ms;
    if (client->state != OPEN) {
        if (client->troubled_ms && now - client->troubled_ms > client->timeout_ms) {
            *error = client->trouble;
            return give_up(client);
        }
        if (client->troubled_ms && client->troubled_ms + client->timeout_ms < wake)
            wake = client->troubled_ms + client->timeout_ms + 1;
        if (client->state == AWAY && now >= client->retry_ms) {
            connect_now(client);
            return PROGRESS;
        }
        if (client->state == AWAY && client->retry_ms < wake)
            wake = client->retry_ms;
    }
    send_some(client);
    int unsent = client->state == OPEN && !client->deaf && !client->asked;
    unsent = unsent && (untold(client) || client->sent < client->count);
    struct pollfd wanted = {client->fd, (short)(POLLIN | (unsent ? POLLOUT : 0)), 0};
    int64_t wait = wake - now;
    int ready = poll(&wanted, 1, wait < 0 ? 0 : wait > 60000 ? 60000 : (int)wait);
    if (ready <= 0)
        return now_ms() < until_ms || wake < until_ms ? PROGRESS : NOTHING;
    int held = client->leases && client->state == OPEN;
    if (wanted.revents & ~POLLOUT)
        receive(client);
    if (held && client->state != OPEN) { /* a lease that was lost is the app's to take anew */
        *error = client->trouble;
        return give_up(client);
    }
    return PROGRESS;
}

/* --- what the app calls --- */

int lt_open(lt_client **opened, const char *model, const lt_options *options, lt_error *error) {
    static const lt_options usual;
    lt_error unwanted;
    lt_answer none;
    error = error ? error : &unwanted;
    options = options ? options : &usual;
    const char *set = getenv("LITTORAL_SOCKET");
    const char *path = options->socket ? options->socket : set && *set ? set : "/run/littoral/query.sock";
    *opened = NULL;
    lt_client *client = calloc(1, sizeof *client);
    if (client)
        client->in = malloc(client->room = 65536);
    if (!client || !client->in) {
        free(client);
        no_memory(error);
        return FAILED;
    }
    client->fd = -1;
    client->timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : 30000;
    client->deadline_us = options->deadline_us;
    client->subscribes = options->subscribe;
    client->leases = options->lease;
    client->address.sun_family = AF_UNIX;
    int got = PROGRESS;
    if (strlen(path) >= sizeof client->address.sun_path)
        got = fail(error, "socket-path", "choose a shorter one", "%.200s ... is too long for a Unix socket", path);
    else
        strcpy(client->address.sun_path, path);
    if (got == PROGRESS && !make_hello(client, model, options))
        got = fail(error, "protocol", "", "the names of model, client and signature are too long for a HELLO");
    while (got == PROGRESS && client->state != OPEN) /* which knows itself for how long */
        got = advance(client, INT64_MAX, &none, error);
    if (client->state != OPEN) {
        lt_close(client);
        return FAILED;
    }
    *opened = client;
    return 0;
}

void lt_close(lt_client *client) {
    if (!client)
        return;
    give_up(client);
    for (lt_share *share = client->shares; share < client->shares + MAX_SHARES; share++)
        if (share->state != FREE)
            free_share(share);
    free(client->info);
    free(client->in);
    free(client);
}

const lt_info *lt_get_info(lt_client *client) {
    if (client->info)
        interface_bytes(client->info, client->made_for);
    return client->info;
}

/* Finds the share that holds the bytes, if one does, and sees that no request in flight has the same slot. */
static int find_share(lt_client *client, request_t *request, lt_error *error) {
    for (const lt_share *share = client->shares; share < client->shares + MAX_SHARES; share++) {
        if (share->state == FREE || request->data < share->base || request->data >= share->base + share->size)
            continue;
        size_t offset = (size_t)(request->data - share->base), slot = offset / share->slot_bytes;
        if (request->size > share->slot_bytes - offset % share->slot_bytes)
            return fail(error, "bad-share", "", "%zu bytes do not lie within one slot", request->size);
        for (size_t i = 0; i < client->count; i++) {
            const request_t *other = &client->ring[(client->first + i) % LT_IN_FLIGHT];
            if (other->share == share && (size_t)(other->data - share->base) / share->slot_bytes == slot)
                return fail(error, "bad-share", "take one from lt_share_slot", "a slot whose answer has not come");
        }
        request->share = share;
    }
    return 0;
}

/* Takes a request into the ring, whose options become the ring's, and sends what can be sent. */
static int submit(lt_client *client, request_t request, uint64_t *id, lt_error *error) {
    int got = 0;
    if (client->leases || (client->subscribes && request.kind != REPORT))
        got = fail(error, "unsupported", "open another client", "a subscriber or a lease cannot ask");
    else if (client->count == LT_IN_FLIGHT)
        got = fail(error, "busy", "take answers by lt_poll", "%d requests are in flight", LT_IN_FLIGHT);
    else
        got = find_share(client, &request, error);
    if (!got && (request.size > UINT32_MAX || body_size(&request) > client->info->max_frame_bytes))
        got = fail(error, "frame-too-large", "", "a request of %zu bytes, the limit is %llu", request.size,
                   (unsigned long long)client->info->max_frame_bytes);
    if (got) {
        free(request.options);
        return got;
    }
    *id = request.id = ++client->last_id;
    client->ring[(client->first + client->count++) % LT_IN_FLIGHT] = request;
    send_some(client);
    return 0;
}

int lt_submit(lt_client *client, const void *data, size_t size, uint64_t *id, lt_error *error) {
    lt_error unwanted;
    request_t request = {.kind = INFER, .data = data, .size = size};
    memcpy(request.interface, client->made_for, sizeof request.interface);
    return submit(client, request, id, error ? error : &unwanted);
}

int lt_submit_detect(lt_client *client, const lt_picture *picture, const lt_wishes *wishes, uint64_t *id,
                     lt_error *error) {
    lt_error unwanted;
    request_t request = {.kind = DETECT, .data = picture->data, .size = picture->size, .picture = *picture};
    error = error ? error : &unwanted;
    if (wishes && !(request.options = make_options(wishes, &request.options_size)))
        return fail(error, "bad-picture", "scores are 0 to 1", "wishes that cannot be said in %d bytes", MAX_OPTIONS);
    return submit(client, request, id, error);
}

int lt_poll(lt_client *client, int timeout_ms, lt_answer *answer, lt_error *error) {
    lt_error unwanted;
    int64_t until = now_ms() + timeout_ms;
    int got;
    while ((got = advance(client, until, answer, error ? error : &unwanted)) == PROGRESS)
        ;
    return got;
}

int lt_submit_report(lt_client *client, const lt_answer *answer, int good, const char *note, uint64_t *id,
                     lt_error *error) {
    lt_error unwanted;
    request_t request = {.kind = REPORT, .answer = answer->id, .release = answer->release, .good = good};
    error = error ? error : &unwanted;
    request.options_size = note ? strlen(note) : 0;
    if (request.options_size > LT_NOTE_BYTES)
        return fail(error, "bad-report", "", "a note of %zu bytes, the limit is %d", request.options_size,
                    LT_NOTE_BYTES);
    if (request.options_size && !(request.options = malloc(request.options_size))) {
        no_memory(error);
        return FAILED;
    }
    if (request.options)
        memcpy(request.options, note, request.options_size);
    return submit(client, request, id, error);
}

/* Waits for the one answer in flight. */
static int finish(lt_client *client, lt_answer *answer, lt_error *error) {
    lt_error unwanted;
    int got = lt_poll(client, client->timeout_ms, answer, error);
    if (got == NOTHING) {
        give_up(client); /* its bytes are the caller's again */
        return fail(error ? error : &unwanted, "deadline", "", "no answer came within %d ms", client->timeout_ms);
    }
    return got == ANSWERED ? 0 : FAILED;
}

static int idle(const lt_client *client, lt_error *error) {
    lt_error unwanted;
    if (client->count)
        fail(error ? error : &unwanted, "busy", "take answers by lt_poll", "%zu requests are in flight", client->count);
    return !client->count;
}

int lt_infer(lt_client *client, const void *data, size_t size, lt_answer *answer, lt_error *error) {
    uint64_t id;
    if (!idle(client, error) || lt_submit(client, data, size, &id, error))
        return FAILED;
    return finish(client, answer, error);
}

int lt_detect(lt_client *client, const lt_picture *picture, const lt_wishes *wishes, lt_answer *answer,
              lt_error *error) {
    uint64_t id;
    if (!idle(client, error) || lt_submit_detect(client, picture, wishes, &id, error))
        return FAILED;
    return finish(client, answer, error);
}

int lt_report(lt_client *client, const lt_answer *answer, int good, const char *note, lt_error *error) {
    lt_error unwanted;
    lt_answer told;
    uint64_t id;
    error = error ? error : &unwanted;
    if (client->subscribes)
        return fail(error, "unsupported", "call lt_submit_report", "a subscriber does not wait for one report");
    if (!idle(client, error) || lt_submit_report(client, answer, good, note, &id, error))
        return FAILED;
    return finish(client, &told, error);
}

/* --- shared memory --- */

/* Waits until the runtime has taken note of the share. */
static int tell_share(lt_client *client, lt_share *share, lt_error *error) {
    int64_t until = now_ms() + client->timeout_ms;
    lt_answer none;
    int got = PROGRESS;
    while (got == PROGRESS && (share->state == NEW || share->state == DROPPING))
        got = advance(client, until, &none, error);
    if (got == NOTHING) {
        give_up(client);
        return fail(error, "deadline", "", "no answer to SHARE came within %d ms", client->timeout_ms);
    }
    return got == PROGRESS ? 0 : FAILED;
}

int lt_share_open(lt_client *client, size_t slot_bytes, uint32_t slots, lt_share **opened, lt_error *error) {
    lt_error unwanted;
    lt_share *share = client->shares;
    error = error ? error : &unwanted;
    *opened = NULL;
    if (!idle(client, error))
        return FAILED;
    while (share < client->shares + MAX_SHARES && share->state != FREE)
        share++;
    size_t each = (slot_bytes + SLOT_ALIGN - 1) / SLOT_ALIGN * SLOT_ALIGN, size = each * slots;
    if (client->subscribes || client->leases || share == client->shares + MAX_SHARES)
        return fail(error, "bad-share", "", "a subscriber or a lease has none, and others at most %d", MAX_SHARES);
    if (each < slot_bytes || size == 0 || size / slots != each)
        return fail(error, "bad-share", "", "%u slots of %zu bytes", (unsigned)slots, slot_bytes);
    int memfd = memfd_create("littoral-share", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *base = MAP_FAILED;
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    if (memfd >= 0 && !ftruncate(memfd, (off_t)size) && !fcntl(memfd, F_ADD_SEALS, seals))
        base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    if (base == MAP_FAILED) {
        fail(error, "bad-share", "", "no shared memory of %zu bytes: %s", size, strerror(errno));
        if (memfd >= 0)
            close(memfd);
        return FAILED;
    }
    *share = (lt_share){client, NEW, 0, memfd, base, each, size};
    if (tell_share(client, share, error)) {
        free_share(share);
        return FAILED;
    }
    *opened = share;
    return 0;
}

int lt_share_close(lt_share *share, lt_error *error) {
    lt_error unwanted;
    lt_client *client = share->client;
    error = error ? error : &unwanted;
    if (!idle(client, error))
        return FAILED;
    if (share->state == NEW) {
        free_share(share);
        return 0;
    }
    share->state = DROPPING;
    return tell_share(client, share, error);
}

void *lt_share_slot(lt_share *share) {
    const lt_client *client = share->client;
    for (unsigned char *slot = share->base; slot < share->base + share->size; slot += share->slot_bytes) {
        int taken = 0;
        for (size_t i = 0; i < client->count && !taken; i++) {
            const unsigned char *data = client->ring[(client->first + i) % LT_IN_FLIGHT].data;
            taken = data >= slot && data < slot + share->slot_bytes;
        }
        if (!taken)
            return slot;
    }
    return NULL;
}

/* --- readers of answers --- */

static const unsigned char *item_at(const lt_answer *answer, uint32_t index) {
    return index < answer->count ? (const unsigned char *)answer->data + (size_t)index * answer->item_bytes : NULL;
}

lt_item lt_item_at(const lt_answer *answer, uint32_t index) {
    lt_item item = {0};
    const unsigned char *at = item_at(answer, index);
    if (!at || answer->kind < LT_CLASSES || answer->kind > LT_POSES)
        return item;
    item.label = (uint32_t)get(at, 4);
    item.score = get_float(at + 4);
    if (answer->kind == LT_CLASSES)
        return item;
    item.x0 = get_float(at + 8);
    item.y0 = get_float(at + 12);
    item.x1 = get_float(at + 16);
    item.y1 = get_float(at + 20);
    return item;
}

uint32_t lt_point_count(const lt_answer *answer) {
    return answer->kind == LT_POSES && answer->count ? (answer->item_bytes - 24) / 12 : 0;
}

lt_point lt_point_at(const lt_answer *answer, uint32_t index, uint32_t point) {
    const unsigned char *at = item_at(answer, index);
    if (!at || point >= lt_point_count(answer))
        return (lt_point){0};
    at += 24 + 12 * (size_t)point;
    return (lt_point){get_float(at), get_float(at + 4), get_float(at + 8)};
}

uint8_t lt_mask_at(const lt_answer *answer, uint32_t x, uint32_t y) {
    if (answer->kind != LT_MASK || x >= answer->width || y >= answer->height || !answer->count)
        return 255;
    const unsigned char *row = item_at(answer, (uint32_t)((uint64_t)y * answer->count / answer->height));
    return row[(uint64_t)x * answer->item_bytes / answer->width];
}

float lt_value_at(const lt_answer *answer, uint32_t index) {
    const unsigned char *at = item_at(answer, index);
    return at && answer->kind == LT_EMBEDDING ? get_float(at) : 0;
}

const char *lt_label(const lt_client *client, const lt_answer *answer, uint32_t label) {
    static const unsigned char raw[16];
    unsigned char known[16];
    interface_bytes(client->info, known);
    int same = !memcmp(known, answer->interface, 16) || !memcmp(raw, answer->interface, 16);
    return same && label < client->info->label_count ? client->info->labels[label] : "";
}
