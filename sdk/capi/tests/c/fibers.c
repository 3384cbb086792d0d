/* A coroutine that goes on in another thread each time, while both threads record at full speed. */
#define _GNU_SOURCE
#define FT_PROVIDER "test::fibers"
#include <foretrace.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <ucontext.h>
#include <unistd.h>

enum { TIMES = 400, OVER = 2, STACK = 256 << 10 };

static ucontext_t inside, *volatile outside;
static atomic_int turn;
static atomic_ullong recorded;

/* One function, so that a compiler may keep what it knows of a thread from one event to the next. */
static void go_round(void)
{
    for (uint64_t n = 0; n < TIMES; n++) {
        ft_event(FT_INFO, "round", ft_u64("thread", (uint64_t)gettid()), ft_u64("n", n));
        atomic_fetch_add(&recorded, 1);
        swapcontext(&inside, outside);
    }
    atomic_store(&turn, OVER);
    swapcontext(&inside, outside);
}

static void *run(void *argument)
{
    const int me = argument != NULL;
    ucontext_t here;

    for (uint64_t n = 0; atomic_load(&turn) != OVER; n++) {
        ft_event(FT_INFO, "beside", ft_u64("thread", (uint64_t)gettid()), ft_u64("n", n));
        atomic_fetch_add(&recorded, 1);
        if (atomic_load(&turn) == me) {
            outside = &here;
            swapcontext(&here, &inside);
            if (atomic_load(&turn) != OVER)
                atomic_store(&turn, !me);
        }
        if (n % 64 == 0)
            sched_yield();
    }
    return NULL;
}

int main(void)
{
    static char stack[STACK];
    pthread_t other;

    if (getcontext(&inside))
        return 1;
    inside.uc_stack.ss_sp = stack;
    inside.uc_stack.ss_size = sizeof stack;
    makecontext(&inside, go_round, 0);
    if (pthread_create(&other, NULL, run, stack))
        return 1;
    run(NULL);
    pthread_join(other, NULL);
    printf("%llu\n", (unsigned long long)atomic_load(&recorded));
    fflush(stdout);
    getchar();
    return 0;
}
