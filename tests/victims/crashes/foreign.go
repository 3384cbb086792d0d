// A crash in C that Go called.
package main

/*
static int *volatile nowhere;
static int __attribute__((noinline)) touch(int x) { return *nowhere + x; }
static int __attribute__((noinline)) reach(int x) { return touch(x + 1) * 2; }
*/
import "C"

func main() {
	println(C.reach(1))
}
