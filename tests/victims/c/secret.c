/* secret hidden|plain: a thread's stack with a key in the page above it. Hidden, the page is MADV_DONTDUMP, as
   crypto libraries keep their keys; plain, it is the control that shows that the search can find it. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { STACK = 64 << 10, PAGE = 4096, KEY = 48 };

static void *crash(void *nothing)
{
    volatile uint32_t *volatile nowhere = nothing;
    *nowhere = 1;
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    unsigned char *stack =
        mmap(NULL, STACK + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return 2;
    if (strcmp(argv[1], "hidden") == 0 && madvise(stack + STACK, PAGE, MADV_DONTDUMP) != 0)
        return 2;
    /* Made here, so that it stands nowhere else: not in the program, not in its arguments. */
    uint32_t state = 20131107;
    for (int n = 0; n < KEY; n++) {
        state = state * 1664525 + 1013904223;
        ((volatile unsigned char *)stack)[STACK + 256 + n] = (unsigned char)(state >> 24);
    }
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, STACK);
    pthread_t thread;
    if (pthread_create(&thread, &attributes, crash, NULL) != 0)
        return 2;
    pthread_join(thread, NULL);
    return 2;
}
