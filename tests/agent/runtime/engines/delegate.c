/* A delegate for tests: an accelerator that this machine does not have.
 *
 * Options: log=FILE writes the process and what happens to it; fail=WHY cannot be opened; unfit=1 opens and then
 * refuses every model; delta=NUMBER takes each ADD of a tensor to itself and is wrong by that much.
 *
 * The structures are declared as far as they are used, as TFLite's C headers lay them out.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, ERROR = 1, ADD = 0 };

typedef struct { int size; int data[]; } IntArray;

typedef struct {
  int type;
  float *data;
  IntArray *dims;
  float scale;
  int32_t zero_point;
  int allocation_type;
  size_t bytes;
  char rest[64];
} Tensor;

typedef struct { IntArray *inputs, *outputs; } Node;

typedef struct Context Context;

typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  int (*prepare)(Context *, Node *);
  int (*invoke)(Context *, Node *);
  void *profiling_string;
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *later[6];
} Registration;

typedef struct Delegate Delegate;

struct Context {
  size_t tensors_size;
  int (*get_execution_plan)(Context *, IntArray **);
  Tensor *tensors;
  void *impl, *resize_tensor, *report_error, *add_tensors;
  int (*get_node_and_registration)(Context *, int, Node **, Registration **);
  int (*replace_node_subsets)(Context *, Registration, const IntArray *, Delegate *);
};

struct Delegate {
  void *data;
  int (*prepare)(Context *, Delegate *);
  void *copy_from_buffer, *copy_to_buffer, *free_buffer;
  int64_t flags;
  void *builder;
};

typedef struct {
  Delegate delegate;
  char log[4096];
  float delta;
  int claims, unfit;
} Ours;

static float delta; /* of the delegate that claimed last: a kernel is told no more than its node */

static void tell(const Ours *ours, const char *what) {
  FILE *log = *ours->log ? fopen(ours->log, "a") : NULL;
  if (!log) return;
  fprintf(log, "%d %s\n", (int)getpid(), what);
  fclose(log);
}

static int ready(Context *context, Node *node) {
  (void)context;
  (void)node;
  return OK;
}

static int run(Context *context, Node *node) {
  const Tensor *in = &context->tensors[node->inputs->data[0]];
  const Tensor *out = &context->tensors[node->outputs->data[0]];
  for (size_t i = 0; i < out->bytes / sizeof(float); i++) out->data[i] = in->data[i] + in->data[i] + delta;
  return OK;
}

static int claim(Context *context, Delegate *delegate) {
  Ours *ours = delegate->data;
  tell(ours, "prepared");
  if (ours->unfit) return ERROR;
  if (!ours->claims) return OK;
  IntArray *plan;
  if (context->get_execution_plan(context, &plan) != OK) return ERROR;
  IntArray *ours_to_run = malloc(sizeof(IntArray) + sizeof(int) * plan->size);
  ours_to_run->size = 0;
  for (int i = 0; i < plan->size; i++) {
    Node *node;
    Registration *registration;
    if (context->get_node_and_registration(context, plan->data[i], &node, &registration) != OK) return ERROR;
    if (registration->builtin_code == ADD) ours_to_run->data[ours_to_run->size++] = plan->data[i];
  }
  delta = ours->delta;
  Registration kernel = {.prepare = ready, .invoke = run, .custom_name = "ours", .version = 1};
  int status = context->replace_node_subsets(context, kernel, ours_to_run, delegate);
  free(ours_to_run);
  return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  Ours *ours = calloc(1, sizeof *ours);
  ours->delegate.data = ours;
  ours->delegate.prepare = claim;
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(keys[i], "log")) snprintf(ours->log, sizeof ours->log, "%s", values[i]);
    if (!strcmp(keys[i], "unfit")) ours->unfit = 1;
    if (!strcmp(keys[i], "delta")) ours->claims = 1, ours->delta = (float)atof(values[i]);
  }
  tell(ours, "created");
  for (size_t i = 0; i < count; i++)
    if (!strcmp(keys[i], "fail")) {
      report(values[i]);
      free(ours);
      return NULL;
    }
  return &ours->delegate;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
