/*
 * A trivial program, to see what a recorder adds before its first event.
 *
 *     ./start            ends at once
 *     ./start look       prints how many threads and descriptors it has, and ends
 *
 * It could record, so the recorder is linked; it never does. -DWITHOUT: without a recorder; -DRECORDER='"recorder.h"':
 * with another one.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>

#if defined(WITHOUT)
#define NUMBER(n) (void)(n)
#elif defined(RECORDER)
#include RECORDER
#else
#include <foretrace.h>
#define NUMBER(n) ft_event(FT_INFO, "number", ft_u64("n", n))
#endif

static int entries(const char *path)
{
    DIR *const directory = opendir(path);
    int count = 0;

    while (directory != NULL && readdir(directory) != NULL)
        count++;
    if (directory != NULL)
        closedir(directory);
    /* Without the folder itself and its parent. */
    return count - 2;
}

int main(int count, char **arguments)
{
    (void)arguments;
    if (count == 2)
        /* Without the descriptor of the folder that is read. */
        printf("%d %d\n", entries("/proc/self/task"), entries("/proc/self/fd") - 1);
    if (count > 2)
        NUMBER((uint64_t)count);
    return 0;
}
