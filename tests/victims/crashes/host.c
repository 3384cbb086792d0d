// Loads a library at run time; with an argument the library calls back before it crashes.

#include <dlfcn.h>

static int (*run)(int (*)(int), int);
volatile int none;

__attribute__((noinline)) static int back(int x) { return run(0, x + 1) + none; }

int main(int count, char **words) {
    void *library = dlopen("./libplugin.so", RTLD_NOW);
    (void) words;
    if (!library) return 1;
    run = (int (*)(int (*)(int), int)) dlsym(library, "plugin_run");
    return run(count > 1 ? back : 0, count) + none;
}
