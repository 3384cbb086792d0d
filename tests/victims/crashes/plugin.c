// A library that crashes in a callback of its host's.

volatile int gone;
int *volatile nothing;

__attribute__((noinline)) static int use(int x) { return *nothing + x; }
int plugin_run(int (*back)(int), int x) { return back ? back(x) + gone : use(x) + gone; }
