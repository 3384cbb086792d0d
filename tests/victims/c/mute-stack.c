/* mute-stack FILE [wait]: puts its stack pointer into a mapping of mute-fs's file whose pages are never answered, and
   faults without touching the stack; with `wait`, when its standard input ends. The mapping is private and dirty
   elsewhere, so that a core would hold it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    enum { LENGTH = (2 << 20) - 8192, ANSWERED = (1 << 20) - 8192 };
    int file = argc >= 2 ? open(argv[1], O_RDONLY) : -1;
    if (file < 0) {
        perror("mute-stack");
        return 2;
    }
    /* Not from the first page: the kernel itself would look for an ELF header there. */
    char *memory = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 8192);
    if (memory == MAP_FAILED) {
        perror("mute-stack: mmap");
        return 2;
    }
    /* Without read-ahead into the part that is never answered. */
    madvise(memory, LENGTH, MADV_RANDOM);
    *(volatile char *)memory = 1;
    char nothing;
    while (argc > 2 && read(0, &nothing, 1) > 0)
        ;
    char *stack = memory + ANSWERED + (512 << 10);
    __asm__ volatile("mov %0, %%rsp\n\tmovl $1, 0" : : "r"(stack) : "memory");
    return 2;
}
