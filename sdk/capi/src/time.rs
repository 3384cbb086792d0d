//! Moments, for events whose time comes from elsewhere; what may be used again is the inlined code's decision.

use foretrace::foreign;

/// `struct ft_time`.
#[repr(C)]
pub struct Time {
    ticks: u64,
}

/// `ft_now`, as `foretrace.h` has it.
pub extern "C" fn now() -> Time {
    Time { ticks: foreign::now() }
}

/// `ft_time_from_monotonic`, as `foretrace.h` has it.
pub extern "C" fn from_monotonic(nanoseconds: u64) -> Time {
    Time { ticks: foreign::time_from_monotonic(nanoseconds) }
}

/// `foretrace_tick`, as `foretrace.h` has it.
pub extern "C" fn tick() -> u64 {
    foreign::tick()
}

/// `foretrace_in_order`, as `foretrace.h` has it: called in a recording of the calling thread's first nesting level, which
/// has a packet.
pub extern "C" fn in_order(time: u64) -> u64 {
    foreign::in_order(time)
}
