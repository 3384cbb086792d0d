/* victim-c DEATH LEDGER [THREADS EVENTS]: the C twin of victim-rust, over foretrace.h and libforetrace.so. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "foretrace.h"

struct account {
    _Atomic uint64_t index, tid, recorded, unused;
};

static struct account *ledger;
static pthread_barrier_t everyone;
static uint64_t events = 200000;

static uint64_t check(uint64_t thread, uint64_t number)
{
    return (number ^ (thread << 32 | thread >> 32)) * UINT64_C(0x9e3779b97f4a7c15);
}

static void record(uint64_t thread)
{
    struct account *account = &ledger[thread];
    atomic_store(&account->index, thread);
    atomic_store(&account->tid, (uint64_t)gettid());
    for (uint64_t number = 0; number < events; number++) {
        ft_event(FT_INFO, "step", ft_u64("thread", thread), ft_u64("number", number),
                 ft_u64("check", check(thread, number)));
        atomic_store_explicit(&account->recorded, number + 1, memory_order_release);
    }
    pthread_barrier_wait(&everyone);
}

static void *work(void *thread)
{
    record((uint64_t)(uintptr_t)thread);
    for (;;)
        pause();
    return NULL;
}

__attribute__((noinline)) static void crash_by_null_store(void)
{
    volatile uint32_t *volatile nowhere = NULL;
    *nowhere = 1;
}

static void crash_in_handler(int signal)
{
    (void)signal;
    crash_by_null_store();
}

static void reraise(int number)
{
    signal(number, SIG_DFL);
    raise(number);
}

__attribute__((noinline)) static uint64_t recurse_for_ever(uint64_t depth)
{
    volatile uint64_t frame[64] = {depth};
    if (depth == UINT64_MAX)
        return 0;
    return recurse_for_ever(depth + 1) + frame[5];
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "victim-c null|abort|stack-overflow|in-handler LEDGER [THREADS EVENTS]\n");
        return 2;
    }
    uint64_t threads = argc > 3 ? strtoull(argv[3], NULL, 10) : 4;
    if (argc > 4)
        events = strtoull(argv[4], NULL, 10);
    int file = open(argv[2], O_RDWR);
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0 || (size_t)status.st_size < threads * sizeof *ledger) {
        fprintf(stderr, "victim-c: no ledger of %llu entries at %s\n", (unsigned long long)threads, argv[2]);
        return 2;
    }
    ledger = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    ft_attach_memory("events", &events, sizeof events, FT_TRAIL);
    ft_attach_memory("gone", &events, sizeof events, FT_TRAIL);
    ft_attach_file("ledger", argv[2], 4096, FT_LOGS);
    ft_detach("gone");
    pthread_barrier_init(&everyone, NULL, (unsigned)threads);
    for (uint64_t n = 1; n < threads; n++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)(uintptr_t)n) != 0)
            return 2;
    }
    record(0);
    if (strcmp(argv[1], "null") == 0) {
        crash_by_null_store();
    } else if (strcmp(argv[1], "abort") == 0) {
        abort();
    } else if (strcmp(argv[1], "stack-overflow") == 0) {
        stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
        sigaltstack(&stack, NULL);
        struct sigaction action = {.sa_handler = reraise, .sa_flags = SA_ONSTACK};
        sigaction(SIGSEGV, &action, NULL);
        return (int)recurse_for_ever(0);
    } else if (strcmp(argv[1], "in-handler") == 0) {
        struct sigaction action = {.sa_handler = crash_in_handler};
        sigaction(SIGUSR1, &action, NULL);
        raise(SIGUSR1);
    }
    return 2;
}
