/*
 * LTTng-UST under the names that the benchmarks in C use.
 */
#include <stdbool.h>
#include <time.h>

#include "tracepoints.h"

#define NUMBER(n) lttng_ust_tracepoint(foretrace_bench, number, n)
#define TEXT(n, string) lttng_ust_tracepoint(foretrace_bench, text, n, string)
#define READY() is_ready()

/* The session daemon switches the events on a moment after the program has started. */
static inline bool is_ready(void)
{
    const struct timespec moment = {.tv_nsec = 10 * 1000 * 1000};

    for (int tries = 0; tries < 500; tries++) {
        if (lttng_ust_tracepoint_enabled(foretrace_bench, number) &&
            lttng_ust_tracepoint_enabled(foretrace_bench, text))
            return true;
        nanosleep(&moment, NULL);
    }
    return false;
}
