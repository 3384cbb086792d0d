/* What an event costs from C, beside the physical limit L: reading the time stamp counter and storing 24 bytes into a
 * ring of the same size. One JSON object a line; thread CPU time, medians of 15 interleaved runs, nanoseconds.
 *
 *     cc -O2 bench.c $(pkg-config --cflags --libs foretrace) -o bench && ./bench
 */
#define _POSIX_C_SOURCE 200809L
#define FT_PROVIDER "example::bench"
#include <foretrace.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifndef __x86_64__
#error "the limit that this program compares with is that of x86-64"
#endif

enum { RUNS = 15, EVENTS = 1000000, RING = 4 << 20 };

static unsigned char ring[RING];

static double cpu_time(void)
{
    struct timespec time;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void at_the_limit(const char *text)
{
    size_t at = 0;

    (void)text;
    for (uint64_t n = 0; n < EVENTS; n++) {
        volatile uint64_t *words = (volatile uint64_t *)(void *)(ring + at);

        words[0] = __builtin_ia32_rdtsc();
        words[1] = n;
        words[2] = 7;
        at = at + 48 > RING ? 0 : at + 24;
    }
}

static void with_a_number(const char *text)
{
    (void)text;
    for (uint64_t n = 0; n < EVENTS; n++)
        ft_event(FT_INFO, "number", ft_u64("n", n));
}

static void with_a_text(const char *text)
{
    for (uint64_t n = 0; n < EVENTS; n++)
        ft_event(FT_INFO, "text", ft_u64("n", n), ft_text("text", text, 16));
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int main(void)
{
    static const struct {
        const char *name;
        void (*run)(const char *text);
    } rows[] = {{"c limit", at_the_limit}, {"c u64", with_a_number}, {"c u64 + 16 bytes", with_a_text}};
    static double spent[3][RUNS];
    const char *volatile text = "0123456789abcdef";

    memset(ring, 1, sizeof ring);
    for (int run = -2; run < RUNS; run++)
        for (int row = 0; row < 3; row++) {
            const double start = cpu_time();

            rows[row].run(text);
            if (run >= 0)
                spent[row][run] = (cpu_time() - start) / EVENTS;
        }
    for (int row = 0; row < 3; row++)
        qsort(spent[row], RUNS, sizeof spent[row][0], by_size);
    for (int row = 0; row < 3; row++)
        printf("{\"name\": \"%s\", \"ns\": %.2f, \"least\": %.2f, \"most\": %.2f, \"over_limit\": %.3f}\n", rows[row].name,
               spent[row][RUNS / 2], spent[row][0], spent[row][RUNS - 1], spent[row][RUNS / 2] / spent[0][RUNS / 2]);
    return 0;
}
