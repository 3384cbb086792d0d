/*
 * The recorder's state of one thread. Owns its place in memory and nothing that is done with it (thread.rs does).
 *
 * Initial-exec: one instruction finds it, no call that could allocate. At most 128 bytes, so that a library that is
 * opened late still finds room in what the C library keeps for such variables.
 *
 * What the recorder itself uses is hidden: another copy of the recorder in the same process has its own.
 */
#include <pthread.h>
#include <stdint.h>

#define HIDDEN __attribute__((visibility("hidden")))

struct foretrace_level {
    uint64_t commit;
    unsigned char *base;
    int64_t limit;
};

struct foretrace_thread {
    uint64_t frame;
    uint32_t epoch;
    struct foretrace_level level[3];
    uint32_t depth;
    uint32_t slot[3];
    uint64_t outer[2];
    uint64_t spans;
};

_Static_assert(sizeof(struct foretrace_thread) <= 128, "a late dlopen must still fit");

HIDDEN __attribute__((tls_model("initial-exec"), aligned(64))) __thread struct foretrace_thread foretrace_tls;

/*
 * A page that a forked child finds zeroed (ring.rs asks the kernel for that, and says what is in it). As it is hidden,
 * code reaches it without asking the linker's tables.
 */
HIDDEN __attribute__((aligned(4096))) unsigned char foretrace_page[4096];

/*
 * Both under names that code inlined into C programs finds: libforetrace.so exports them.
 */
extern __attribute__((tls_model("initial-exec"), alias("foretrace_tls"))) __thread struct foretrace_thread
    foretrace_this_thread;
extern __attribute__((alias("foretrace_page"))) unsigned char foretrace_this_process[4096];

static pthread_key_t key;
static int has_key;

/* In ring.rs, size.rs, switches.rs and writer.rs. */
HIDDEN void foretrace_forked(void);
HIDDEN void foretrace_read_size(void);
HIDDEN void foretrace_read_switches(void);
HIDDEN void foretrace_thread_ends(void);

HIDDEN struct foretrace_thread *foretrace_tls_address(void)
{
    return &foretrace_tls;
}

HIDDEN unsigned char *foretrace_page_address(void)
{
    return foretrace_page;
}

static void thread_ends(void *unused)
{
    (void)unused;
    foretrace_thread_ends();
}

/* Asks that foretrace_thread_ends be called when this thread ends. */
HIDDEN void foretrace_thread_watch(void)
{
    if (has_key)
        pthread_setspecific(key, &foretrace_tls);
}

/*
 * Before main, or in dlopen: what may allocate or lock is done here, so that a first event may come from a signal
 * handler. Creates no thread, opens nothing, waits for nobody.
 */
__attribute__((constructor)) static void prepare(void)
{
    has_key = pthread_key_create(&key, thread_ends) == 0;
    pthread_atfork(0, 0, foretrace_forked);
    foretrace_read_switches();
    foretrace_read_size();
}
