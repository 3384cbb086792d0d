//! What a fresh Debian machine lacks, and its installation. Never removes or upgrades anything.

use std::process::Command;

use anyhow::{Result, bail};

use crate::build::{run, say};

/// A Debian package and what it is needed for.
pub struct Need {
    package: &'static str,
    purpose: &'static str,
}

/// What building needs.
pub const TO_BUILD: &[Need] = &[Need { package: "gcc", purpose: "the C parts" }, libc_headers()];

/// What the tests need on top.
pub const TO_TEST: &[Need] = &[
    Need { package: "age", purpose: "to open what is encrypted with the reference program" },
    Need { package: "binutils", purpose: "to strip victims and split off their debug information" },
    Need { package: "babeltrace2", purpose: "to read exported trails with the reference reader" },
    Need { package: "chromium", purpose: "to open the report's page" },
    Need { package: "clang", purpose: "to compile the C header with a second compiler" },
    Need { package: "dbus-daemon", purpose: "a session bus for the desktop's question" },
    Need { package: "debuginfod", purpose: "a server that has debug information" },
    Need { package: "openssl", purpose: "certificates for a server behind TLS" },
    Need { package: "e2fsprogs", purpose: "for a disk whose power fails" },
    Need { package: "flatpak", purpose: "to run a program that crashes" },
    Need { package: "fuse3", purpose: "for a victim whose stack never answers" },
    Need { package: "g++", purpose: "to compile the C header as C++" },
    Need { package: "gdb", purpose: "to compare backtraces" },
    Need { package: "iproute2", purpose: "for a network in which every packet is seen" },
    Need { package: "jq", purpose: "to read report.json" },
    Need { package: "libc6-dbg", purpose: "to name the frames in libc" },
    Need { package: "libfuse3-dev", purpose: "for a victim whose stack never answers" },
    Need { package: "lldb", purpose: "to open minidumps" },
    Need { package: "lz4", purpose: "to compress a core" },
    Need { package: "pkg-config", purpose: "to find libfuse3" },
    Need { package: "python3", purpose: "as a stripped program without the SDK" },
    Need { package: "rpm", purpose: "to install a program that crashes" },
    Need { package: "squashfs-tools", purpose: "to make a snap" },
    Need { package: "strace", purpose: "to make system calls fail" },
    Need { package: "systemd", purpose: "to read crashes back from its journal" },
    Need { package: "unzip", purpose: "to check bundles" },
    Need { package: "xz-utils", purpose: "to make victims with compressed symbol tables" },
    Need { package: "zstd", purpose: "to compress a core" },
];

/// What the emulated machine needs. Large, and so no part of the tests.
pub const TO_EMULATE: &[Need] = &[
    Need { package: "busybox-static", purpose: "the emulated machine's shell" },
    Need { package: "cpio", purpose: "to pack the emulated machine's root directory" },
    Need { package: "libfuse3-dev", purpose: "for a victim whose stack never answers" },
    Need { package: "pkg-config", purpose: "to find libfuse3" },
    Need { package: "qemu-system-x86", purpose: "to run Debian's kernel" },
];

/// What real containers take. Large, and so no part of the tests.
pub const TO_CONTAIN: &[Need] = &[
    Need { package: "podman", purpose: "for a container of podman's" },
    Need { package: "runc", purpose: "to run podman's container" },
    Need { package: "systemd-container", purpose: "for a container of systemd-nspawn's" },
];

/// What the recorder's benchmark compares with.
pub const TO_COMPARE: &[Need] = &[
    Need { package: "liblttng-ust-dev", purpose: "the recorder's peer" },
    Need { package: "liburcu-dev", purpose: "the recorder's peer" },
    Need { package: "lttng-tools", purpose: "the peer's session daemon" },
];

/// What the handler's benchmark compares with.
pub const TO_COMPARE_CRASHES: &[Need] = &[
    Need { package: "g++", purpose: "for a victim with an object" },
    Need { package: "gdb", purpose: "the handler's peer for backtraces" },
    Need { package: "lldb", purpose: "to print an object from a minidump" },
    Need { package: "systemd-coredump", purpose: "the handler's peer" },
];

/// What the comparison with gdb takes its victims from. Node is left to whoever has it.
pub const TO_COMPARE_BACKTRACES: &[Need] = &[
    Need { package: "binutils", purpose: "to strip victims and split off their debug information" },
    Need { package: "bolt-16", purpose: "for a victim that was laid out anew" },
    Need { package: "clang", purpose: "for another compiler's victim" },
    Need { package: "dwz", purpose: "for victims that share debug information" },
    Need { package: "g++", purpose: "for victims in C++" },
    Need { package: "gcc-12-multilib", purpose: "for 32-bit victims" },
    Need { package: "gcc-aarch64-linux-gnu", purpose: "for another machine's victims" },
    Need { package: "gdb", purpose: "the debugger to compare with" },
    Need { package: "gdb-multiarch", purpose: "the debugger for another machine's cores" },
    Need { package: "golang-1.19-go", purpose: "for victims in Go" },
    Need { package: "libc6-dbg", purpose: "to name the frames in libc" },
    Need { package: "libc6-dev-arm64-cross", purpose: "for another machine's victims" },
    Need { package: "musl-tools", purpose: "for victims of another C library" },
    Need { package: "openjdk-17-jdk-headless", purpose: "for a victim in Java" },
    Need { package: "python3", purpose: "for victims in Python" },
    Need { package: "qemu-user", purpose: "to run another machine's victims" },
    Need { package: "xz-utils", purpose: "to make victims with compressed symbol tables" },
];

/// What the desktop's question is looked at with.
pub const TO_CHECK_DESKTOP: &[Need] = &[
    Need { package: "dbus-daemon", purpose: "a session bus" },
    Need { package: "dunst", purpose: "a notification daemon" },
    Need { package: "fonts-dejavu-core", purpose: "letters" },
    Need { package: "imagemagick", purpose: "to take pictures" },
    Need { package: "xdotool", purpose: "to click" },
    Need { package: "xvfb", purpose: "an X server without a screen" },
];

/// What the comparisons with Relay and siggen need.
pub const TO_COMPARE_REDACTION: &[Need] = &[
    Need { package: "binutils", purpose: "to list functions' names" },
    Need { package: "python3-venv", purpose: "to run Relay's rules and siggen" },
];

const fn libc_headers() -> Need {
    Need { package: "libc6-dev", purpose: "the C parts" }
}

/// Installs the packages that are missing, with apt's own progress.
///
/// # Errors
/// Missing packages without root, or an installation that fails.
pub fn install_missing(needs: &[&[Need]]) -> Result<()> {
    let missing: Vec<&Need> =
        needs.iter().copied().flatten().filter(|need| !is_installed(need.package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|need| need.package).collect();
    if !nix::unistd::geteuid().is_root() {
        bail!("missing packages; as root: apt-get install --no-install-recommends {}", names.join(" "));
    }
    for need in &missing {
        say(&format!("installing {} ({})", need.package, need.purpose));
    }
    run(Command::new("apt-get").args(["update", "-qq"]))?;
    run(Command::new("apt-get")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&names)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

fn is_installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status}", package])
        .output()
        .is_ok_and(|answer| answer.stdout == b"installed")
}
