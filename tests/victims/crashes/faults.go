// Go's ways to die, by the first argument.
package main

import (
	"os"
	"time"
)

//go:noinline
func touch(at *int) int { return *at + 1 }

//go:noinline
func reach(depth int, at *int) int {
	if depth == 0 {
		return touch(at)
	}
	return reach(depth-1, at) + 1
}

func main() {
	switch os.Args[1] {
	case "nil":
		reach(3, nil)
	case "routines":
		for i := 0; i < 8; i++ {
			go func() { time.Sleep(time.Hour) }()
		}
		time.Sleep(100 * time.Millisecond)
		done := make(chan int)
		go func() { done <- reach(2, nil) }()
		<-done
	}
}
