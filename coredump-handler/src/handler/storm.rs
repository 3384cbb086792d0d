//! When two crashes are the same: found in the registers, the crashed thread's stack and the mapped images, without a
//! name or a line. It decides which of a storm's crashes are worth a report, so it has to be cheap; groups on a server
//! are made of signatures, which are not.
//!
//! Pure: no process, no file but the images that were opened already.

use foretrace_report::schema::Trust;
use foretrace_store::CrashKey;

use crate::core::CoreHead;
use crate::memory::{Copied, Nothing};
use crate::module::Modules;
use crate::stack::Stack;
use crate::unwind::Unwinder;

/// A panic's or an abort's own frames are about ten; the caller's must be among those that count.
const FRAMES: usize = 16;

/// What is known of a crash before anything is named.
pub struct Seen<'a> {
    /// The fatal signal.
    pub signal: i32,
    /// The core's notes.
    pub head: Option<&'a CoreHead>,
    /// The images.
    pub modules: Option<&'a Modules>,
    /// Copies of the stacks.
    pub stacks: &'a [Stack],
}

impl Seen<'_> {
    /// What is known where nothing could be read.
    pub fn nothing_but(signal: i32) -> Self {
        Seen { signal, head: None, modules: None, stacks: &[] }
    }
}

/// The key of a crash of `program`, an executable's path.
pub fn key(program: &[u8], seen: &Seen<'_>) -> CrashKey {
    let mut place = seen.signal.to_le_bytes().to_vec();
    let (none, _) = Modules::new(&[], &Nothing, &mut |_| None);
    let modules = seen.modules.unwrap_or(&none);
    if let Some(crashed) = seen.head.and_then(CoreHead::crashed) {
        let copies = seen.stacks.iter().map(|stack| (stack.start, stack.bytes.as_slice())).collect();
        let walk = Unwinder::new(modules).walk(&crashed.registers, &Copied::new(copies, &Nothing));
        // A guess is not the same twice.
        let sure = walk.steps.iter().take_while(|step| step.trust != Trust::Scan).take(FRAMES);
        for step in sure {
            match modules.find(step.lookup) {
                Some(module) => {
                    place.extend(module.build_id.as_deref().unwrap_or(module.path.as_bytes()));
                    place.extend(module.relative(step.lookup).to_le_bytes());
                }
                // Code that was made while it ran lies elsewhere in every process.
                None => place.push(b'?'),
            }
        }
    }
    CrashKey::new(program, &place)
}
