//! Makes the corpus anew out of real things: this process's ring and maps, cores, a bundle. Run in `fuzz/`, without
//! instrumentation: `RUSTFLAGS= cargo run --example seeds`.
//!
//! Rings are cut down to a few writer slots and cells; what is left is as the recorder wrote it. Other files in the corpus stay.

#[path = "../sections.rs"]
mod sections;

use std::fs;
use std::io::{self, Cursor};
use std::path::Path;
use std::sync::Barrier;

use foretrace::{Privacy, annotate, event};
use foretrace_capture::assemble::{Collected, Extent, assemble};
use foretrace_capture::core;
use foretrace_report::ReportId;
use foretrace_report::schema::{Kind, Program};
use foretrace_ring::layout::*;
use foretrace_ring::{Memory, Snapshot, reader};

fn main() -> io::Result<()> {
    annotate("shop", "Main Street 4", Privacy::Public);
    annotate("cashier", "Ada Lovelace", Privacy::Personal);
    record_all_kinds(3);
    let few = own_ring()?;
    save("ring_reader", "few.ring", &cut_down(&few, 0, 16))?;
    let mut changing = cut_down(&few, 0, 16);
    changing.extend_from_slice(&0x0123_4567_89ab_cdef_u64.to_le_bytes());
    save("ring_reader", "changing.ring", &changing)?;
    let snapshot = reader::read(&few[..]).expect("our own ring");
    save("trail_decode", "few.trail", &as_trail(&snapshot))?;
    let mut collected = Collected::new(
        ReportId::from_random([7; 16]),
        Kind::Crash,
        String::from("2026-01-01T00:00:00Z"),
        program(),
    );
    collected.parts.push((String::from("process/status"), fs::read("/proc/self/status")?));
    collected.trails.push((String::from("ring-1"), snapshot));
    let (bundle, _) = assemble(&collected, &collected.threads, Cursor::new(Vec::new()), &Extent::Whole)
        .map_err(io::Error::other)?;
    save("bundle_reader", "crash.zip", &bundle.into_inner())?;

    // More threads than blocks are for: small packets.
    let barrier = Barrier::new(100);
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                record_all_kinds(4);
                barrier.wait();
                record_all_kinds(4);
                barrier.wait();
            });
        }
    });
    let crowded = own_ring()?;
    let cells = crowded[..].load(AT_CELL_COUNT).expect("a header") as u32;
    let whole = |cell: &u32| crowded[..].load(descriptor(*cell)).is_some_and(|word| word & WHOLE != 0);
    let first = (0..cells).step_by(BLOCK_CELLS as usize).find(|cell| !whole(cell)).unwrap_or(0);
    save("ring_reader", "crowded.ring", &cut_down(&crowded, first, 32))?;

    // Where this was built is nobody's business.
    let here = std::env::current_exe()?.display().to_string();
    save(
        "maps",
        "self.maps",
        fs::read_to_string("/proc/self/maps")?.replace(&here, "/usr/bin/seeds").as_bytes(),
    )?;
    for name in ["segv-x86_64.core", "gcore-x86_64.core", "threads-x86_64.core"] {
        let bytes = fs::read(Path::new("../tests/fixtures/cores").join(name))?;
        let (_, head) = core::read_head(&mut &bytes[..]).map_err(io::Error::other)?;
        save("core_head", name, &head)?;
        save("notes", &name.replace(".core", ".notes"), notes(&head))?;
    }
    for (name, flags) in [
        ("inlined", &["-g", "-O2"][..]),
        ("compressed", &["-g", "-gz=zlib", "-O1"]),
        ("frame-pointers", &["-gdwarf-4", "-O1", "-fno-omit-frame-pointer", "-rdynamic"]),
        ("debug-frame", &["-g", "-O2", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]),
        ("shared", &["-O2", "-fPIC", "-shared"]),
    ] {
        let program = compile(flags)?;
        save("elf", &format!("{name}.elf"), &program)?;
        save("unwind", &format!("{name}.elf"), &program)?;
    }
    for (name, flags) in [
        ("version-5", &["-g", "-O2"][..]),
        ("version-4", &["-gdwarf-4", "-O2"]),
        ("sixty-four", &["-g", "-gdwarf64", "-O1", "-ffunction-sections"]),
    ] {
        save("dwarf", &format!("{name}.sections"), &debug_sections(&compile(flags)?)?)?;
    }
    Ok(())
}

/// What the first PT_NOTE of a core's head holds.
fn notes(head: &[u8]) -> &[u8] {
    let word = |at: usize| head[..].load(at as u64).expect("a program header") as usize;
    let headers = (word(32)..).step_by(56);
    let note = headers.into_iter().find(|at| word(*at) as u32 == 4).expect("a core has notes");
    let (start, size) = (word(note + 8), word(note + 32));
    &head[start..(start + size).min(head.len())]
}

/// A small program with inlined calls, and a stack that returns into it everywhere.
fn compile(flags: &[&str]) -> io::Result<Vec<u8>> {
    const SOURCE: &str = "struct order { int cents; struct order *next; };
        static inline int sum(const struct order *o) { int s = 0; for (; o; o = o->next) s += o->cents; return s; }
        __attribute__((noinline)) int pay(struct order *o) { if (sum(o) > 9) __builtin_trap(); return sum(o->next); }
        int main(int count, char **words) { char room[count * 8]; struct order o = {count, 0}; room[0] = words[0][0];
            return pay(&o) + room[0]; }";
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("till");
    fs::write(folder.path().join("till.c"), SOURCE)?;
    let status = std::process::Command::new("gcc")
        .args(flags)
        .args(["-Wl,--build-id", "-Wl,-z,noseparate-code", "-o", "till", "till.c"])
        .current_dir(folder.path())
        .status()?;
    assert!(status.success(), "gcc {flags:?}");
    let mut bytes = fs::read(output)?;
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend((0..128_u64).flat_map(|word| (0x5555_0000_05b0 + word * 3).to_le_bytes()));
    Ok(bytes)
}

/// A program's debug sections and addresses of its code, as the target `dwarf` takes them.
fn debug_sections(program: &[u8]) -> io::Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("till"), program)?;
    let mut input = Vec::new();
    for name in sections::NAMES {
        // A section that is not there is said so, and leaves no file.
        std::process::Command::new("objcopy")
            .args([&format!("--dump-section={name}={name}"), "till", "copy"])
            .current_dir(folder.path())
            .output()?;
        let bytes = fs::read(folder.path().join(name)).unwrap_or_default();
        input.extend_from_slice(&u16::try_from(bytes.len()).map_err(io::Error::other)?.to_le_bytes());
        input.extend_from_slice(&bytes);
    }
    input.extend((0..64_u16).flat_map(|place| (0x0500 + place * 16).to_le_bytes()));
    let (sections, _) = sections::split(&input);
    assert!(sections.iter().filter(|(_, bytes)| !bytes.is_empty()).count() > 3, "debug sections");
    assert!(sections::image(&sections).starts_with(b"\x7fELF"));
    Ok(input)
}

fn record_all_kinds(rounds: u64) {
    for number in 0..rounds {
        event!(info, "order", number = number, cents = -1250_i32, paid = true, weight = 1.5);
        event!(warn, "no card", customer: personal = "ada@example.org", token: secret = "4000", raw = [1_u8, 2, 3]);
    }
}

fn program() -> Program {
    Program { name: String::from("till"), exe: Some(String::from("/usr/bin/till")), pid: 4711, package: None }
}

fn own_ring() -> io::Result<Vec<u8>> {
    let descriptor = foretrace::descriptor().ok_or(io::ErrorKind::NotFound)?;
    fs::read(format!("/proc/self/fd/{descriptor}"))
}

fn descriptor(cell: u32) -> u64 {
    Geometry::of_pool(DEFAULT_POOL).descriptors + u64::from(cell) * 8
}

/// The ring with its first slots only, and `cells` cells from `first` on.
fn cut_down(ring: &[u8], first: u32, cells: u32) -> Vec<u8> {
    const SLOTS: u32 = 24;
    let real = Geometry::of_pool(DEFAULT_POOL);
    let taken = (ring.load(AT_SCHEMA_TAKEN).expect("a header") as u32).max(1);
    let mut small = Vec::new();
    let mut part = |at: u64, bytes: u64| {
        let here = small.len() as u64;
        small.extend_from_slice(&ring[at as usize..(at + bytes) as usize]);
        here
    };
    part(0, HEADER_SIZE);
    let annotations = part(real.annotations, 3 * u64::from(ANNOTATION_SIZE));
    let schema = part(real.schema, u64::from(taken * SCHEMA_SIZE));
    let slots = part(real.slots, u64::from(SLOTS * SLOT_SIZE));
    let descriptors = part(descriptor(first), u64::from(cells) * 8);
    let pool = part(real.pool + u64::from(first * CELL_SIZE), u64::from(cells * CELL_SIZE));
    let size = small.len() as u64;
    let mut set =
        |at: u64, word: u64| small[at as usize..at as usize + 8].copy_from_slice(&word.to_le_bytes());
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    set(AT_SIZE, size);
    for (at, place) in [
        (AT_ANNOTATIONS, annotations),
        (AT_SCHEMA, schema),
        (AT_SLOTS, slots),
        (AT_DESCRIPTORS, descriptors),
        (AT_POOL, pool),
        (AT_ANNOTATION_COUNT, pair(3, ANNOTATION_SIZE)),
        (AT_SCHEMA_COUNT, pair(taken, SCHEMA_SIZE)),
        (AT_SLOT_COUNT, pair(SLOTS, SLOT_SIZE)),
        (AT_CELL_COUNT, pair(cells, CELL_SIZE)),
    ] {
        set(at, place);
    }
    small
}

fn as_trail(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = snapshot.metadata.clone().into_bytes();
    bytes.push(0);
    for (_, stream) in &snapshot.streams {
        bytes.extend_from_slice(&(stream.len() as u32).to_le_bytes());
        bytes.extend_from_slice(stream);
    }
    bytes
}

fn save(target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = Path::new("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}
