/* example.c: shows a model a picture, or random bytes, and prints what it answers.
 *
 *     cc -std=c99 -o example example.c littoral.c
 *     ./example MODEL                      random bytes as its inputs
 *     ./example MODEL photo.jpg            a JPEG
 *     ./example MODEL photo.ppm            a PPM (P6, 8 bits), written straight into memory shared with the runtime
 */
#include "littoral.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tell(const lt_error *error) {
    fprintf(stderr, "%s: %s. %s\n", error->code, error->cause, error->remedy);
    return 1;
}

/* What the model gives for random inputs: the first bytes of each output. */
static int ask_random(lt_client *client) {
    lt_answer answer;
    lt_error error;
    const lt_info *info = lt_get_info(client);
    size_t size = info->input_bytes;
    unsigned char *inputs = malloc(size + 1);
    if (!inputs)
        return 1;
    for (size_t i = 0; i < size; i++)
        inputs[i] = (unsigned char)rand();
    int failed = lt_infer(client, inputs, size, &answer, &error);
    free(inputs);
    if (failed)
        return tell(&error);
    info = lt_get_info(client);
    for (size_t i = 0; i < info->output_count; i++) {
        const lt_tensor *output = &info->outputs[i];
        const unsigned char *bytes = (const unsigned char *)answer.data + output->offset;
        printf("%s (%s, %zu bytes):", output->name, output->dtype, output->size);
        for (size_t at = 0; at < output->size && at < 16; at++)
            printf(" %02x", bytes[at]);
        printf("\n");
    }
    return 0;
}

static void print(const lt_client *client, const lt_answer *answer) {
    printf("release %llu, %u us in the model\n", (unsigned long long)answer->release, answer->invoked_us);
    for (uint32_t i = 0; i < answer->count && i < 5 && answer->kind <= LT_POSES; i++) {
        lt_item item = lt_item_at(answer, i);
        printf("%-20s %.3f", lt_label(client, answer, item.label), item.score);
        if (answer->kind != LT_CLASSES)
            printf("  %.0f,%.0f to %.0f,%.0f", item.x0, item.y0, item.x1, item.y1);
        printf("\n");
    }
}

/* A PPM goes into a shared slot, as a camera would write it; a JPEG is sent. */
static int ask_picture(lt_client *client, FILE *file) {
    lt_picture picture = {.format = LT_RGB24};
    lt_share *share = NULL;
    lt_answer answer;
    lt_error error;
    unsigned char *own = NULL, *frame;
    unsigned width, height;
    if (fscanf(file, "P6 %u %u 255", &width, &height) == 2 && fgetc(file) != EOF && width < 16384 && height < 16384) {
        picture.width = width;
        picture.height = height;
        picture.size = (size_t)width * height * 3;
        if (lt_share_open(client, picture.size, 2, &share, &error))
            return tell(&error);
        frame = lt_share_slot(share);
    } else {
        picture.format = LT_JPEG;
        fseek(file, 0, SEEK_END);
        picture.size = (size_t)ftell(file);
        frame = own = malloc(picture.size + 1);
        rewind(file);
    }
    picture.data = frame;
    int failed = !frame || fread(frame, 1, picture.size, file) != picture.size;
    if (failed)
        fprintf(stderr, "the file ends too early, or there is no memory for it\n");
    else if ((failed = lt_detect(client, &picture, NULL, &answer, &error)))
        tell(&error);
    else
        print(client, &answer);
    free(own);
    return failed != 0; /* lt_close ends the share too */
}

int main(int count, char **arguments) {
    lt_client *client;
    lt_error error;
    lt_options options = {.client = "example"};
    if (count < 2) {
        fprintf(stderr, "usage: %s MODEL [PICTURE]\n", arguments[0]);
        return 2;
    }
    if (lt_open(&client, arguments[1], &options, &error))
        return tell(&error);
    const lt_info *info = lt_get_info(client);
    printf("%s release %llu on %s\n", info->model, (unsigned long long)info->release, info->engine);
    int failed;
    if (count == 2) {
        failed = ask_random(client);
    } else {
        FILE *file = fopen(arguments[2], "rb");
        failed = file ? ask_picture(client, file) : 1;
        if (file)
            fclose(file);
        else
            perror(arguments[2]);
    }
    lt_close(client);
    return failed;
}
