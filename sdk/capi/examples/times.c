/* Events whose time does not come from reading the clock for each:
 *
 *     cc times.c $(pkg-config --cflags --libs foretrace) -o times && ./times
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define FT_PROVIDER "example::times"
#include <foretrace.h>

#include <stdio.h>
#include <time.h>

static uint64_t monotonic(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void pause_a_little(void)
{
    const struct timespec little = {0, 20 * 1000 * 1000};

    nanosleep(&little, NULL);
}

int main(void)
{
    struct ft_clock batch = ft_batch(), coarse = ft_coarse(), at = ft_at(ft_now());
    struct ft_time arrived;
    uint64_t sampled;

    ft_event(FT_DEBUG, "started");
    /* What belongs together has one time. */
    for (uint64_t row = 0; row < 3; row++)
        ft_event_with(&batch, FT_INFO, "row", ft_u64("number", row));
    /* Between these it passes, but is read only when the kernel's own has gone on. */
    for (uint64_t step = 0; step < 1000; step++)
        ft_event_with(&coarse, FT_DEBUG, "step", ft_u64("number", step));
    /* Told long after it was. */
    arrived = ft_now();
    sampled = monotonic() + 5 * 1000 * 1000;
    pause_a_little();
    ft_set_time(&at, arrived);
    ft_event_with(&at, FT_INFO, "arrived");
    ft_set_time(&at, ft_time_from_monotonic(sampled));
    ft_event_with(&at, FT_INFO, "sampled", ft_i32("celsius", 20));
    /* Earlier than the last event: recorded as that one's time. Later than now: as now. */
    ft_set_time(&at, arrived);
    ft_event_with(&at, FT_INFO, "too early");
    ft_set_time(&at, ft_time_from_monotonic(UINT64_MAX));
    ft_event_with(&at, FT_INFO, "too late");
    ft_event(FT_INFO, "done");
    puts("recorded");
    fflush(stdout);
    getchar(); /* Until its input ends: `foretrace snapshot` can look at the trail meanwhile. */
    return 0;
}
