/* What an event costs from C: prints thread CPU nanoseconds, the mean of all threads.
 *
 *     cc -O2 -pthread bench.c $(pkg-config --cflags --libs foretrace) -o bench
 *     ./bench KIND EVENTS THREADS
 *
 * KIND is number (a u64), batch, coarse or given (the same, with a time that eight events share, from the coarse clock, or
 * given), text (a u64 and a 16-byte string), limit (no event: reading the time stamp counter and
 * storing 24 bytes, than which nothing that records a time and a value can be cheaper), or cold: a u64 after the caches
 * were filled with something else, each on its own, time passed, the median.
 *
 * Other recorders are measured in the same way by -DRECORDER='"theirs.h"', which defines NUMBER, TEXT and READY as
 * below.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef __x86_64__
#error "the limit that this program compares with is that of x86-64"
#endif

#ifdef RECORDER
#include RECORDER
#else
#define FT_PROVIDER "example::bench"
#include <foretrace.h>
#define NUMBER(n) ft_event(FT_INFO, "number", ft_u64("n", n))
#define TEXT(n, text) ft_event(FT_INFO, "text", ft_u64("n", n), ft_text("text", text, 16))
#define READY() (ft_start() == 0)
#endif

enum { RING = 4 << 20, ELSEWHERE = 64 << 20, MOST_THREADS = 64, MOST_COLD = 1000 };

static pthread_barrier_t all_warm;
static void (*run)(uint64_t events);
static uint64_t events;

static double nanoseconds(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void run_limit(uint64_t count)
{
    static unsigned char ring[RING];
    size_t at = 0;

    for (uint64_t n = 0; n < count; n++) {
        volatile uint64_t *words = (volatile uint64_t *)(void *)(ring + at);

        words[0] = __builtin_ia32_rdtsc();
        words[1] = n;
        words[2] = 7;
        at = at + 48 > RING ? 0 : at + 24;
    }
}

static void run_number(uint64_t count)
{
    for (uint64_t n = 0; n < count; n++)
        NUMBER(n);
}

static void run_text(uint64_t count)
{
    /* 15 characters and the NUL, which not every recorder stores. */
    static const char *volatile text = "fifteen letters";
    const char *const it = text;

    for (uint64_t n = 0; n < count; n++)
        TEXT(n, it);
}

#ifndef RECORDER
static void run_batch(uint64_t count)
{
    for (uint64_t first = 0; first < count; first += 8) {
        struct ft_clock batch = ft_batch();

        for (uint64_t n = first; n < first + 8; n++)
            ft_event_with(&batch, FT_INFO, "number", ft_u64("n", n));
    }
}

static void run_coarse(uint64_t count)
{
    struct ft_clock clock = ft_coarse();

    for (uint64_t n = 0; n < count; n++)
        ft_event_with(&clock, FT_INFO, "number", ft_u64("n", n));
}

static void run_given(uint64_t count)
{
    struct ft_clock clock = ft_at(ft_now());

    for (uint64_t n = 0; n < count; n++)
        ft_event_with(&clock, FT_INFO, "number", ft_u64("n", n));
}
#endif

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Events that each come after 64 MiB of something else. */
static double run_cold(uint64_t count)
{
    static double took[MOST_COLD];
    unsigned char *const elsewhere = malloc(ELSEWHERE);
    const double begin = nanoseconds(CLOCK_MONOTONIC);
    const uint64_t first = __builtin_ia32_rdtsc();
    double rate;

    if (elsewhere == NULL || count == 0 || count > MOST_COLD)
        return -1;
    run_number(1000);
    for (uint64_t n = 0; n < count; n++) {
        uint64_t before;

        for (size_t at = 0; at < ELSEWHERE; at += 64)
            ((volatile unsigned char *)elsewhere)[at]++;
        __builtin_ia32_mfence();
        __builtin_ia32_lfence();
        before = __builtin_ia32_rdtsc();
        __builtin_ia32_lfence();
        NUMBER(n);
        /* Until the program goes on: stores may still be on their way. */
        __builtin_ia32_lfence();
        took[n] = (double)(__builtin_ia32_rdtsc() - before);
    }
    rate = (nanoseconds(CLOCK_MONOTONIC) - begin) / (double)(__builtin_ia32_rdtsc() - first);
    free(elsewhere);
    qsort(took, count, sizeof took[0], by_size);
    return took[count / 2] * rate;
}

static void *thread(void *into)
{
    double start;

    run(events);
    pthread_barrier_wait(&all_warm);
    start = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
    run(events);
    *(double *)into = (nanoseconds(CLOCK_THREAD_CPUTIME_ID) - start) / (double)events;
    return NULL;
}

int main(int count, char **arguments)
{
    const char *const kind = count == 4 ? arguments[1] : "";
    const int threads = count == 4 ? atoi(arguments[3]) : 0;
    pthread_t running[MOST_THREADS];
    double took[MOST_THREADS], sum = 0;

    run = strcmp(kind, "limit") == 0 ? run_limit : strcmp(kind, "text") == 0 ? run_text : run_number;
#ifndef RECORDER
    run = strcmp(kind, "batch") == 0 ? run_batch : strcmp(kind, "coarse") == 0 ? run_coarse : run;
    run = strcmp(kind, "given") == 0 ? run_given : run;
#endif
    if (count != 4 || threads < 1 || threads > MOST_THREADS) {
        fputs("bench number|batch|coarse|given|text|limit|cold EVENTS THREADS\n", stderr);
        return 2;
    }
    events = strtoull(arguments[2], NULL, 10);
    if (!READY()) {
        fputs("recording is off\n", stderr);
        return 1;
    }
    if (strcmp(kind, "cold") == 0) {
        printf("%.1f\n", run_cold(events));
        return 0;
    }
    pthread_barrier_init(&all_warm, NULL, (unsigned)threads);
    for (int n = 0; n < threads; n++)
        if (pthread_create(&running[n], NULL, thread, &took[n]) != 0)
            return 1;
    for (int n = 0; n < threads; n++) {
        pthread_join(running[n], NULL);
        sum += took[n];
    }
    printf("%.3f\n", sum / threads);
    return 0;
}
