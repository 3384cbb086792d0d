//! Gives libforetrace.so the name by which programs find it, and keeps it loaded: threads hold on to its memory.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libforetrace.so.0");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
