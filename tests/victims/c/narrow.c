// A 32-bit program without a C library, which not every machine has in that width: writes to nowhere, two calls deep.

int *volatile nowhere;
volatile int zero;

__attribute__((noinline)) static int crash(int x) { return *nowhere = x; }
__attribute__((noinline)) static int outer(int x) { return crash(x + 1) + zero; }

__attribute__((noreturn)) void _start(void) {
    // The first function: nobody called it.
    __asm__ volatile(".cfi_undefined eip");
    for (;;) zero = outer(zero);
}
