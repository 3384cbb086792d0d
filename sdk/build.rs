//! Compiles the thread state: stable Rust cannot choose a thread-local storage model, C can.

fn main() {
    println!("cargo::rerun-if-changed=src/thread.c");
    cc::Build::new().file("src/thread.c").warnings(true).compile("foretrace_thread");
}
