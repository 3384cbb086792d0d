//! `planter LIST`: plants every line of the list wherever a program's data can lie, and dies of a null pointer with
//! pieces of them in its registers. Its functions have names that a careless rule would take for secrets.
#![allow(unsafe_code)]

use std::fs::File;
use std::hint::black_box;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;

use foretrace::{AttachmentClass, Privacy, annotate, attach_address, attach_file, event};

fn main() {
    let list = std::env::args().nth(1).expect("planter LIST");
    let list = std::fs::read_to_string(list).expect("the list can be read");
    let texts: Vec<String> = list.lines().map(|line| line.replace("\\n", "\n")).collect();
    let folder = PathBuf::from(std::env::var_os("PLANTER_FILES").expect("a folder"));
    // Held until the end, so that the process's descriptors name them.
    let mut files = Vec::new();
    let mut sockets = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        event!(info, "planted", text = text.as_str(), who: personal = text.as_str(), pin: secret = text.as_str());
        annotate(&format!("planted-{number}"), text, Privacy::Public);
        if !text.contains(['/', '\n']) {
            files.extend(File::create(folder.join(text)));
            let name = SocketAddr::from_abstract_name(text);
            sockets.extend(name.and_then(|name| UnixListener::bind_addr(&name)));
        }
    }
    // A file, and a piece of memory that is no text.
    let whole = texts.join("\n");
    std::fs::write(folder.join("notes"), &whole).expect("the folder can be written");
    attach_file("notes", &folder.join("notes"), 1 << 20, AttachmentClass::Trail).keep();
    let state: Vec<u8> =
        texts.iter().flat_map(|text| [text.as_bytes(), &[0, 0xff, 0x80, 0]].concat()).collect();
    attach_address("state", state.as_ptr(), state.len(), AttachmentClass::Memory).keep();
    let wide: Vec<Vec<u16>> = texts.iter().map(|text| text.encode_utf16().collect()).collect();
    parse_password_token(&texts, &wide, 0);
    black_box((files, sockets, wide, state));
}

#[inline(never)]
fn parse_password_token(texts: &[String], wide: &[Vec<u16>], number: usize) -> usize {
    check_secret_key_4111111111111111(texts, wide, number) + 1
}

#[inline(never)]
fn check_secret_key_4111111111111111(texts: &[String], wide: &[Vec<u16>], number: usize) -> usize {
    let Some(text) = texts.get(number) else { return sha256_of_user_example_org(texts) };
    let (mut narrow, mut broad) = ([0u8; 512], [0u16; 256]);
    let length = text.len().min(narrow.len());
    narrow[..length].copy_from_slice(&text.as_bytes()[..length]);
    let length = wide[number].len().min(broad.len());
    broad[..length].copy_from_slice(&wide[number][..length]);
    let deeper = parse_password_token(texts, wide, black_box(number + 1));
    deeper + usize::from(black_box(&narrow)[0]) + usize::from(black_box(&broad)[0])
}

#[inline(never)]
fn sha256_of_user_example_org(texts: &[String]) -> usize {
    die_with_secrets_in_registers(texts) + 1
}

#[inline(never)]
fn die_with_secrets_in_registers(texts: &[String]) -> usize {
    let mut piece = [0u8; 16];
    let longest = texts.iter().max_by_key(|text| text.len()).expect("a list");
    piece.copy_from_slice(&longest.as_bytes()[longest.len() / 2..][..16]);
    crash_with(&piece)
}

#[cfg(target_arch = "x86_64")]
fn crash_with(piece: &[u8; 16]) -> usize {
    // SAFETY: none; it stores through a null pointer, which is what this victim exists for. Nothing comes back.
    unsafe {
        std::arch::asm!(
            "movups xmm0, [rdx]",
            "movups xmm9, [rdx]",
            "mov rax, [rdx]",
            "mov r12, [rdx + 8]",
            "mov r9, rax",
            "xor ecx, ecx",
            "mov dword ptr [rcx], 1",
            "ud2",
            in("rdx") piece.as_ptr(),
            options(noreturn),
        )
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn crash_with(piece: &[u8; 16]) -> usize {
    black_box(piece);
    foretrace_victims::crash_by_null_store()
}
