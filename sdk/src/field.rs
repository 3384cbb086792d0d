//! How values lie in an event: byte-packed, little-endian, text and bytes behind a 16-bit length.
//!
//! Owns the two traits that the macro's generic code is made of. Nothing here allocates or formats.
#![allow(unsafe_code)]

use core::ptr;

use foretrace_ring::metadata::{FieldKind, MAX_FIELDS};

/// A value that an event can carry.
///
/// # Safety
/// `write` must write exactly `size()` bytes, `write_cut` exactly `size_cut(limit)` bytes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a field of an event",
    note = "fields are integers, floats, bool, text (`str`, `String`) and bytes (`[u8]`, `Vec<u8>`)"
)]
pub unsafe trait Field {
    /// How the value lies in the event.
    const KIND: FieldKind;
    /// What is carried through the recording: the value itself where that is a register's worth, else a reference.
    type Held<'a>: Field + Copy
    where
        Self: 'a;

    /// Takes the value: from here on nothing looks at the variable that it came from.
    fn hold(&self) -> Self::Held<'_>;

    /// Bytes in the event.
    fn size(&self) -> usize;

    /// Writes the value and answers where the next one goes.
    ///
    /// # Safety
    /// There is room for `size()` bytes.
    unsafe fn write(&self, at: *mut u8) -> *mut u8;

    /// Bytes of the value if no more than `limit` bytes of text are kept.
    fn size_cut(&self, _limit: usize) -> usize {
        self.size()
    }

    /// Writes the value with no more than `limit` bytes of text.
    ///
    /// # Safety
    /// There is room for `size_cut(limit)` bytes.
    unsafe fn write_cut(&self, at: *mut u8, _limit: usize) -> *mut u8 {
        // SAFETY: the caller's promise; nothing of this value can be cut.
        unsafe { self.write(at) }
    }
}

macro_rules! plain {
    ($($type:ty as $stored:ty: $kind:ident),* $(,)?) => {$(
        // SAFETY: both functions speak of the stored type's size.
        unsafe impl Field for $type {
            const KIND: FieldKind = FieldKind::$kind;
            type Held<'a> = $type;

            #[inline(always)]
            fn hold(&self) -> $type {
                *self
            }

            #[inline(always)]
            fn size(&self) -> usize {
                size_of::<$stored>()
            }

            #[inline(always)]
            unsafe fn write(&self, at: *mut u8) -> *mut u8 {
                let bytes = (*self as $stored).to_le_bytes();
                // SAFETY: the caller has room for the value, at any alignment.
                unsafe { at.cast::<[u8; size_of::<$stored>()]>().write_unaligned(bytes) };
                at.wrapping_add(size_of::<$stored>())
            }
        }
    )*};
}

plain! {
    u8 as u8: U8, u16 as u16: U16, u32 as u32: U32, u64 as u64: U64, usize as u64: U64,
    i8 as i8: I8, i16 as i16: I16, i32 as i32: I32, i64 as i64: I64, isize as i64: I64,
    f32 as f32: F32, f64 as f64: F64, bool as u8: Bool,
}

/// Bytes of the length before text and bytes.
const LENGTH: usize = 2;

macro_rules! sequence {
    ($($type:ty as $held:ty: $kind:ident, $cut:expr;)*) => {$(
        // SAFETY: both functions count the length and the bytes. The fast path has compared the size with a packet's,
        // so that 16 bits hold the length.
        unsafe impl Field for $type {
            const KIND: FieldKind = FieldKind::$kind;
            type Held<'a> = &'a $held;

            #[inline(always)]
            fn hold(&self) -> &$held {
                self
            }

            #[inline(always)]
            fn size(&self) -> usize {
                LENGTH + self.len()
            }

            #[inline(always)]
            unsafe fn write(&self, at: *mut u8) -> *mut u8 {
                let bytes: &[u8] = self.as_ref();
                // SAFETY: the caller has room for the length and the bytes.
                unsafe { write_sequence(at, bytes) }
            }

            fn size_cut(&self, limit: usize) -> usize {
                LENGTH + $cut(self, limit)
            }

            unsafe fn write_cut(&self, at: *mut u8, limit: usize) -> *mut u8 {
                let bytes: &[u8] = self.as_ref();
                // SAFETY: the caller has room for the length and so many bytes.
                unsafe { write_sequence(at, &bytes[..$cut(self, limit)]) }
            }
        }
    )*};
}

sequence! {
    str as str: Text, cut;
    String as str: Text, |text: &String, limit| cut(text, limit);
    [u8] as [u8]: Bytes, |bytes: &[u8], limit: usize| bytes.len().min(limit);
    Vec<u8> as [u8]: Bytes, |bytes: &Vec<u8>, limit: usize| bytes.len().min(limit);
}

// SAFETY: the referenced value's promise.
unsafe impl<const N: usize> Field for [u8; N] {
    const KIND: FieldKind = FieldKind::Bytes;
    type Held<'a> = &'a [u8; N];

    #[inline(always)]
    fn hold(&self) -> &[u8; N] {
        self
    }

    #[inline(always)]
    fn size(&self) -> usize {
        LENGTH + N
    }

    #[inline(always)]
    unsafe fn write(&self, at: *mut u8) -> *mut u8 {
        // SAFETY: the caller has room for the length and the bytes.
        unsafe { write_sequence(at, self) }
    }

    fn size_cut(&self, limit: usize) -> usize {
        self.as_slice().size_cut(limit)
    }

    unsafe fn write_cut(&self, at: *mut u8, limit: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.as_slice().write_cut(at, limit) }
    }
}

// SAFETY: the referenced value's promise.
unsafe impl<'t, T: Field + ?Sized> Field for &'t T {
    const KIND: FieldKind = T::KIND;
    type Held<'a>
        = T::Held<'t>
    where
        Self: 'a;

    #[inline(always)]
    fn hold(&self) -> T::Held<'t> {
        (**self).hold()
    }

    #[inline(always)]
    fn size(&self) -> usize {
        (**self).size()
    }

    #[inline(always)]
    unsafe fn write(&self, at: *mut u8) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { (**self).write(at) }
    }

    fn size_cut(&self, limit: usize) -> usize {
        (**self).size_cut(limit)
    }

    unsafe fn write_cut(&self, at: *mut u8, limit: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { (**self).write_cut(at, limit) }
    }
}

/// How many of the first `limit` bytes of a text to keep, so that no character is split.
pub(crate) fn cut(text: &str, limit: usize) -> usize {
    if limit >= text.len() {
        return text.len();
    }
    (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0)
}

/// What stands in an event for a secret: one byte, always 0. The value is not even looked at.
#[derive(Clone, Copy, Debug)]
pub struct Secret;

// SAFETY: one byte.
unsafe impl Field for Secret {
    const KIND: FieldKind = FieldKind::U8;
    type Held<'a> = Secret;

    #[inline(always)]
    fn hold(&self) -> Secret {
        *self
    }

    #[inline(always)]
    fn size(&self) -> usize {
        1
    }

    #[inline(always)]
    unsafe fn write(&self, at: *mut u8) -> *mut u8 {
        // SAFETY: the caller has room for a byte.
        unsafe { at.write(0) };
        at.wrapping_add(1)
    }
}

/// Length and bytes.
///
/// # Safety
/// There is room for both, and `bytes` are fewer than 65,536.
#[inline(always)]
unsafe fn write_sequence(at: *mut u8, bytes: &[u8]) -> *mut u8 {
    let length = (bytes.len() as u16).to_le_bytes();
    // SAFETY: the caller has room for it.
    unsafe { at.cast::<[u8; LENGTH]>().write_unaligned(length) };
    let text = at.wrapping_add(LENGTH);
    // SAFETY: the caller has room for them.
    unsafe { copy(text, bytes) };
    text.wrapping_add(bytes.len())
}

/// Copies few bytes without a call: two overlapping halves of the largest power of two that fits.
///
/// # Safety
/// There is room for the bytes.
#[inline(always)]
unsafe fn copy(to: *mut u8, bytes: &[u8]) {
    let length = bytes.len();
    macro_rules! halves {
        ($size:literal) => {{
            let from = bytes.as_ptr();
            let last = length - $size;
            // SAFETY: `length` is at least the size, so that this lies inside the slice.
            let first = unsafe { from.cast::<[u8; $size]>().read_unaligned() };
            // SAFETY: the slice's last bytes.
            let second = unsafe { from.wrapping_add(last).cast::<[u8; $size]>().read_unaligned() };
            // SAFETY: the caller's room.
            unsafe { to.cast::<[u8; $size]>().write_unaligned(first) };
            // SAFETY: the caller's room; it ends where the slice does.
            unsafe { to.wrapping_add(last).cast::<[u8; $size]>().write_unaligned(second) };
        }};
    }
    if length >= 8 {
        if length <= 16 {
            halves!(8);
        } else if length <= 32 {
            halves!(16);
        } else {
            // SAFETY: the caller's room; a ring and a borrowed slice do not overlap.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, length) };
        }
    } else if length >= 4 {
        halves!(4);
    } else if length >= 2 {
        halves!(2);
    } else if length == 1 {
        halves!(1);
    }
}

/// An event's fields: a list made of pairs, ended by `()`.
///
/// # Safety
/// As for [`Field`].
pub unsafe trait Fields {
    /// Tells event types with other fields apart. Never 0.
    const SIGNATURE: u32;
    /// How many fields.
    const COUNT: usize;
    /// Of these, text and bytes.
    const SEQUENCES: usize;
    /// The values of the fields.
    type Held<'a>: Fields + Copy
    where
        Self: 'a;

    /// Takes all values.
    fn hold(&self) -> Self::Held<'_>;

    /// Bytes in the event.
    fn size(&self) -> usize;

    /// Writes all values.
    ///
    /// # Safety
    /// There is room for `size()` bytes.
    unsafe fn write(&self, at: *mut u8);

    /// Bytes in the event if no more than `limit` bytes of each text are kept.
    fn size_cut(&self, limit: usize) -> usize;

    /// Writes all values with no more than `limit` bytes of each text.
    ///
    /// # Safety
    /// There is room for `size_cut(limit)` bytes.
    unsafe fn write_cut(&self, at: *mut u8, limit: usize);

    /// Writes down how each field lies in the event, from field `index` on.
    fn kinds(into: &mut [FieldKind; MAX_FIELDS], index: usize);
}

// SAFETY: nothing is written.
unsafe impl Fields for () {
    const SIGNATURE: u32 = 0x811c_9dc5;
    const COUNT: usize = 0;
    const SEQUENCES: usize = 0;
    type Held<'a> = ();

    #[inline(always)]
    fn hold(&self) {}

    #[inline(always)]
    fn size(&self) -> usize {
        0
    }

    #[inline(always)]
    unsafe fn write(&self, _at: *mut u8) {}

    fn size_cut(&self, _limit: usize) -> usize {
        0
    }

    unsafe fn write_cut(&self, _at: *mut u8, _limit: usize) {}

    fn kinds(_into: &mut [FieldKind; MAX_FIELDS], _index: usize) {}
}

// SAFETY: the first field's promise and the rest's.
unsafe impl<F: Field, R: Fields> Fields for (F, R) {
    const SIGNATURE: u32 = (R::SIGNATURE ^ (F::KIND as u32 + 1)).wrapping_mul(0x0100_0193) | 1;
    const COUNT: usize = R::COUNT + 1;
    const SEQUENCES: usize = R::SEQUENCES + F::KIND.is_sequence() as usize;
    type Held<'a>
        = (F::Held<'a>, R::Held<'a>)
    where
        Self: 'a;

    #[inline(always)]
    fn hold(&self) -> Self::Held<'_> {
        (self.0.hold(), self.1.hold())
    }

    #[inline(always)]
    fn size(&self) -> usize {
        self.0.size() + self.1.size()
    }

    #[inline(always)]
    unsafe fn write(&self, at: *mut u8) {
        // SAFETY: the caller has room for all of them.
        let rest = unsafe { self.0.write(at) };
        // SAFETY: what is left of that room.
        unsafe { self.1.write(rest) };
    }

    fn size_cut(&self, limit: usize) -> usize {
        self.0.size_cut(limit) + self.1.size_cut(limit)
    }

    unsafe fn write_cut(&self, at: *mut u8, limit: usize) {
        // SAFETY: the caller has room for all of them.
        let rest = unsafe { self.0.write_cut(at, limit) };
        // SAFETY: what is left of that room.
        unsafe { self.1.write_cut(rest, limit) };
    }

    fn kinds(into: &mut [FieldKind; MAX_FIELDS], index: usize) {
        if let Some(kind) = into.get_mut(index) {
            *kind = F::KIND;
        }
        R::kinds(into, index + 1);
    }
}

/// Fields that lie one behind the other already.
#[cfg(feature = "tracing")]
#[derive(Clone, Copy)]
pub(crate) struct Laid<'a>(pub &'a [u8]);

// SAFETY: all speak of the same bytes.
#[cfg(feature = "tracing")]
unsafe impl Fields for Laid<'_> {
    // Of no type: whoever laid them out knows which.
    const SIGNATURE: u32 = 1;
    const COUNT: usize = 0;
    const SEQUENCES: usize = 0;
    type Held<'a>
        = Laid<'a>
    where
        Self: 'a;

    fn hold(&self) -> Laid<'_> {
        *self
    }

    #[inline(always)]
    fn size(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    unsafe fn write(&self, at: *mut u8) {
        // SAFETY: the caller's room.
        unsafe { copy(at, self.0) };
    }

    fn size_cut(&self, _limit: usize) -> usize {
        self.size()
    }

    unsafe fn write_cut(&self, at: *mut u8, _limit: usize) {
        // SAFETY: the caller's room.
        unsafe { self.write(at) };
    }

    fn kinds(_into: &mut [FieldKind; MAX_FIELDS], _index: usize) {}
}
