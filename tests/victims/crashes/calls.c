// Ways to die, by the first argument, each a few calls deep.

#define _GNU_SOURCE
#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// musl's compiler does not see the kernel's headers.
#if __has_include(<linux/filter.h>)
#include <linux/filter.h>
#include <linux/seccomp.h>
#define HAS_SECCOMP 1
#endif

#define CALL __attribute__((noinline, noclone))

volatile int zero;
int *volatile nowhere;
void (*volatile wild)(void);

CALL int touch(int x) { return *nowhere + x; }
static inline int halfway(int x) { return touch(x + 1) * 2; }
CALL int reach(int x) { int r = halfway(x); return r + zero; }

CALL int give_up(int x) { if (!zero) abort(); return x; }
CALL int divide(int x) { return x / zero; }
CALL int trap(int x) { if (!zero) __builtin_trap(); return x; }
CALL int insist(int x) { assert(x < 0); return x; }
CALL int jump(int x) { wild(); return x + zero; }

CALL int free_twice(int x) {
    char *volatile block = malloc(40);
    free(block);
    free(block);
    return x + zero;
}

CALL int recurse(int x) {
    volatile char pad[100];
    pad[0] = (char) x;
    return recurse(x + 1) + pad[0];
}

CALL int fill(char *into, int length) {
    for (int i = 0; i < length; i++) into[i] = (char) (0x41 + zero);
    return length;
}

CALL int smash(int x) {
    char small[16];
    return fill(small, 64 + zero) + small[x];
}

// Writes over its caller's return address and not over its own.
__attribute__((noinline, noclone, optimize("no-stack-protector"))) int trample(int x) {
    char small[16];
    fill(small, 200 + zero);
    touch(x);
    return small[x];
}

#ifdef HAS_SECCOMP
CALL int stop_at_system_call(int x) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof filter / sizeof *filter, filter };
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
    return (int) getppid() + x;
}
#endif

CALL int read_behind_the_end(int x) {
    int file = memfd_create("short", 0);
    if (ftruncate(file, 4096)) return 1;
    volatile char *bytes = mmap(0, 8192, PROT_READ, MAP_SHARED, file, 0);
    return bytes[4096 + x] + zero;
}

CALL int run_data(int x) {
    static const unsigned char code[] = { 0xc3, 0xc3 };
    wild = (void (*)(void)) (unsigned long) code;
    return jump(x);
}

static int compare(const void *a, const void *b) { return touch(*(const int *) a - *(const int *) b); }
CALL int sort(int x) {
    int numbers[] = { 3, 1, 2, x };
    qsort(numbers, 4, sizeof *numbers, compare);
    return numbers[0];
}

static void on_signal(int s) { reach(s); }
static void on_fault(int s) { (void) s; abort(); }

CALL int interrupted(int x) {
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    return x + zero;
}

CALL int fault_and_handle(int x) {
    signal(SIGSEGV, on_fault);
    return reach(x);
}

static char other_stack[1 << 16];
static void *overflow_with_other_stack(void *unused) {
    stack_t stack = { .ss_sp = other_stack, .ss_size = sizeof other_stack };
    struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_ONSTACK };
    sigaltstack(&stack, 0);
    sigaction(SIGSEGV, &action, 0);
    zero = recurse(0);
    return unused;
}

CALL int overflow_thread(int x) {
    pthread_attr_t small;
    pthread_t thread;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 32768);
    pthread_create(&thread, &small, overflow_with_other_stack, 0);
    pthread_join(thread, 0);
    return x;
}

CALL int child(int x) {
    pid_t process = fork();
    if (!process) return reach(x);
    waitpid(process, 0, 0);
    exit(0);
}

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t all_there;
CALL void wait_for_lock(void) { pthread_mutex_lock(&held); zero = 1; }
CALL void wait_for_time(void) { sleep(1000); zero = 1; }
static void *wait_long(void *number) {
    pthread_barrier_wait(&all_there);
    if ((long) number % 2) wait_for_lock();
    else wait_for_time();
    return 0;
}

CALL int crowd(int x, int threads) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    pthread_barrier_init(&all_there, 0, (unsigned) threads + 1);
    pthread_mutex_lock(&held);
    for (long i = 0; i < threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &small, wait_long, (void *) i)) return 1;
    }
    pthread_barrier_wait(&all_there);
    usleep(300000);
    return reach(x);
}

__attribute__((constructor)) static void early(void) {
    if (getenv("CRASH_EARLY")) zero = reach(1);
}

int main(int count, char **words) {
    const char *way = count > 1 ? words[1] : "segv";
    int result = 1;
    if (!strcmp(way, "segv")) result = reach(count);
    if (!strcmp(way, "abort")) result = give_up(count);
    if (!strcmp(way, "divide")) result = divide(count);
    if (!strcmp(way, "trap")) result = trap(count);
    if (!strcmp(way, "assert")) result = insist(count);
    if (!strcmp(way, "free")) result = free_twice(count);
    if (!strcmp(way, "overflow")) result = recurse(count);
    if (!strcmp(way, "overflow-handled")) result = overflow_thread(count);
    if (!strcmp(way, "smash")) result = smash(count);
    if (!strcmp(way, "trample")) result = trample(count);
    if (!strcmp(way, "null-call")) result = jump(count);
    if (!strcmp(way, "wild-call")) { wild = (void (*)(void)) 0x1230UL; result = jump(count); }
    if (!strcmp(way, "data-call")) result = run_data(count);
    if (!strcmp(way, "handler")) result = interrupted(count);
    if (!strcmp(way, "fault-handler")) result = fault_and_handle(count);
    if (!strcmp(way, "child")) result = child(count);
    if (!strcmp(way, "crowd")) result = crowd(count, 500);
#ifdef HAS_SECCOMP
    if (!strcmp(way, "seccomp")) result = stop_at_system_call(count);
#endif
    if (!strcmp(way, "bus")) result = read_behind_the_end(0);
    if (!strcmp(way, "callback")) result = sort(count);
    return result + zero;
}
