//! Names, files and lines beside those that addr2line finds in the same files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use addr2line::{Context, LookupResult};
use tempfile::TempDir;

use super::*;
use crate::module::{Image, Places};

/// So many addresses of a file are compared.
const SAMPLES: u64 = 1500;

const PROGRAM: &str = r#"
#include <algorithm>
#include <map>
#include <string>
#include <vector>
namespace shop {
struct Item { std::string name; int price; };
static inline int taxed(int price) { return price + price / 5; }
struct Till {
    std::vector<Item> items;
    int total() const;
    __attribute__((noinline)) void sort();
};
int Till::total() const { int sum = 0; for (const Item &item : items) sum += taxed(item.price); return sum; }
void Till::sort() { std::sort(items.begin(), items.end(), [](const Item &a, const Item &b) { return a.name < b.name; }); }
template <typename T> struct Stock { std::map<std::string, T> there; __attribute__((noinline)) T take(const std::string &name) { T left = there[name]; there.erase(name); return left; } };
}
extern "C" int other(int);
int main(int count, char **words) {
    shop::Till till;
    for (int i = 0; i < count; ++i) till.items.push_back({words[i], i});
    till.sort();
    shop::Stock<int> stock; shop::Stock<std::string> shelf;
    return till.total() + stock.take("a") + (int)shelf.take("b").size() + other(count);
}
"#;

const OTHER: &str = r#"
static inline int inner(int x) { return x * 3 + 1; }
static inline int middle(int x) { return inner(x) + inner(x + 2); }
__attribute__((cold, noinline)) int rare(int x) { return middle(x) - 7; }
int other(int x) { return x > 100 ? rare(x) : middle(x); }
"#;

struct Built {
    directory: TempDir,
}

impl Built {
    fn with(flags: &[&str]) -> Built {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("till.cpp"), PROGRAM).unwrap();
        fs::write(directory.path().join("other.c"), OTHER).unwrap();
        let built = Built { directory };
        built.run("gcc", &[&["-c", "other.c", "-o", "other.o"], flags].concat());
        built.run("g++", &[&["till.cpp", "other.o", "-o", "till"], flags].concat());
        built
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program).args(arguments).current_dir(self.directory.path()).output();
        let output = output.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn program(&self) -> PathBuf {
        self.directory.path().join("till")
    }
}

// Addresses all over a file's code: what addr2line says there, and what we say.
struct Compared {
    named: usize,
    inlined: usize,
    different: Vec<(u64, Vec<Call>, Vec<Call>)>,
}

fn compare(path: &Path) -> Compared {
    let image = Image::from_file(File::open(path).unwrap()).unwrap();
    let sections = DwarfSections::new(&image, None).unwrap();
    let code = image.headers.loads.iter().filter(|load| load.executable);
    let wanted: Vec<u64> = code
        .flat_map(|load| {
            let step = (load.memory_size / SAMPLES).max(1) as usize;
            (load.address..load.address + load.memory_size).step_by(step)
        })
        .collect();
    let ours = calls(&sections, &Split::new(path, Places::System), &wanted);
    let context = Context::from_dwarf(load(&image)).unwrap();
    let mut compared = Compared { named: 0, inlined: 0, different: Vec::new() };
    for address in wanted {
        let theirs = theirs(&context, address);
        let ours = ours.get(&address).cloned().unwrap_or_default();
        compared.named += usize::from(theirs.iter().any(|call| call.function.is_some()));
        compared.inlined += usize::from(theirs.len() > 1);
        if theirs != ours {
            compared.different.push((address, theirs, ours));
        }
    }
    compared
}

type Slices = gimli::EndianSlice<'static, gimli::LittleEndian>;

fn load(image: &Image) -> Dwarf<Slices> {
    let section = |id: SectionId| {
        let bytes = image.section(id.name()).whole(usize::MAX).unwrap();
        gimli::Result::Ok(Slices::new(bytes.leak(), gimli::LittleEndian))
    };
    Dwarf::load(section).unwrap()
}

fn theirs(context: &Context<Slices>, address: u64) -> Vec<Call> {
    let LookupResult::Output(Ok(mut frames)) = context.find_frames(address) else { return Vec::new() };
    let mut calls = Vec::new();
    while let Ok(Some(frame)) = frames.next() {
        let function = frame.function.and_then(|function| Some(function.raw_name().ok()?.into_owned()));
        let place = frame.location;
        let file = place.as_ref().and_then(|place| place.file.map(str::to_owned));
        calls.push(Call { function, file, line: place.and_then(|place| place.line) });
    }
    calls
}

fn assert_equal(path: &Path, what: &str) -> Compared {
    let compared = compare(path);
    let count = compared.different.len();
    if let Some((address, theirs, ours)) = compared.different.first() {
        panic!("{what}: {count} differ; at {address:#x} addr2line says\n{theirs:#?}\nand we\n{ours:#?}");
    }
    compared
}

#[test]
fn compiled_programs_are_named_as_addr2line_names_them() {
    for flags in [
        &["-g", "-O0", "-gdwarf-5"][..],
        &["-g", "-O2", "-gdwarf-5"],
        &["-g", "-O2", "-gdwarf-4", "-ffunction-sections", "-Wl,--gc-sections"],
        &["-g", "-O2", "-gdwarf-3"],
        &["-g", "-O2", "-gz=zlib", "-no-pie"],
        &["-g", "-O2", "-flto", "-gdwarf-5"],
        &["-g", "-O2", "-gdwarf64"],
        &["-g1", "-O2"],
    ] {
        let built = Built::with(flags);
        let compared = assert_equal(&built.program(), &flags.join(" "));
        assert!(compared.named > 200 && (flags.contains(&"-O0") || compared.inlined > 50), "{flags:?}");
    }
}

#[test]
fn a_file_without_a_list_of_its_units_addresses_loses_no_name() {
    for flags in [&["-g", "-O2", "-gdwarf-5"][..], &["-g", "-O2", "-gdwarf-4"]] {
        let built = Built::with(flags);
        // Of one unit alone, and of none.
        built.run("objcopy", &["--remove-section=.debug_aranges", "other.o"]);
        built.run("g++", &[&["till.cpp", "other.o", "-o", "till"], flags].concat());
        let partly = assert_equal(&built.program(), "one unit is not listed");
        built.run("objcopy", &["--remove-section=.debug_aranges", "till"]);
        let compared = assert_equal(&built.program(), "no unit is listed");
        assert_eq!((compared.named, compared.inlined), (partly.named, partly.inlined));
        assert!(compared.named > 200);
    }
}

// Gives all entries of each unit's list a length of 0 but those at its lowest and its highest address; returns how many.
fn shorten(list: &mut [u8]) -> usize {
    let mut rest = list;
    let mut shortened = 0;
    while let Some(length) = rest.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize) {
        let (unit, behind) = rest.split_at_mut(4 + length);
        rest = behind;
        // Its header takes 16 bytes, each entry two words.
        let mut entries: Vec<&mut [u8]> = unit[16..].chunks_exact_mut(16).collect();
        entries.retain(|entry| entry[8..] != [0; 8]);
        entries.sort_by_key(|entry| u64::from_le_bytes(entry[..8].try_into().unwrap()));
        let last = entries.len().saturating_sub(1);
        for entry in entries.into_iter().take(last).skip(1) {
            entry[8..].fill(0);
            shortened += 1;
        }
    }
    shortened
}

#[test]
fn a_list_that_leaves_out_some_of_a_units_functions_loses_no_name() {
    let built = Built::with(&["-g", "-O2", "-gdwarf-4", "-ffunction-sections"]);
    let whole = assert_equal(&built.program(), "all is listed");
    built.run("objcopy", &["--dump-section", ".debug_aranges=list", "till"]);
    let list = built.directory.path().join("list");
    let mut bytes = fs::read(&list).unwrap();
    assert!(shorten(&mut bytes) > 3);
    fs::write(&list, bytes).unwrap();
    built.run("objcopy", &["--update-section", ".debug_aranges=list", "till"]);
    let compared = assert_equal(&built.program(), "half is listed");
    assert_eq!((compared.named, compared.inlined), (whole.named, whole.inlined));
}

#[test]
fn this_very_program_and_its_standard_library_are_named_as_addr2line_names_them() {
    let compared = assert_equal(&std::env::current_exe().unwrap(), "this program");
    assert!(compared.named > 200 && compared.inlined > 50, "{} {}", compared.named, compared.inlined);
}

#[test]
fn of_a_functions_names_the_one_that_people_write_is_taken() {
    let built = Built { directory: tempfile::tempdir().unwrap() };
    let names = ["__GI_halt", "halt", "__halt"];
    let labels: String = names.iter().map(|name| format!(".globl {name}\n{name}:\n")).collect();
    let types = names.iter().map(|name| format!(".type {name}, @function\n.size {name}, 1\n"));
    fs::write(built.directory.path().join("halt.s"), labels + "hlt\n" + &types.collect::<String>()).unwrap();
    built.run("gcc", &["-g", "-c", "halt.s", "-o", "halt.o"]);
    built.run("gcc", &["-nostdlib", "-Wl,-e,halt", "halt.o", "-o", "halt"]);
    let image = Image::from_file(File::open(built.directory.path().join("halt")).unwrap()).unwrap();
    let sections = DwarfSections::new(&image, None).unwrap();
    let start = image.headers.loads.iter().find(|load| load.executable).unwrap().address;
    let found = calls(&sections, &Split::new(Path::new("/"), Places::System), &[start]);
    assert_eq!(found[&start][0].function.as_deref(), Some("halt"));
}
