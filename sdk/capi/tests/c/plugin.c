/* A library that brings its own copy of the recorder. */
#define FT_PROVIDER "test::plugin"
#include <foretrace.h>

#include <pthread.h>

#define CALLED(name) FORETRACE_JOIN(name, COPY)
#define NAME_(x) #x
#define NAME(x) NAME_(x)

static void *work(void *argument)
{
    for (uint64_t n = 0; n < 20000; n++)
        ft_event(FT_INFO, "plugin " NAME(COPY), ft_u64("n", n), ft_u64("check", ~n));
    return argument;
}

/* Records in this thread and in one that ends. */
int CALLED(plugin_work_)(void);
int CALLED(plugin_work_)(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, work, NULL))
        return 1;
    work(NULL);
    return pthread_join(thread, NULL);
}
