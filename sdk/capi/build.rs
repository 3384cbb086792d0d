//! Gives libforetrace.so the name by which programs find it and its symbols their versions, and keeps it loaded: threads
//! hold on to its memory.

use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=foretrace.map");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libforetrace.so.0");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // A second script beside rustc's own: lld, which is Rust's linker on this target, takes both.
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|target| target == "x86_64") {
        let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo says where this package is");
        println!("cargo:rustc-cdylib-link-arg=-Wl,--version-script={folder}/foretrace.map");
    }
    // The compiler's own library becomes a part of this one: loading it would cost every program more than all the rest
    // of what is done before `main`.
    let output = env::var("OUT_DIR").expect("cargo says where output goes");
    fs::write(format!("{output}/libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n").expect("the folder is cargo's");
    println!("cargo:rustc-link-search=native={output}");
}
