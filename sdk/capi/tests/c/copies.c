/* Two libraries, each with its own copy of the recorder, in one process and in its child; opened, or (OPENED is not
 * defined) linked. */
#include <dlfcn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int plugin_work_1(void);
int plugin_work_2(void);

int main(int count, char **arguments)
{
    int (*first)(void), (*second)(void);
    int to_parent[2], to_child[2], status = 1;
    char byte = 0;
    pid_t child;

#ifdef OPENED
    void *one = count < 3 ? NULL : dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    void *two = count < 3 ? NULL : dlopen(arguments[2], RTLD_NOW | RTLD_LOCAL);

    if (one == NULL || two == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    *(void **)&first = dlsym(one, "plugin_work_1");
    *(void **)&second = dlsym(two, "plugin_work_2");
#else
    (void)count;
    (void)arguments;
    first = plugin_work_1;
    second = plugin_work_2;
#endif
    if (first() || second() || first() || pipe(to_parent) || pipe(to_child))
        return 1;
    child = fork();
    if (child == 0) {
        status = second() || first();
        close(to_child[1]);
        status |= write(to_parent[1], &byte, 1) != 1 || read(to_child[0], &byte, 1) != 1;
        _exit(status);
    }
    if (child < 0 || read(to_parent[0], &byte, 1) != 1)
        return 1;
    printf("%d\n", (int)child);
    fflush(stdout);
    getchar();
    if (write(to_child[1], &byte, 1) != 1 || waitpid(child, &status, 0) != child)
        return 1;
    return status != 0;
}
