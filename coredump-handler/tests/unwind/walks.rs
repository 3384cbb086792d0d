//! The ways from frame to frame: tables, frame pointers, signal frames, other stacks, wild calls.

use foretrace_capture::core::EM_386;
use foretrace_capture::unwind::End;
use foretrace_report::schema::Trust;

use crate::crash::{CALLS, Crash, GdbFrame, as_gdb, assert_equals_gdb};

#[test]
fn a_null_dereference_is_walked_as_gdb_does() {
    for flags in [
        &["-O0", "-g"][..],
        &["-O2", "-g", "-fomit-frame-pointer"],
        &["-O2", "-g", "-no-pie"],
        &["-O2", "-g", "-static"],
        &["-O2", "-g", "-static-pie"],
        // No search table: entries are found one by one.
        &["-O2", "-g", "-Wl,--no-eh-frame-hdr"],
        // .debug_frame in place of .eh_frame.
        &["-O2", "-g", "-fno-asynchronous-unwind-tables"],
        &["-O1", "-g", "-gz=zlib"],
        &["-O2", "-g", "-gdwarf-4"],
        &["-O2", "-g", "-Wl,--build-id=none"],
    ] {
        let crash = Crash::of(CALLS, &[&["gcc"], flags].concat(), &[]);
        let seen = crash.seen();
        assert_eq!(seen.problems, [], "{flags:?}");
        assert_equals_gdb(&crash, &seen);
        assert_eq!(seen.functions()[..4], ["crash", "middle", "outer", "main"], "{flags:?}");
    }
}

#[test]
fn a_program_without_tables_is_walked_by_its_frame_pointers() {
    let flags = [
        "gcc",
        "-O1",
        "-fno-asynchronous-unwind-tables",
        "-fno-omit-frame-pointer",
        "-fno-optimize-sibling-calls",
    ];
    let crash = Crash::of(&CALLS.replace("static inline", "__attribute__((noinline))"), &flags, &[]);
    let seen = crash.seen();
    assert_equals_gdb(&crash, &seen);
    let frames = &seen.crashed().2;
    assert_eq!(seen.functions()[..4], ["crash", "middle", "outer", "main"]);
    assert_eq!(frames[1].trust, Trust::Scan, "the leaf function has no frame: only the call tells");
    assert_eq!(frames[2].trust, Trust::FramePointer);
    assert_eq!(frames[4].trust, Trust::FramePointer, "from main on the C library has tables");
    assert_eq!(frames[5].trust, Trust::Cfi);
}

#[test]
fn an_abort_goes_through_the_c_library() {
    let source = r#"
        #include <stdlib.h>
        volatile int zero;
        __attribute__((noinline)) int give_up(int x) { if (!zero) abort(); return x; }
        int main(int c, char **v) { return give_up(c) + zero; }
    "#;
    let crash = Crash::of(source, &["gcc", "-O2", "-g"], &[]);
    let seen = crash.seen();
    assert_equals_gdb(&crash, &seen);
    assert_eq!(seen.functions()[2..5], ["__GI_abort", "give_up", "main"]);
}

#[test]
fn a_crash_in_a_signal_handler_shows_what_was_interrupted() {
    let source = r#"
        #include <signal.h>
        volatile int zero;
        int *volatile nowhere;
        static void handler(int s) { zero = *nowhere; }
        __attribute__((noinline)) int work(int x) { raise(SIGUSR1); return x + zero; }
        int main(int c, char **v) { signal(SIGUSR1, handler); return work(c) + zero; }
    "#;
    for flags in [&["-O0", "-g"][..], &["-O2", "-g", "-static"]] {
        let crash = Crash::of(source, &[&["gcc"], flags].concat(), &["SIGUSR1"]);
        let seen = crash.seen();
        assert_equals_gdb(&crash, &seen);
        let frames = &seen.crashed().2;
        assert_eq!(frames[0].function.as_deref(), Some("handler"));
        assert_eq!((frames[1].function.as_deref(), frames[1].trust), (None, Trust::Signal));
        assert!(seen.functions().contains(&"work"));
    }
}

#[test]
fn a_trampoline_without_tables_is_known_by_its_code() {
    // As musl's: a restorer of three instructions and not a word about it.
    let source = r#"
        #include <signal.h>
        #include <unistd.h>
        #include <sys/syscall.h>
        volatile int zero;
        int *volatile nowhere;
        __asm__(".text\n__restore_rt: mov $15, %rax\n syscall\n");
        extern void restorer(void) __asm__("__restore_rt");
        struct action { void (*handler)(int); unsigned long flags; void (*restorer)(void); unsigned long mask; };
        static void handler(int s) { zero = *nowhere; }
        __attribute__((noinline)) int work(int x) { kill(getpid(), SIGUSR1); return x + zero; }
        int main(int c, char **v) {
            struct action a = { handler, 0x04000000, restorer, 0 };
            syscall(SYS_rt_sigaction, SIGUSR1, &a, 0, 8);
            return work(c) + zero;
        }
    "#;
    let crash = Crash::of(source, &["gcc", "-O0", "-g"], &["SIGUSR1"]);
    let seen = crash.seen();
    assert_equals_gdb(&crash, &seen);
    assert_eq!(seen.crashed().2[1].trust, Trust::Signal);
    assert!(seen.functions().contains(&"work"));
}

#[test]
fn a_fault_that_interrupts_is_looked_up_at_its_own_instruction() {
    // The handler of a fault gives up: the faulting line must be the very one, not the one before.
    let source = r#"
        #include <signal.h>
        #include <stdlib.h>
        volatile int zero;
        int *volatile nowhere;
        static void handler(int s) { abort(); }
        int main(int c, char **v) {
            signal(SIGSEGV, handler);
            zero = 1;
            return *nowhere;
        }
    "#;
    let crash = Crash::of(source, &["gcc", "-O0", "-g"], &["SIGSEGV"]);
    let seen = crash.seen();
    assert_equals_gdb(&crash, &seen);
    let main = seen.crashed().2.iter().find(|frame| frame.function.as_deref() == Some("main")).unwrap();
    assert_eq!(main.line, Some(10));
}

#[test]
fn a_stack_overflow_is_walked_from_the_alternate_stack_back() {
    let source = r#"
        #include <signal.h>
        #include <stdlib.h>
        #include <pthread.h>
        static char alternate[65536];
        volatile int zero;
        static void handler(int s) { abort(); }
        __attribute__((noinline)) int recurse(int x) { volatile char pad[100]; pad[0] = x; return recurse(x + 1) + pad[0]; }
        static void *start(void *p) {
            stack_t s = { .ss_sp = alternate, .ss_size = sizeof alternate };
            sigaltstack(&s, 0);
            zero = recurse(0);
            return 0;
        }
        int main(int c, char **v) {
            struct sigaction a = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
            sigaction(SIGSEGV, &a, 0);
            pthread_attr_t attributes;
            pthread_attr_init(&attributes);
            pthread_attr_setstacksize(&attributes, 32768);
            pthread_t t;
            pthread_create(&t, &attributes, start, 0);
            pthread_join(t, 0);
            return zero;
        }
    "#;
    let crash = Crash::of(source, &["gcc", "-O1", "-g", "-fno-optimize-sibling-calls"], &["SIGSEGV"]);
    let seen = crash.seen();
    let (_, walk, frames) = seen.crashed();
    let gdb = &crash.gdb.iter().find(|thread| thread.tid == seen.head.threads[0].tid).unwrap().frames;
    // As many as this are not cut.
    assert!(gdb.len() > 100 && gdb.len() < 320, "{} frames", gdb.len());
    assert_equals_gdb(&crash, &seen);
    assert!(frames.iter().any(|frame| frame.trust == Trust::Signal));
    assert_eq!(walk.left_out, 0);
}

#[test]
fn a_runaway_recursion_keeps_its_beginning_and_its_end() {
    let source = r#"
        volatile int zero;
        __attribute__((noinline)) int recurse(int x) { return recurse(x + 1) + zero; }
        int main(int c, char **v) { return recurse(c); }
    "#;
    let crash = Crash::of(source, &["gcc", "-O1", "-g", "-fno-optimize-sibling-calls"], &[]);
    let seen = crash.seen();
    let (_, walk, frames) = seen.crashed();
    assert!(walk.left_out > 50_000, "8 MiB of small frames, of which {} were left out", walk.left_out);
    assert_eq!((walk.end, frames.len()), (End::Outermost, 320));
    assert_eq!(frames[0].function.as_deref(), Some("recurse"));
    let outermost: Vec<_> = frames[316..].iter().filter_map(|frame| frame.function.as_deref()).collect();
    assert_eq!(outermost, ["main", "__libc_start_call_main", "__libc_start_main_impl", "_start"]);
}

#[test]
fn a_call_through_a_wild_pointer_shows_its_caller() {
    for pointer in ["0", "(void (*)(void)) 0x1230"] {
        let source = format!(
            "volatile int zero; void (*volatile wild)(void) = {pointer};
             __attribute__((noinline)) int dispatch(int x) {{ wild(); return x + zero; }}
             int main(int c, char **v) {{ return dispatch(c) + zero; }}"
        );
        let crash = Crash::of(&source, &["gcc", "-O2", "-g"], &[]);
        let seen = crash.seen();
        assert_equals_gdb(&crash, &seen);
        let frames = &seen.crashed().2;
        assert_eq!((frames[0].module.as_deref(), frames[0].function.as_deref()), (None, None));
        assert_eq!((frames[1].function.as_deref(), frames[1].trust), (Some("dispatch"), Trust::Scan));
        assert_eq!(frames[2].trust, Trust::Cfi);
    }
}

#[test]
fn every_thread_is_walked() {
    let source = r#"
        #include <pthread.h>
        #include <unistd.h>
        volatile int zero;
        int *volatile nowhere;
        static pthread_barrier_t barrier;
        static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
        static void *sleeper(void *p) { pthread_barrier_wait(&barrier); sleep(1000); return 0; }
        static void *blocked(void *p) { pthread_barrier_wait(&barrier); pthread_mutex_lock(&held); return 0; }
        int main(int c, char **v) {
            pthread_t t;
            pthread_barrier_init(&barrier, 0, 3);
            pthread_mutex_lock(&held);
            pthread_create(&t, 0, sleeper, 0);
            pthread_create(&t, 0, blocked, 0);
            pthread_barrier_wait(&barrier);
            usleep(200000);
            return *nowhere;
        }
    "#;
    let crash = Crash::of(source, &["gcc", "-O2", "-g"], &[]);
    assert_eq!(crash.gdb.len(), 3);
    let seen = crash.seen();
    assert_equals_gdb(&crash, &seen);
    let has = |name| seen.threads.iter().any(|t| t.2.iter().any(|f| f.function.as_deref() == Some(name)));
    assert!(has("sleeper") && has("blocked") && has("main"));
}

#[test]
fn a_32_bit_program_is_walked_as_gdb_does() {
    // Without a C library: not every machine has one of that kind.
    let start = "__attribute__((noreturn)) void _start(void) { main(1, 0); for (;;); }";
    for (pointers, calls) in [
        ("", CALLS.to_owned()),
        (
            "-fno-omit-frame-pointer",
            CALLS.replace("return *nowhere + x", "((void (*)(void)) nowhere)(); return x"),
        ),
    ] {
        let mut flags = vec!["gcc", "-m32", "-O2", "-g", "-static", "-nostdlib", "-fno-pie", "-no-pie"];
        flags.push("-fno-stack-protector");
        flags.extend(Some(pointers).filter(|flag| !flag.is_empty()));
        let crash = Crash::of(&format!("{calls}{start}"), &flags, &[]);
        let seen = crash.seen();
        assert_eq!(seen.head.machine, EM_386);
        let names: Vec<&str> = seen.functions().into_iter().filter(|name| *name != "halfway").collect();
        assert_eq!(names, ["crash", "middle", "outer", "main", "_start"], "{pointers}");
        let addresses = |frames: &[GdbFrame]| frames.iter().map(|f| f.ip.clone()).collect::<Vec<String>>();
        let ours: Vec<GdbFrame> = seen.crashed().2.iter().map(as_gdb).collect();
        assert_eq!(addresses(&ours), addresses(&crash.gdb[0].frames));
    }
}
