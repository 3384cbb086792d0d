//! The limit: nothing that records a time and a value can be cheaper.
#![allow(unsafe_code)]

const RING: usize = 4 << 20;

#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    std::time::Instant::now().elapsed().as_nanos() as u64
}

/// Reads the time and stores 24 bytes, `count` times.
#[inline(never)]
pub fn limit(ring: &mut [u64], count: u64) {
    let mut at = 0;
    for number in 0..count {
        let place = ring.as_mut_ptr().wrapping_add(at);
        // SAFETY: a word of the ring, as the last line of the loop makes sure.
        unsafe { place.write_volatile(ticks()) };
        // SAFETY: the next one.
        unsafe { place.wrapping_add(1).write_volatile(number) };
        // SAFETY: the one after that.
        unsafe { place.wrapping_add(2).write_volatile(number) };
        at = if at + 6 > ring.len() { 0 } else { at + 3 };
    }
}

/// Memory of the same kind as the recorder's: shared, of the usual page size, and touched once.
pub fn shared_memory() -> &'static mut [u64] {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), RING, protection, flags, -1, 0) };
    assert_ne!(base, libc::MAP_FAILED, "no memory for the limit's ring");
    // SAFETY: zeroed, aligned, this large, never unmapped, and nobody else's.
    unsafe { std::slice::from_raw_parts_mut(base.cast(), RING / 8) }
}
