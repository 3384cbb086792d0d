/* Threads that each keep their own count of what they recorded, a signal handler that records in the middle of it, and
 * a forked child that has a trail of its own. */
#define _POSIX_C_SOURCE 200809L
#define FT_PROVIDER "test::ledger"
#include <foretrace.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, EVENTS = 30000 };

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    ft_event(FT_WARN, "interrupted", ft_i32("signal", number), ft_i32("count", (int32_t)interrupted));
    interrupted = interrupted + 1;
}

static void *work(void *argument)
{
    const uint64_t thread = (uint64_t)(uintptr_t)argument;

    for (uint64_t n = 0; n < EVENTS; n++)
        ft_event(FT_INFO, "step", ft_u64("thread", thread), ft_u64("n", n), ft_str("odd", n % 2 ? "yes" : "no"));
    return NULL;
}

int main(void)
{
    struct sigaction action = {0};
    const struct timespec pause = {0, 100000};
    pthread_t threads[THREADS];
    int to_parent[2], to_child[2], status = 1;
    char byte = 0;
    pid_t child;

    action.sa_handler = interrupt;
    action.sa_flags = SA_RESTART;
    if (sigaction(SIGUSR1, &action, NULL) || pipe(to_parent) || pipe(to_child))
        return 1;
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)i))
            return 1;
    for (int i = 0; i < 100; i++) {
        pthread_kill(threads[i % THREADS], SIGUSR1);
        nanosleep(&pause, NULL);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);

    ft_event(FT_INFO, "before fork");
    child = fork();
    if (child == 0) {
        for (uint64_t n = 0; n < 77; n++)
            ft_event(FT_INFO, "child", ft_u64("n", n));
        /* It ends when its parent does, however that ends. */
        close(to_child[1]);
        status = write(to_parent[1], &byte, 1) != 1 || read(to_child[0], &byte, 1) != 1;
        _exit(status);
    }
    if (child < 0 || read(to_parent[0], &byte, 1) != 1)
        return 1;
    ft_event(FT_INFO, "after fork");
    printf("%d %d\n", (int)child, (int)interrupted);
    fflush(stdout);
    getchar();
    if (write(to_child[1], &byte, 1) != 1 || waitpid(child, &status, 0) != child)
        return 1;
    return status != 0;
}
