//! The victims: how each is built, how it dies, and what that needs. Sources are in `tests/victims/crashes`.

use super::comparison::{Explained, SIGNAL};

/// A program that crashes.
pub struct Victim {
    /// Its name in the table.
    pub name: &'static str,
    /// Whose code it is.
    pub kind: Kind,
    /// The tools that it needs, space-separated.
    pub tools: &'static str,
    /// Builds it in the current directory, by `sh -e`; `$S` is where the sources are.
    pub build: &'static str,
    /// Crashes it there.
    pub run: &'static str,
}

/// Whose frames a victim's stack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Compiled code alone, which the tables and symbols of its files describe.
    Native,
    /// An engine with code that it made while it ran, which no file describes.
    Jit,
}

const fn native(name: &'static str, tools: &'static str, build: &'static str, run: &'static str) -> Victim {
    Victim { name, kind: Kind::Native, tools, build, run }
}

const fn engine(name: &'static str, tools: &'static str, build: &'static str, run: &'static str) -> Victim {
    Victim { name, kind: Kind::Jit, tools, build, run }
}

/// Differences that stay, and why no name of ours is wrong; docs/unwinding.md says more.
pub const EXPLAINED: &[Explained] = &[
    (
        "setjmp",
        SIGNAL,
        "musl's restorer has no tables: we know it by its code, gdb takes the symbol before it",
    ),
    (
        "std::panicking::panic_handler",
        "__rustc::rust_begin_unwind",
        "gdb shows the DWARF name, we the symbol's",
    ),
];

/// All of them.
pub const VICTIMS: &[Victim] = &[
    // Compilers' flags.
    native("c-O0", "gcc", "gcc -O0 -g $S/calls.c -o victim", "./victim segv"),
    native("c-O1", "gcc", "gcc -O1 -g $S/calls.c -o victim", "./victim segv"),
    native("c-O2", "gcc", "gcc -O2 -g $S/calls.c -o victim", "./victim segv"),
    native("c-O3", "gcc", "gcc -O3 -g $S/calls.c -o victim", "./victim segv"),
    native("c-Os-lto", "gcc", "gcc -Os -g -flto $S/calls.c -o victim", "./victim segv"),
    native("c-omit-fp", "gcc", "gcc -O2 -g -fomit-frame-pointer $S/calls.c -o victim", "./victim segv"),
    native(
        "c-frame-pointers-alone",
        "gcc",
        "gcc -O1 -fno-omit-frame-pointer -fno-asynchronous-unwind-tables $S/calls.c -o victim",
        "./victim segv",
    ),
    native("c-no-pie", "gcc", "gcc -O2 -g -no-pie $S/calls.c -o victim", "./victim segv"),
    native("c-static", "gcc", "gcc -O2 -g -static $S/calls.c -o victim", "./victim segv"),
    native("c-static-pie", "gcc", "gcc -O2 -g -static-pie $S/calls.c -o victim", "./victim crowd"),
    native("c-split-dwarf", "gcc", "gcc -O2 -g -gsplit-dwarf $S/calls.c -o victim", "./victim segv"),
    native(
        "c-split-dwarf-packed",
        "gcc dwp",
        "gcc -O2 -gdwarf-4 -gsplit-dwarf $S/calls.c -o victim; dwp -e victim -o victim.dwp; rm -f *.dwo",
        "./victim segv",
    ),
    native("c-clang", "clang", "clang -O2 -g $S/calls.c -o victim -pthread", "./victim fault-handler"),
    // Where the debug information is.
    native("c-stripped", "gcc strip", "gcc -O2 $S/calls.c -o victim; strip victim", "./victim abort"),
    native(
        "c-debuglink",
        "gcc objcopy strip",
        "gcc -O2 -g $S/calls.c -o victim; objcopy --only-keep-debug victim victim.debug; strip victim; \
         objcopy --add-gnu-debuglink=victim.debug victim",
        "./victim segv",
    ),
    native(
        "c-debuglink-checksum",
        "gcc objcopy strip",
        "gcc -O2 -g -Wl,--build-id=none $S/calls.c -o victim; mkdir .debug; \
         objcopy --only-keep-debug victim .debug/victim.debug; strip victim; \
         objcopy --add-gnu-debuglink=.debug/victim.debug victim",
        "./victim segv",
    ),
    native(
        "c-debugdata",
        "gcc objcopy strip xz",
        "gcc -O2 $S/calls.c -o victim; objcopy --only-keep-debug victim mini; xz mini; strip victim; \
         objcopy --add-section .gnu_debugdata=mini.xz victim",
        "./victim segv",
    ),
    native(
        "c-dwz",
        "gcc dwz",
        "gcc -O2 -g $S/calls.c -o victim; gcc -O1 -g $S/calls.c -o other; dwz -m shared.dwz victim other",
        "./victim segv",
    ),
    native("c-compressed", "gcc", "gcc -O2 -g -gz=zlib $S/calls.c -o victim", "./victim segv"),
    // Ways to die.
    native("c-abort", "gcc", "gcc -O2 -g $S/calls.c -o victim", "./victim abort"),
    native("c-assert", "gcc", "gcc -O2 -g $S/calls.c -o victim", "./victim assert"),
    native("c-double-free", "gcc", "gcc -O2 -g $S/calls.c -o victim", "./victim free"),
    native("c-divide", "gcc", "gcc -O2 -g $S/calls.c -o victim", "./victim divide"),
    native("c-trap", "gcc", "gcc -O2 -g $S/calls.c -o victim", "./victim trap"),
    native("c-bus", "gcc", "gcc -O2 -g $S/calls.c -o victim", "./victim bus"),
    native("c-overflow", "gcc", "gcc -O1 -g $S/calls.c -o victim", "ulimit -s 512; ./victim overflow"),
    native("c-overflow-handled", "gcc", "gcc -O1 -g $S/calls.c -o victim", "./victim overflow-handled"),
    native("c-smash", "gcc", "gcc -O2 -g -fstack-protector-all $S/calls.c -o victim", "./victim smash"),
    native("c-trample", "gcc", "gcc -O2 -g $S/calls.c -o victim", "./victim trample"),
    native("c-null-call", "gcc", "gcc -O2 -g $S/calls.c -o victim", "./victim null-call"),
    native("c-wild-call", "gcc", "gcc -O2 -g $S/calls.c -o victim", "./victim wild-call"),
    native("c-data-call", "gcc", "gcc -O2 -g $S/calls.c -o victim", "./victim data-call"),
    native("c-handler", "gcc", "gcc -O2 -g $S/calls.c -o victim", "./victim handler"),
    native("c-fault-handler", "gcc", "gcc -O2 -g -static $S/calls.c -o victim", "./victim fault-handler"),
    native("c-constructor", "gcc", "gcc -O2 -g $S/calls.c -o victim", "CRASH_EARLY=1 ./victim"),
    native("c-child", "gcc", "gcc -O2 -g $S/calls.c -o victim", "./victim child"),
    native("c-500-threads", "gcc", "gcc -O2 -g $S/calls.c -o victim", "./victim crowd"),
    native("c-seccomp", "gcc", "gcc -O2 -g $S/calls.c -o victim", "./victim seccomp"),
    native("c-callback", "gcc", "gcc -O2 -g $S/calls.c -o victim", "./victim callback"),
    native(
        "c-plugin",
        "gcc",
        "gcc -O2 -g -fPIC -shared $S/plugin.c -o libplugin.so; gcc -O2 -g $S/host.c -o victim",
        "./victim back",
    ),
    // Other libraries and other linkers' work.
    native("musl", "musl-gcc", "musl-gcc -O2 -g $S/calls.c -o victim", "./victim segv"),
    native("musl-handler", "musl-gcc", "musl-gcc -O2 -g $S/calls.c -o victim", "./victim handler"),
    native("musl-static", "musl-gcc", "musl-gcc -O2 -g -static $S/calls.c -o victim", "./victim abort"),
    native(
        "bolt",
        "gcc llvm-bolt-16",
        "gcc -O2 -g -fno-reorder-blocks-and-partition -Wl,--emit-relocs $S/calls.c -o plain; \
         llvm-bolt-16 plain -o victim -reorder-blocks=cache -reorder-functions=none -split-functions \
         -update-debug-sections >bolt.log 2>&1",
        "./victim handler",
    ),
    // Another word size, and another machine: there QEMU writes the core.
    native("i386", "gcc-i386", "$GCC32 -O2 -g $S/calls.c -o victim", "./victim segv"),
    native("i386-abort", "gcc-i386", "$GCC32 -O1 -g -fno-pie -no-pie $S/calls.c -o victim", "./victim abort"),
    native("i386-null-call", "gcc-i386", "$GCC32 -O2 -g $S/calls.c -o victim", "./victim null-call"),
    native("i386-handler", "gcc-i386", "$GCC32 -O2 -g $S/calls.c -o victim", "./victim handler"),
    native("i386-static", "gcc-i386", "$GCC32 -O2 -g -static $S/calls.c -o victim", "./victim crowd"),
    native(
        "aarch64",
        "aarch64-linux-gnu-gcc qemu-aarch64 gdb-multiarch",
        "aarch64-linux-gnu-gcc -O2 -g -static $S/calls.c -o victim",
        "qemu-aarch64 ./victim segv",
    ),
    native(
        "aarch64-null-call",
        "aarch64-linux-gnu-gcc qemu-aarch64 gdb-multiarch",
        "aarch64-linux-gnu-gcc -O1 -g -static -mbranch-protection=standard $S/calls.c -o victim",
        "qemu-aarch64 -cpu max ./victim null-call",
    ),
    // C++.
    native("c++-throw", "g++", "g++ -O0 -g $S/exceptions.cpp -o victim", "./victim throw"),
    native("c++-unwinding", "g++", "g++ -O2 -g $S/exceptions.cpp -o victim", "./victim destructor"),
    native("c++-noexcept", "g++", "g++ -O2 -g $S/exceptions.cpp -o victim", "./victim noexcept"),
    native("c++-pure-virtual", "g++", "g++ -O1 -g $S/exceptions.cpp -o victim", "./victim pure"),
    native("c++-null-object", "g++", "g++ -O2 -g $S/exceptions.cpp -o victim", "./victim virtual"),
    native("c++-out-of-range", "g++", "g++ -O3 -g $S/exceptions.cpp -o victim", "./victim at"),
    native("c++-function", "g++", "g++ -O0 -g $S/exceptions.cpp -o victim", "./victim function"),
    native("c++-sort", "g++", "g++ -O2 -g $S/exceptions.cpp -o victim", "./victim sort"),
    native("c++-thread", "g++", "g++ -O2 -g -pthread $S/exceptions.cpp -o victim", "./victim thread"),
    native("c++-static", "g++", "g++ -O2 -g -static $S/exceptions.cpp -o victim", "./victim destructor"),
    // Rust.
    native("rust-debug", "rustc", "rustc -g -Cpanic=abort $S/panics.rs -o victim", "./victim panic"),
    native("rust-O2-segv", "rustc", "rustc -Copt-level=2 -g $S/panics.rs -o victim", "./victim segv"),
    native("rust-O3-segv", "rustc", "rustc -Copt-level=3 $S/panics.rs -o victim", "./victim segv"),
    native(
        "rust-overflow",
        "rustc",
        "rustc -Copt-level=1 -g $S/panics.rs -o victim",
        "ulimit -s 512; ./victim overflow",
    ),
    native("rust-panic-twice", "rustc", "rustc -Copt-level=2 -g $S/panics.rs -o victim", "./victim twice"),
    native(
        "rust-index",
        "rustc",
        "rustc -Copt-level=2 -g -Cpanic=abort $S/panics.rs -o victim",
        "./victim index",
    ),
    native("rust-threads", "rustc", "rustc -Copt-level=0 -g $S/panics.rs -o victim", "./victim threads"),
    // Go: its own symbols, DWARF and signal handling; no libc.
    native("go-nil", "go", "go build -o victim $S/faults.go", "GOTRACEBACK=crash ./victim nil"),
    native("go-routines", "go", "go build -o victim $S/faults.go", "GOTRACEBACK=crash ./victim routines"),
    native(
        "go-cgo",
        "go gcc",
        "CGO_ENABLED=1 go build -o victim $S/foreign.go",
        "GOTRACEBACK=crash ./victim",
    ),
    // Interpreters are native programs; engines are not.
    native("python", "/usr/bin/python3", "cp $S/native.py .", "/usr/bin/python3 native.py"),
    native("python-thread", "/usr/bin/python3", "cp $S/native.py .", "/usr/bin/python3 native.py thread"),
    native("python-abort", "/usr/bin/python3", "cp $S/native.py .", "/usr/bin/python3 native.py abort"),
    engine("node-abort", "node", "true", "node -e 'function f(n) { n ? f(n - 1) : process.abort() }; f(3)'"),
    engine("node-killed", "node", "true", "node -e 'process.kill(process.pid, \"SIGSEGV\"); for (;;);'"),
    engine(
        "java",
        "java javac",
        "javac -nowarn -d . $S/Native.java 2>/dev/null",
        "java -Xmx64m -cp . Native",
    ),
];
