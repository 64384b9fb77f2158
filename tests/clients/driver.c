/* driver.c: the C client at the end of a pipe, for tests. Reads one command a line and prints one JSON object a line.
 *
 *     open MODEL [socket=P] [client=T] [signature=T] [latest=1] [subscribe=1] [lease=1] [timeout_ms=N]
 *          [deadline_us=N]
 *     info | close | share SLOT_BYTES SLOTS | unshare | slot
 *     infer PATH | submit PATH | poll MS
 *     detect FORMAT WIDTH HEIGHT PATH [threshold=F] [overlap=F] [top=N] [label=T] [stride=N] [offset=N]
 *     see ... as detect, and does not wait
 *     report ANSWER RELEASE GOOD [note=T] | tell ... as report, and does not wait
 *
 * A PATH that begins with ! is read into a free slot of the share; one with = into the slot taken last, free or not.
 */
#include "littoral.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_WORDS = 16, MOST_BUFFERS = 512 };

static lt_client *client;
static lt_share *share;
static void *buffers[MOST_BUFFERS]; /* of requests in flight: kept to the end */
static size_t buffer_count;

static void say_text(const char *name, const char *text) {
    printf(",\"%s\":\"", name);
    for (; *text; text++)
        if (*text == '"' || *text == '\\' || (unsigned char)*text < 0x20)
            printf("\\u%04x", (unsigned char)*text);
        else
            putchar(*text);
    printf("\"");
}

static void say_error(const lt_error *error, uint64_t id) {
    printf("{\"error\":\"%s\",\"id\":%" PRIu64 ",\"retry_after_ms\":%u", error->code, id, error->retry_after_ms);
    say_text("cause", error->cause);
    say_text("remedy", error->remedy);
    printf("}\n");
}

static void say_tensors(const char *name, const lt_tensor *tensors, size_t count) {
    printf(",\"%s\":[", name);
    for (size_t i = 0; i < count; i++) {
        const lt_tensor *tensor = &tensors[i];
        printf("%s{\"scale\":%.17g,\"zero_point\":%" PRId64 ",\"offset\":%zu,\"size\":%zu", i ? "," : "",
               tensor->scale, tensor->zero_point, tensor->offset, tensor->size);
        say_text("name", tensor->name);
        say_text("dtype", tensor->dtype);
        printf(",\"shape\":[");
        for (uint32_t side = 0; side < tensor->rank; side++)
            printf("%s%u", side ? "," : "", tensor->shape[side]);
        printf("]}");
    }
    printf("]");
}

static void say_info(const lt_info *info) {
    printf("{\"release\":%" PRIu64 ",\"stage\":%d,\"detect\":%d", info->release, info->stage,
           info->detects ? (int)info->detect : -1);
    say_text("model", info->model);
    say_text("version", info->version);
    say_text("engine", info->engine);
    say_text("signature", info->signature);
    say_text("interface", info->interface);
    say_tensors("inputs", info->inputs, info->input_count);
    say_tensors("outputs", info->outputs, info->output_count);
    printf(",\"labels\":%zu,\"input_bytes\":%zu,\"output_bytes\":%zu", info->label_count, info->input_bytes,
           info->output_bytes);
    printf(",\"signatures\":%zu,\"limits\":[%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]}\n", info->signature_count,
           info->max_frame_bytes, info->max_shares, info->max_share_bytes);
}

static void say_items(const lt_answer *answer) {
    printf(",\"items\":[");
    for (uint32_t i = 0; i < answer->count && answer->kind >= LT_CLASSES && answer->kind <= LT_POSES; i++) {
        lt_item item = lt_item_at(answer, i);
        printf("%s{\"label\":%u,\"score\":%.9g,\"box\":[%.9g,%.9g,%.9g,%.9g]", i ? "," : "", item.label, item.score,
               item.x0, item.y0, item.x1, item.y1);
        say_text("name", lt_label(client, answer, item.label));
        printf(",\"points\":[");
        for (uint32_t j = 0; j < lt_point_count(answer); j++) {
            lt_point point = lt_point_at(answer, i, j);
            printf("%s[%.9g,%.9g,%.9g]", j ? "," : "", point.x, point.y, point.score);
        }
        printf("]}");
    }
    printf("],\"values\":[");
    for (uint32_t i = 0; i < answer->count && answer->kind == LT_EMBEDDING; i++)
        printf("%s%.9g", i ? "," : "", lt_value_at(answer, i));
    printf("],\"corners\":[%d,%d]", lt_mask_at(answer, 0, 0),
           answer->width && answer->height ? lt_mask_at(answer, answer->width - 1, answer->height - 1) : 255);
}

static void say_answer(const lt_answer *answer) {
    printf("{\"id\":%" PRIu64 ",\"release\":%" PRIu64, answer->id, answer->release);
    printf(",\"dropped\":%" PRIu64, answer->dropped);
    printf(",\"stage\":%d,\"kind\":%d,\"size\":[%u,%u]", answer->stage, answer->kind, answer->width, answer->height);
    printf(",\"count\":%u", answer->count);
    printf(",\"times\":[%u,%u,%u,%u]", answer->queued_us, answer->prepared_us, answer->invoked_us, answer->decoded_us);
    say_items(answer);
    printf(",\"aligned\":%s,\"data\":\"", (uintptr_t)answer->data % 8 ? "false" : "true");
    for (size_t i = 0; i < answer->size; i++)
        printf("%02x", ((const unsigned char *)answer->data)[i]);
    printf("\"}\n");
}

/* The file's bytes, in memory kept to the end or in a slot; NULL where there is none. */
static void *load(const char *path, size_t *size) {
    static void *slot;
    int shared = path[0] == '!' || path[0] == '=';
    FILE *file = fopen(path + shared, "rb");
    if (!file || buffer_count == MOST_BUFFERS)
        exit(3);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    if (path[0] == '!')
        slot = lt_share_slot(share);
    void *bytes = shared ? slot : malloc(*size + 1);
    if (bytes && !shared)
        buffers[buffer_count++] = bytes;
    if (bytes && fread(bytes, 1, *size, file) != *size)
        exit(3);
    fclose(file);
    return bytes;
}

static const char *option(char **words, const char *name) {
    size_t size = strlen(name);
    for (; *words; words++)
        if (!strncmp(*words, name, size) && (*words)[size] == '=')
            return *words + size + 1;
    return NULL;
}

static long long number(char **words, const char *name) {
    const char *text = option(words, name);
    return text ? atoll(text) : 0;
}

static void open_client(char **words) {
    lt_error error;
    lt_options options = {
        .socket = option(words, "socket"),
        .client = option(words, "client"),
        .signature = option(words, "signature"),
        .latest = (int)number(words, "latest"),
        .subscribe = (int)number(words, "subscribe"),
        .lease = (int)number(words, "lease"),
        .timeout_ms = (int)number(words, "timeout_ms"),
        .deadline_us = (uint64_t)number(words, "deadline_us"),
    };
    if (lt_open(&client, words[1], &options, &error))
        say_error(&error, 0);
    else
        printf("{\"id\":0}\n");
}

/* infer, submit, detect, see */
static void ask(char **words) {
    const char *label = option(words, "label");
    const char *threshold = option(words, "threshold"), *overlap = option(words, "overlap");
    int detects = words[0][0] == 'd' || words[0][1] == 'e', waits = words[0][0] != 's';
    lt_wishes wishes = {.threshold = threshold ? atof(threshold) : 0,
                        .overlap = overlap ? atof(overlap) : 0,
                        .top = (uint32_t)number(words, "top"),
                        .labels = &label,
                        .label_count = label != NULL};
    lt_picture picture = {0};
    lt_answer answer = {0};
    lt_error error;
    int failed;
    size_t size;
    void *data = load(words[detects ? 4 : 1], &size);
    if (detects) {
        uint32_t stride = (uint32_t)number(words, "stride"), offset = (uint32_t)number(words, "offset");
        picture = (lt_picture){(lt_format)atoi(words[1]), (uint32_t)atoi(words[2]), (uint32_t)atoi(words[3]),
                               {stride, stride, 0}, {0, offset, 0}, data, size};
    }
    const lt_wishes *wished = label || threshold || overlap || wishes.top ? &wishes : NULL;
    if (waits && detects)
        failed = lt_detect(client, &picture, wished, &answer, &error);
    else if (waits)
        failed = lt_infer(client, data, size, &answer, &error);
    else if (detects)
        failed = lt_submit_detect(client, &picture, wished, &answer.id, &error);
    else
        failed = lt_submit(client, data, size, &answer.id, &error);
    if (failed)
        say_error(&error, answer.id);
    else if (waits)
        say_answer(&answer);
    else
        printf("{\"id\":%" PRIu64 "}\n", answer.id);
}

/* report, tell */
static void report(char **words) {
    lt_answer answer = {.id = strtoull(words[1], NULL, 10), .release = strtoull(words[2], NULL, 10)};
    const char *note = option(words, "note");
    int good = atoi(words[3]);
    uint64_t id = 0;
    lt_error error;
    if (words[0][0] == 'r' ? lt_report(client, &answer, good, note, &error)
                           : lt_submit_report(client, &answer, good, note, &id, &error))
        say_error(&error, id);
    else
        printf("{\"id\":%" PRIu64 "}\n", id);
}

static void poll_once(int timeout_ms) {
    lt_answer answer;
    lt_error error;
    int got = lt_poll(client, timeout_ms, &answer, &error);
    if (got == 1)
        say_answer(&answer);
    else if (got == 0)
        printf("{}\n");
    else
        say_error(&error, answer.id);
}

static void use_share(char **words) {
    lt_error error;
    if (!strcmp(words[0], "slot")) {
        static unsigned char *first;
        unsigned char *slot = lt_share_slot(share);
        first = first ? first : slot;
        printf("{\"slot\":%ld}\n", slot ? (long)(slot - first) : -1L);
        return;
    }
    int failed = words[1] ? lt_share_open(client, (size_t)atoll(words[1]), (uint32_t)atoi(words[2]), &share, &error)
                          : lt_share_close(share, &error);
    if (failed)
        say_error(&error, 0);
    else
        printf("{\"id\":0}\n");
}

static void obey(char **words) {
    if (!strcmp(words[0], "open"))
        open_client(words);
    else if (!strcmp(words[0], "info") && lt_get_info(client))
        say_info(lt_get_info(client));
    else if (!strcmp(words[0], "info"))
        printf("{}\n");
    else if (!strcmp(words[0], "poll"))
        poll_once(atoi(words[1]));
    else if (strstr("share unshare slot", words[0]))
        use_share(words);
    else if (strstr("report tell", words[0]))
        report(words);
    else if (strstr("infer submit detect see", words[0]))
        ask(words);
    else if (!strcmp(words[0], "close")) {
        lt_close(client);
        client = NULL;
        printf("{\"id\":0}\n");
    } else
        exit(2);
    fflush(stdout);
}

int main(void) {
    static char line[8192];
    while (fgets(line, sizeof line, stdin)) {
        char *words[MOST_WORDS + 1] = {NULL};
        int count = 0;
        for (char *word = strtok(line, " \n"); word && count < MOST_WORDS; word = strtok(NULL, " \n"))
            words[count++] = word;
        obey(words);
    }
    lt_close(client);
    while (buffer_count)
        free(buffers[--buffer_count]);
    return 0;
}
