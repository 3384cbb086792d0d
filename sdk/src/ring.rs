//! The ring's memory: made at the first event, sealed, found again by every thread, made anew in a forked child.
//!
//! Owns the mapping and its descriptor, and who may write it now. It never waits for another thread: whoever loses a
//! race throws its own mapping away. It never harms the host: a ring that cannot be had means that recording is off.
#![allow(unsafe_code)]

use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering, compiler_fence};

use foretrace_ring::layout::*;

pub(crate) use crate::words::Ring;
use crate::{clock, entry, host, size, switches, thread};

/// A page that a forked child finds zeroed (MADV_WIPEONFORK), however it was forked.
#[repr(C, align(4096))]
struct Page {
    /// [`thread::IDLE`] if this process has a ring; else 0, and every thread takes the slow path.
    mark: AtomicU64,
    /// [`BEGUN`] or [`REPLACING`]. 0 while there is a mapping: that mapping is the parent's.
    begun: AtomicU64,
    _rest: [u64; 510],
}

/// This process began to make its first ring.
const BEGUN: u64 = 1;
/// This process is replacing its parent's ring by its own.
const REPLACING: u64 = 2;

#[cfg(not(target_arch = "x86_64"))]
unsafe extern "C" {
    fn foretrace_page_address() -> *const Page;
}

/// The page, which `thread.c` owns: zeroed and as large as a page, so that it lies in anonymous memory, which alone can
/// be wiped.
#[inline(always)]
fn page() -> &'static Page {
    let page: *const Page;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: takes the address of a variable that is linked into the same program or library.
    unsafe {
        core::arch::asm!(
            "lea {page}, [rip + foretrace_page]",
            page = out(reg) page,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        // SAFETY: the C function has no preconditions.
        page = unsafe { foretrace_page_address() };
    }
    // SAFETY: the variable is as large and as aligned as the type, zeroes are a value of it, and it is only used here.
    unsafe { &*page }
}

/// The mapping, null before the first event.
static BASE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
/// Cells in the pool: decided once.
static CELLS: AtomicU32 = AtomicU32::new(0);
/// 1: recording is off for good.
static OFF: AtomicU32 = AtomicU32::new(0);
/// The memfd and its inode; a program that closes every descriptor must not have us use another one.
static DESCRIPTOR: AtomicI32 = AtomicI32::new(-1);
static INODE: AtomicU64 = AtomicU64::new(0);
/// Events that came while a forked child was making its ring.
static EARLY: AtomicU64 = AtomicU64::new(0);

/// Whether threads of this process may write the ring that is mapped.
#[inline(always)]
pub(crate) fn is_live() -> bool {
    mark() != 0
}

/// What a thread's frame must be for the fast path: [`thread::IDLE`]; 0 in a process without a ring, such as a forked
/// child.
#[inline(always)]
pub(crate) fn mark() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        let mark;
        // SAFETY: loads the page's first word, whole and aligned, as a relaxed atomic load does.
        unsafe {
            core::arch::asm!(
                "mov {mark}, qword ptr [rip + foretrace_page]",
                mark = out(reg) mark,
                options(readonly, nostack, preserves_flags),
            );
        }
        mark
    }
    #[cfg(not(target_arch = "x86_64"))]
    page().mark.load(Ordering::Relaxed)
}

/// This process's ring; made now if there is none. `None`: recording is off, or another thread of a forked child is
/// making its ring at this moment.
pub(crate) fn live() -> Option<Ring> {
    if is_live() {
        return Some(mapped());
    }
    make()
}

/// Whether recording is off for good.
pub(crate) fn is_off() -> bool {
    OFF.load(Ordering::Relaxed) != 0
}

/// The ring's descriptor, if it still is the ring's.
pub(crate) fn descriptor() -> Option<i32> {
    let descriptor = DESCRIPTOR.load(Ordering::Acquire);
    (is_live() && host::inode(descriptor) == Some(INODE.load(Ordering::Relaxed))).then_some(descriptor)
}

fn mapped() -> Ring {
    let cells = CELLS.load(Ordering::Relaxed);
    Ring {
        base: BASE.load(Ordering::Acquire),
        geometry: Geometry::of_pool(u64::from(cells) * u64::from(CELL_SIZE)),
    }
}

#[cold]
fn make() -> Option<Ring> {
    if is_off() {
        return None;
    }
    let parents = BASE.load(Ordering::Acquire);
    let made = if parents.is_null() {
        first()
    } else if page().begun.load(Ordering::Acquire) == BEGUN {
        // Another thread (or the recording that this signal handler interrupted) has mapped it and is about to say so.
        Some(mapped())
    } else {
        return after_fork(parents);
    };
    match made {
        Some(_) => page().mark.store(thread::IDLE, Ordering::Release),
        None => OFF.store(1, Ordering::Relaxed),
    }
    made
}

/// The first ring of this process.
fn first() -> Option<Ring> {
    if switches::forbid_everything() {
        return None;
    }
    let cells = match CELLS.load(Ordering::Relaxed) {
        0 => {
            let mine = Geometry::of_pool(host::pool_size(size::wanted())?).cells;
            CELLS.compare_exchange(0, mine, Ordering::Relaxed, Ordering::Relaxed).err().unwrap_or(mine)
        }
        cells => cells,
    };
    let geometry = Geometry::of_pool(u64::from(cells) * u64::from(CELL_SIZE));
    wipe_on_fork();
    page().begun.store(BEGUN, Ordering::Release);
    let (base, descriptor) = map(geometry)?;
    let ring = Ring { base, geometry };
    fill(ring, None);
    match BASE.compare_exchange(ptr::null_mut(), base, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            remember(descriptor);
            Some(ring)
        }
        Err(_) => {
            host::unmap(base, geometry.size);
            host::close(descriptor);
            Some(mapped())
        }
    }
}

/// A forked child's ring, in the place of its parent's: whatever still points there then points into the child's.
fn after_fork(parents: *mut u8) -> Option<Ring> {
    if page().begun.compare_exchange(0, REPLACING, Ordering::AcqRel, Ordering::Acquire).is_err() {
        EARLY.fetch_add(1, Ordering::SeqCst);
        // Either the maker still sees this event when it settles, or it has said that the ring is there.
        if page().begun.load(Ordering::SeqCst) == BEGUN {
            settle_early(mapped());
        }
        return None;
    }
    thread::current().reset();
    let geometry = mapped().geometry;
    let inherited = DESCRIPTOR.swap(-1, Ordering::AcqRel);
    if host::inode(inherited) == Some(INODE.load(Ordering::Relaxed)) {
        host::close(inherited);
    }
    let Some((base, descriptor)) = map(geometry) else {
        OFF.store(1, Ordering::Relaxed);
        return None;
    };
    let parent = Ring { base: parents, geometry };
    let ring = Ring { base, geometry };
    fill(ring, Some(parent));
    if !host::replace(base, parents, geometry.size) {
        OFF.store(1, Ordering::Relaxed);
        return None;
    }
    remember(descriptor);
    page().mark.store(thread::IDLE, Ordering::Release);
    page().begun.store(BEGUN, Ordering::SeqCst);
    settle_early(parent);
    // The same address, now the child's memory.
    Some(parent)
}

/// Counts the events that came too early as discarded, each once.
fn settle_early(ring: Ring) {
    let early = EARLY.swap(0, Ordering::SeqCst);
    ring.word(AT_DISCARDED).fetch_add(early, Ordering::Relaxed);
}

fn remember(descriptor: i32) {
    INODE.store(host::inode(descriptor).unwrap_or(0), Ordering::Relaxed);
    DESCRIPTOR.store(descriptor, Ordering::Release);
}

fn wipe_on_fork() {
    let page = ptr::from_ref(page()).cast_mut().cast();
    // SAFETY: the page is ours, whole and anonymous; the advice changes what a child sees of it, nothing here.
    unsafe { libc::madvise(page, size_of::<Page>(), libc::MADV_WIPEONFORK) };
}

/// A new sealed memfd, mapped.
fn map(geometry: Geometry) -> Option<(*mut u8, i32)> {
    let descriptor = host::memfd()?;
    match host::map_shared(descriptor, geometry.size) {
        Some(base) => {
            host::seal(descriptor);
            Some((base, descriptor))
        }
        None => {
            host::close(descriptor);
            None
        }
    }
}

/// Writes the header; the magic comes last. A child takes over its parent's event types, annotations and
/// attachments.
fn fill(ring: Ring, parent: Option<Ring>) {
    let geometry = ring.geometry;
    let set = |at: u64, word: u64| ring.word(at).store(word, Ordering::Relaxed);
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let uuid = host::random();
    set(AT_ABI, pair(ABI, HEADER_SIZE as u32));
    set(AT_UUID, uuid as u64);
    set(AT_UUID + 8, (uuid >> 64) as u64);
    set(AT_SIZE, geometry.size);
    set(AT_OWNER, pair(host::process_id(), clock::choose()));
    set(AT_OWNER_START, host::start_time());
    set(AT_ANNOTATIONS, geometry.annotations);
    set(AT_ANNOTATION_COUNT, pair(ANNOTATION_COUNT, ANNOTATION_SIZE));
    set(AT_SCHEMA, geometry.schema);
    set(AT_SCHEMA_COUNT, pair(SCHEMA_COUNT, SCHEMA_SIZE));
    set(AT_SLOTS, geometry.slots);
    set(AT_SLOT_COUNT, pair(SLOT_COUNT, SLOT_SIZE));
    set(AT_DESCRIPTORS, geometry.descriptors);
    set(AT_CELL_COUNT, pair(geometry.cells, CELL_SIZE));
    set(AT_POOL, geometry.pool);
    set(AT_BLOCK, u64::from(BLOCK_CELLS));
    set(AT_NEXT_ID, 1);
    if let Some(parent) = parent {
        let taken = parent.word(AT_SCHEMA_TAKEN).load(Ordering::Acquire).min(u64::from(SCHEMA_COUNT));
        set(AT_NEXT_ID, parent.word(AT_NEXT_ID).load(Ordering::Acquire));
        set(AT_SCHEMA_TAKEN, taken);
        let schema_end = geometry.schema + taken * u64::from(SCHEMA_SIZE);
        for at in (geometry.schema..schema_end).step_by(8) {
            set(at, parent.word(at).load(Ordering::Relaxed));
        }
        entry::inherit(ring, parent);
    }
    clock::begin(ring, parent);
    ring.word(AT_MAGIC).store(MAGIC, Ordering::Release);
}

/// In a forked child, before anything else runs there: its one thread holds nothing of the parent's ring.
#[unsafe(no_mangle)]
extern "C" fn foretrace_forked() {
    thread::current().reset();
    compiler_fence(Ordering::SeqCst);
}
