//! Words of a stack, a page at a time: neighbouring frames share their pages, and each read of another process's memory
//! is a system call.

use std::cell::RefCell;

use crate::elf::Class;
use crate::memory::Memory;

const PAGE: usize = 4096;
const SLOTS: usize = 8;

/// A thread's memory during one walk.
pub(super) struct Stack<'a> {
    memory: &'a dyn Memory,
    class: Class,
    pages: RefCell<[Page; SLOTS]>,
}

#[derive(Clone, Default)]
struct Page {
    number: u64,
    bytes: Vec<u8>,
}

impl<'a> Stack<'a> {
    pub(super) fn new(memory: &'a dyn Memory, class: Class) -> Self {
        Stack { memory, class, pages: RefCell::default() }
    }

    /// The word at `address`.
    pub(super) fn word(&self, address: u64) -> Option<u64> {
        let (number, at) = (address / PAGE as u64, (address % PAGE as u64) as usize);
        let mut pages = self.pages.borrow_mut();
        let page = &mut pages[(number % SLOTS as u64) as usize];
        if page.number != number || page.bytes.is_empty() {
            *page = Page { number, bytes: self.memory.read_vec(number * PAGE as u64, PAGE) };
        }
        // Else the word lies on two pages, or what can be read starts within the page.
        self.class.word(&page.bytes, at).or_else(|| self.read(address, self.class.word_bytes()))
    }

    /// The `size` bytes at `address` as a number, as a DWARF expression wants them.
    pub(super) fn number(&self, address: u64, size: u8) -> Option<u64> {
        if usize::from(size) == self.class.word_bytes() {
            return self.word(address);
        }
        self.read(address, size.into())
    }

    /// Up to `length` bytes at `address`, where they are at hand.
    pub(super) fn bytes(&self, address: u64, length: usize) -> Vec<u8> {
        self.memory.read_vec(address, length)
    }

    fn read(&self, address: u64, size: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        let wanted = bytes.get_mut(..size)?;
        (self.memory.read(address, wanted) == wanted.len()).then_some(u64::from_le_bytes(bytes))
    }
}
