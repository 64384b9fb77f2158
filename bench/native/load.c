/* load --socket PATH --questions FILE --question-bytes N --answer-bytes N [...]: clients that ask a model as fast as it
 * answers, and what they saw: on standard output a line "ready" once all are connected, and at the end a JSON object.
 * Ends after --seconds, or at SIGTERM.
 *
 * Each client is a thread with one connection and --depth requests on their way. What a request added is its round trip
 * less the invoke's time that the answer tells. With --expect every answer is compared: the file holds all answers of
 * release 1, then all of release 2, and so on. With --reconnect a connection that ends is made anew, and the first
 * answer on it is noted (CLOCK_MONOTONIC, ns).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "client.h"
#include "frames.h"

enum { DEPTH_MAX = 64, RECONNECTS_MAX = 256 };

struct sample {
    uint32_t added_ns, invoked_us, gap_ns;
};

struct thread {
    pthread_t id;
    struct client *client;
    struct sample *samples;
    size_t count, room;
    uint64_t asked, answered, wrong, seen_releases;
    uint64_t sent_ns[DEPTH_MAX], last_ns;
    uint64_t reconnects[RECONNECTS_MAX];
    unsigned reconnected;
    char problem[160];
};

static struct settings settings = {.model = "m", .depth = 1};
static const uint8_t *expected;
static size_t expected_releases;
static int reconnects;
static unsigned client_count = 1;
static volatile sig_atomic_t stopped;

static void stop(int signal) {
    (void)signal;
    stopped = 1;
}

static void note(struct thread *thread, const char *problem) {
    if (!thread->wrong++)
        snprintf(thread->problem, sizeof thread->problem, "%.150s", problem);
}

static void check(struct thread *thread, const struct answer *answer) {
    if (answer->error[0]) {
        note(thread, answer->error);
    } else if (!settings.http && answer->id != thread->answered) {
        note(thread, "an answer out of its turn");
    } else if (expected) {
        const uint8_t *right = expected + settings.answer_bytes * (answer->release - 1) * settings.question_count +
                               settings.answer_bytes * (thread->answered % settings.question_count);
        if (!answer->release || answer->release > expected_releases)
            note(thread, "an answer of a release that is not there");
        else if (memcmp(answer->data, right, settings.answer_bytes))
            note(thread, "other bytes than this release answers");
    }
    if (answer->release < 64)
        thread->seen_releases |= 1ull << answer->release;
}

static void keep(struct thread *thread, const struct answer *answer) {
    uint64_t now = now_ns(), took = now - thread->sent_ns[thread->answered % settings.depth];
    uint64_t invoked = answer->invoked_us * 1000ull;
    if (thread->count == thread->room) {
        thread->room = thread->room ? 2 * thread->room : 65536;
        thread->samples = realloc(thread->samples, thread->room * sizeof *thread->samples);
        if (!thread->samples)
            give_up("memory");
    }
    uint32_t added = took > invoked ? (uint32_t)(took - invoked) : 0;
    uint64_t gap = thread->last_ns ? now - thread->last_ns : took;
    thread->samples[thread->count++] = (struct sample){added, answer->invoked_us, (uint32_t)gap};
    thread->last_ns = now;
}

static int ask(struct thread *thread) {
    client_produce(thread->client, thread->asked);
    thread->sent_ns[thread->asked % settings.depth] = now_ns();
    if (client_ask(thread->client, thread->asked))
        return -1;
    thread->asked++;
    return 0;
}

static int exchange(struct thread *thread) {
    while (!stopped && thread->asked - thread->answered < settings.depth)
        if (ask(thread))
            return -1;
    if (thread->asked == thread->answered)
        return 0;
    struct answer answer;
    if (client_answer(thread->client, &answer))
        return -1;
    check(thread, &answer);
    keep(thread, &answer);
    thread->answered++;
    return 0;
}

static void *run(void *argument) {
    struct thread *thread = argument;
    int fresh = 0;
    while (!stopped || thread->asked > thread->answered) {
        if (exchange(thread) == 0) {
            if (fresh && thread->reconnected < RECONNECTS_MAX)
                thread->reconnects[thread->reconnected++] = thread->last_ns;
            fresh = 0;
            continue;
        }
        if (!reconnects) {
            note(thread, errno == EAGAIN ? "no answer came" : "the connection ended");
            break;
        }
        while (client_connect(thread->client))
            ;
        thread->asked = thread->answered;
        fresh = 1;
    }
    return NULL;
}

static const uint8_t *map(const char *path, size_t *size) {
    struct stat found;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &found))
        give_up(path);
    *size = (size_t)found.st_size;
    void *memory = mmap(NULL, *size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (memory == MAP_FAILED)
        give_up(path);
    close(file);
    return memory;
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void print_part(const char *name, struct thread *threads, size_t offset, double unit) {
    size_t count = 0;
    for (unsigned i = 0; i < client_count; i++)
        count += threads[i].count;
    uint32_t *values = reserve((count + 1) * sizeof *values), *next = values;
    for (unsigned i = 0; i < client_count; i++)
        for (size_t j = 0; j < threads[i].count; j++)
            memcpy(next++, (uint8_t *)&threads[i].samples[j] + offset, sizeof *values);
    qsort(values, count, sizeof *values, by_size);
    printf(", \"%s\": {\"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}", name, values[count / 2] * unit,
           values[count * 99 / 100] * unit, values[count ? count - 1 : 0] * unit);
    free(values);
}

static void report(struct thread *threads, double seconds) {
    uint64_t asked = 0, answered = 0, wrong = 0, releases = 0;
    const char *problem = "";
    for (unsigned i = 0; i < client_count; i++) {
        asked += threads[i].asked, answered += threads[i].answered, wrong += threads[i].wrong;
        releases |= threads[i].seen_releases;
        problem = threads[i].wrong && !*problem ? threads[i].problem : problem;
    }
    for (char *c = (char *)problem; *c; c++)
        *c = *c == '"' || *c == '\\' || *c < ' ' ? '\'' : *c;
    printf("{\"seconds\": %.6f, \"asked\": %lu, \"answered\": %lu, \"wrong\": %lu, \"problem\": \"%s\", "
           "\"releases\": %lu",
           seconds, asked, answered, wrong, problem, releases);
    print_part("added_us", threads, offsetof(struct sample, added_ns), 1e-3);
    print_part("invoked_us", threads, offsetof(struct sample, invoked_us), 1);
    print_part("gap_us", threads, offsetof(struct sample, gap_ns), 1e-3);
    printf(", \"reconnects\": [");
    for (unsigned i = 0, some = 0; i < client_count; i++)
        for (unsigned j = 0; j < threads[i].reconnected; j++)
            printf("%s%lu", some++ ? ", " : "", threads[i].reconnects[j]);
    printf("]}\n");
}

static void place_on(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set))
        give_up("sched_setaffinity");
}

static const struct option options[] = {
    {"socket", 1, 0, 's'},       {"model", 1, 0, 'm'},  {"questions", 1, 0, 'q'}, {"question-bytes", 1, 0, 'n'},
    {"answer-bytes", 1, 0, 'a'}, {"expect", 1, 0, 'e'}, {"clients", 1, 0, 'c'},   {"depth", 1, 0, 'd'},
    {"seconds", 1, 0, 't'},      {"cpu", 1, 0, 'p'},    {"http", 0, 0, 'h'},      {"share", 0, 0, 'S'},
    {"pieces", 0, 0, 'P'},       {"reconnect", 0, 0, 'r'}, {0, 0, 0, 0},
};

int main(int count, char **arguments) {
    const char *questions = NULL, *expect = NULL;
    double seconds = 0;
    size_t size;
    for (int option; (option = getopt_long(count, arguments, "", options, NULL)) != -1;) {
        switch (option) {
        case 's': settings.socket = optarg; break;
        case 'm': settings.model = optarg; break;
        case 'q': questions = optarg; break;
        case 'n': settings.question_bytes = strtoul(optarg, NULL, 10); break;
        case 'a': settings.answer_bytes = strtoul(optarg, NULL, 10); break;
        case 'e': expect = optarg; break;
        case 'c': client_count = (unsigned)atoi(optarg); break;
        case 'd': settings.depth = (unsigned)atoi(optarg); break;
        case 't': seconds = atof(optarg); break;
        case 'p': place_on(atoi(optarg)); break;
        case 'h': settings.http = 1; break;
        case 'S': settings.share = 1; break;
        case 'P': settings.pieces = 1; break;
        case 'r': reconnects = 1; break;
        default: return 2;
        }
    }
    if (!settings.socket || !questions || !settings.question_bytes || !settings.depth || settings.depth > DEPTH_MAX)
        return 2;
    settings.questions = map(questions, &size);
    settings.question_count = size / settings.question_bytes;
    if (expect) {
        expected = map(expect, &size);
        expected_releases = size / settings.answer_bytes / settings.question_count;
    }
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = stop}, NULL);

    struct thread *threads = reserve(client_count * sizeof *threads);
    for (unsigned i = 0; i < client_count; i++) {
        threads[i].client = client_new(&settings, i);
        if (client_connect(threads[i].client))
            give_up("HELLO");
    }
    printf("ready\n");
    fflush(stdout);
    uint64_t start = now_ns();
    for (unsigned i = 0; i < client_count; i++)
        if (pthread_create(&threads[i].id, NULL, run, &threads[i]))
            give_up("a thread");
    if (seconds > 0) {
        struct timespec rest = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
        nanosleep(&rest, NULL);
        stopped = 1;
    }
    for (unsigned i = 0; i < client_count; i++)
        pthread_join(threads[i].id, NULL);
    report(threads, (double)(now_ns() - start) / 1e9);
    return 0;
}
