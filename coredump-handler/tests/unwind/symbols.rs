//! Names: of C++ and Rust, of stripped programs, and where they are found.

use std::fs::{self, File};
use std::process::Command;

use foretrace_capture::module::Places;

use crate::crash::{CALLS, Crash, GdbFrame, as_gdb, run};

#[test]
fn cpp_names_and_exceptions_are_gdbs() {
    let source = r#"
        #include <stdexcept>
        #include <vector>
        namespace shop {
            struct Order { int total(std::vector<int> const& items) const; };
            __attribute__((noinline)) int Order::total(std::vector<int> const& items) const {
                if (items.empty()) throw std::runtime_error("none");
                return items[0];
            }
        }
        int main() { return shop::Order().total({}); }
    "#;
    let crash = Crash::of(source, &["g++", "-O1", "-g"], &[]);
    let seen = crash.seen();
    let functions = seen.functions();
    assert!(
        functions.contains(&"shop::Order::total(std::vector<int, std::allocator<int> > const&) const"),
        "{functions:?}"
    );
    assert!(functions.contains(&"__cxa_throw"), "{functions:?}");
    let addresses = |frames: &[GdbFrame]| -> Vec<String> {
        frames.iter().filter(|frame| frame.kind != "inline").map(|frame| frame.ip.clone()).collect()
    };
    let ours: Vec<GdbFrame> = seen.crashed().2.iter().map(as_gdb).collect();
    assert_eq!(addresses(&ours), addresses(&crash.gdb[0].frames));
}

#[test]
fn rust_names_have_no_hashes_and_inlined_calls_have_frames() {
    let source = "
        #[inline(never)] fn parse(text: &str) -> u32 { text.parse().unwrap() }
        #[inline(never)] fn load(text: &str) -> u32 { parse(text) + 1 }
        fn main() { std::process::exit(load(&std::env::args().nth(1).unwrap_or_default()) as i32) }
    ";
    let flags = ["rustc", "--crate-name", "victim", "-Cpanic=abort", "-Copt-level=2", "-g"];
    let crash = Crash::of(source, &flags, &[]);
    let seen = crash.seen();
    let functions = seen.functions();
    for name in [
        "core::panicking::panic_fmt",
        "core::result::unwrap_failed",
        "victim::parse",
        "victim::load",
        "victim::main",
    ] {
        assert!(functions.contains(&name), "{name} in {functions:?}");
    }
    let inlined = seen
        .crashed()
        .2
        .iter()
        .find(|frame| frame.inline && frame.function.as_deref().is_some_and(|f| f.contains("unwrap")));
    assert!(inlined.is_some(), "{functions:?}");
    let addresses = |frames: &[GdbFrame]| -> Vec<String> {
        frames.iter().filter(|frame| frame.kind != "inline").map(|frame| frame.ip.clone()).collect()
    };
    let ours: Vec<GdbFrame> = seen.crashed().2.iter().map(as_gdb).collect();
    assert_eq!(addresses(&ours), addresses(&crash.gdb[0].frames));
}

#[test]
fn a_stripped_program_keeps_its_addresses() {
    let crash = Crash::of(CALLS, &["gcc", "-O2", "-s"], &[]);
    let seen = crash.seen();
    let frames = &seen.crashed().2;
    let ours: Vec<_> = frames.iter().map(|frame| &frame.ip).collect();
    let gdb: Vec<_> = crash.gdb[0].frames.iter().map(|frame| &frame.ip).collect();
    assert_eq!(ours, gdb);
    assert_eq!(frames[0].function, None);
    let program = crash.program();
    assert_eq!(frames[0].module.as_deref(), program.to_str());
    assert!(frames[0].build_id.is_some() && frames[0].offset.is_some());
}

#[test]
fn a_symbol_table_inside_a_stripped_program_names_its_functions() {
    // As Fedora's packages are made.
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("victim.c"), CALLS).unwrap();
    run(Command::new("gcc").args(["-O2", &path("victim.c"), "-o", &path("victim")]));
    run(Command::new("objcopy").args(["--only-keep-debug", &path("victim"), &path("mini")]));
    run(Command::new("xz").args(["-k", &path("mini")]));
    run(Command::new("strip").arg(path("victim")));
    let section = format!(".gnu_debugdata={}", path("mini.xz"));
    run(Command::new("objcopy").args(["--add-section", &section, &path("victim")]));
    let crash = Crash::in_directory(directory, &[]);
    let seen = crash.seen();
    assert_eq!(seen.functions()[..3], ["crash", "outer", "main"]);
    assert_eq!(seen.crashed().2[0].file, None);
}

#[test]
fn a_linked_debug_file_is_taken_by_its_build_id_or_its_checksum_and_only_where_a_person_asks() {
    for build_id in ["-Wl,--build-id=sha1", "-Wl,--build-id=none"] {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        fs::write(path("victim.c"), CALLS).unwrap();
        run(Command::new("gcc").args(["-O2", "-g", build_id, &path("victim.c"), "-o", &path("victim")]));
        fs::create_dir(path(".debug")).unwrap();
        let debug_file = path(".debug/victim.debug");
        run(Command::new("objcopy").args(["--only-keep-debug", &path("victim"), &debug_file]));
        run(Command::new("strip").arg(path("victim")));
        run(Command::new("objcopy").arg(format!("--add-gnu-debuglink={debug_file}")).arg(path("victim")));
        let crash = Crash::in_directory(directory, &[]);
        let named = |places| {
            let seen = crash.seen_in(places, &mut |mapping| File::open(&mapping.path).ok());
            seen.functions().first().copied() == Some("crash")
        };
        assert!(named(Places::Anywhere), "{build_id}");
        assert!(!named(Places::System), "{build_id}: the path is the process's");
        let debug_file = crash.program().with_file_name(".debug/victim.debug");
        let mut other = fs::read(&debug_file).unwrap();
        // Behind everything that is read, so that only the checksum tells; with a build-id that one speaks.
        other.extend([0; 8]);
        fs::write(&debug_file, other).unwrap();
        assert_eq!(named(Places::Anywhere), build_id.ends_with("sha1"), "{build_id}");
    }
}

#[test]
fn split_debug_information_is_read_where_a_person_asks_if_its_id_is_the_units() {
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        let directory = tempfile::tempdir().unwrap();
        let compile = |source: &str, program: &str| {
            fs::write(directory.path().join("shop.c"), source).unwrap();
            let mut gcc = Command::new("gcc");
            gcc.args(["-O2", version, "-gsplit-dwarf", "shop.c", "-o", program]);
            run(gcc.current_dir(directory.path()));
        };
        compile(&CALLS.replace("middle", "centre"), "victim");
        fs::rename(directory.path().join("victim-shop.dwo"), directory.path().join("other")).unwrap();
        compile(CALLS, "victim");
        let crash = Crash::in_directory(directory, &[]);
        let file = |name: &str| crash.directory.path().join(name);
        let inlined = |places| {
            let seen = crash.seen_in(places, &mut |mapping| File::open(&mapping.path).ok());
            let frame = seen.crashed().2.iter().find(|frame| frame.inline).cloned();
            frame.map(|frame| (frame.function.unwrap(), frame.line.unwrap()))
        };
        let middle = Some((String::from("middle"), 5));
        assert_eq!(inlined(Places::Anywhere), middle, "{version}");
        assert_eq!(inlined(Places::System), None, "{version}: the path is the process's");
        // binutils' dwp knows version 4 alone.
        if version == "-gdwarf-4" {
            run(Command::new("dwp").args(["-e", "victim", "-o", "victim.dwp"]).current_dir(&crash.directory));
            fs::remove_file(file("victim-shop.dwo")).unwrap();
            assert_eq!(inlined(Places::Anywhere), middle, "from the package");
            fs::remove_file(file("victim.dwp")).unwrap();
        }
        fs::rename(file("other"), file("victim-shop.dwo")).unwrap();
        assert_eq!(inlined(Places::Anywhere), None, "{version}: another program's");
    }
}
