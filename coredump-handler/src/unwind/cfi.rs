//! Call frame information: finding the rules for an address, and applying them to registers.
//!
//! Owns the order `.eh_frame` by its search table, `.eh_frame` by an index of our own, `.debug_frame`. Never trusts a
//! table: gimli's readers are bounded, expressions are limited, and rules that need what cannot be had end the walk.

use std::cell::OnceCell;

use foretrace_report::schema::Trust;
use gimli::{
    BaseAddresses, CfaRule, DebugFrame, EhFrame, EhFrameOffset, Encoding, EvaluationResult, Expression,
    FrameDescriptionEntry, Location, Reader, Register, RegisterRule, UnwindContext, UnwindSection, Value,
};

use super::Caller;
use super::machine::{Machine, REGISTERS, Values};
use super::stack::Stack;
use crate::module::{FrameSections, Module, Section, SectionReader};

/// A file with more entries and no search table is not of this world.
const INDEX_LIMIT: usize = 1 << 20;
/// glibc's signal frames need 3 operations, a linkage table's entries 11.
const EXPRESSION_LIMIT: u32 = 100;
/// What one expression costs of a walk's steps.
const EXPRESSION_COST: u64 = 16;

type Entry<'m> = FrameDescriptionEntry<SectionReader<'m>>;
type Program<'m> = Expression<SectionReader<'m>>;

/// How to find a caller's registers from an address.
pub(super) struct Rules<'m> {
    /// Whether the address lies in a signal trampoline.
    pub signal: bool,
    /// What applying them costs, in steps of a walk.
    pub cost: u64,
    cfa: Cfa<'m>,
    registers: Box<[Rule<'m>]>,
    encoding: Encoding,
    bias: u64,
    machine: &'static Machine,
}

enum Cfa<'m> {
    Offset(usize, i64),
    Program(Program<'m>),
}

enum Rule<'m> {
    Unspecified,
    Undefined,
    Same,
    At(i64),
    Is(i64),
    In(usize),
    AtProgram(Program<'m>),
    IsProgram(Program<'m>),
    Constant(u64),
    // An augmentation that nobody knows.
    Unknown,
}

/// The tables of one module.
pub(super) struct Tables<'m> {
    machine: &'static Machine,
    sections: &'m FrameSections,
    bases: BaseAddresses,
    bias: u64,
    eh_index: OnceCell<Vec<Covered>>,
    debug_indices: OnceCell<Vec<Vec<Covered>>>,
}

// What an entry covers, and where it is.
#[derive(Clone, Copy)]
struct Covered {
    start: u64,
    end: u64,
    offset: usize,
}

impl<'m> Tables<'m> {
    pub(super) fn new(module: &'m Module, machine: &'static Machine) -> Self {
        let sections = module.frame_sections();
        let mut bases = BaseAddresses::default();
        if let Some((_, address)) = &sections.eh_frame {
            bases = bases.set_eh_frame(*address);
        }
        if let Some((_, address)) = &sections.search_table {
            bases = bases.set_eh_frame_hdr(*address);
        }
        if let Some(address) = sections.text {
            bases = bases.set_text(address);
        }
        if let Some(address) = sections.got {
            bases = bases.set_got(address);
        }
        Tables {
            machine,
            sections,
            bases,
            bias: module.absolute(0),
            eh_index: OnceCell::new(),
            debug_indices: OnceCell::new(),
        }
    }

    /// The rules for an address of the image.
    pub(super) fn rules(&self, address: u64) -> Option<Rules<'m>> {
        self.in_eh_frame(address).or_else(|| self.in_debug_frame(address))
    }

    fn in_eh_frame(&self, address: u64) -> Option<Rules<'m>> {
        let (section, base) = self.sections.eh_frame.as_ref()?;
        let frames = self.eh_frame(section);
        let offset = match self.searched(address, *base) {
            Some(offset) => offset,
            None => {
                let index = self.eh_index.get_or_init(|| index(&frames, &self.bases));
                covering(index, address)?
            }
        };
        let entry =
            frames.fde_from_offset(&self.bases, EhFrameOffset(offset), EhFrame::cie_from_offset).ok()?;
        self.compile(&frames, &entry, address)
    }

    // The offset of the entry that the search table names; None where there is no table that we read.
    fn searched(&self, address: u64, eh_frame: u64) -> Option<usize> {
        const DATA_RELATIVE_I32: u8 = 0x3b;
        const U32: u8 = 0x03;
        let (section, base) = self.sections.search_table.as_ref()?;
        let mut reader = section.reader();
        let [version, _, count_encoding, table_encoding] = reader.read_u8_array::<[u8; 4]>().ok()?;
        if (version, count_encoding, table_encoding) != (1, U32, DATA_RELATIVE_I32) {
            return None;
        }
        reader.skip(4).ok()?;
        let count = (reader.read_u32().ok()? as usize).min(reader.len() / 8);
        let row = |index: usize| {
            let mut at = reader;
            at.skip(index * 8).ok()?;
            let (start, entry) = (at.read_i32().ok()?, at.read_i32().ok()?);
            Some((base.wrapping_add_signed(start.into()), base.wrapping_add_signed(entry.into())))
        };
        // The last row that starts at or before the address.
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            if row(middle)?.0 <= address { low = middle + 1 } else { high = middle }
        }
        // An address before all of them is covered by none: an offset that no entry is at.
        let Some(index) = low.checked_sub(1) else { return Some(usize::MAX) };
        usize::try_from(row(index)?.1.checked_sub(eh_frame)?).ok()
    }

    fn in_debug_frame(&self, address: u64) -> Option<Rules<'m>> {
        let indices = self.debug_indices.get_or_init(|| {
            self.sections.debug_frames.iter().map(|s| index(&self.debug_frame(s), &self.bases)).collect()
        });
        self.sections.debug_frames.iter().zip(indices).find_map(|(section, index)| {
            let frames = self.debug_frame(section);
            let offset = covering(index, address)?;
            let entry =
                frames.fde_from_offset(&self.bases, offset.into(), DebugFrame::cie_from_offset).ok()?;
            self.compile(&frames, &entry, address)
        })
    }

    fn eh_frame(&self, section: &'m Section) -> EhFrame<SectionReader<'m>> {
        let mut frames = EhFrame::from(section.reader());
        frames.set_address_size(self.machine.class.word_bytes() as u8);
        frames.set_vendor(self.machine.vendor);
        frames
    }

    fn debug_frame(&self, section: &'m Section) -> DebugFrame<SectionReader<'m>> {
        let mut frames = DebugFrame::from(section.reader());
        frames.set_address_size(self.machine.class.word_bytes() as u8);
        frames.set_vendor(self.machine.vendor);
        frames
    }

    fn compile<S: UnwindSection<SectionReader<'m>>>(
        &self,
        frames: &S,
        entry: &Entry<'m>,
        address: u64,
    ) -> Option<Rules<'m>> {
        if !entry.contains(address) {
            return None;
        }
        let mut context = UnwindContext::new();
        let row = entry.unwind_info_for_address(frames, &self.bases, &mut context, address).ok()?;
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => Cfa::Offset(register.0.into(), *offset),
            CfaRule::Expression(program) => Cfa::Program(program.get(frames).ok()?),
        };
        let return_register = entry.cie().return_address_register();
        let pc = self.machine.pc;
        let rule_of = |number| {
            let register = if number == pc { return_register } else { Register(number as u16) };
            match row.register(register) {
                // A function that has not saved its return address still has it where the call left it.
                None | Some(RegisterRule::SameValue) if number == pc && self.machine.link.is_some() => {
                    Rule::In(return_register.0.into())
                }
                None => Rule::Unspecified,
                Some(RegisterRule::Undefined) => Rule::Undefined,
                Some(RegisterRule::SameValue) => Rule::Same,
                Some(RegisterRule::Offset(offset)) => Rule::At(offset),
                Some(RegisterRule::ValOffset(offset)) => Rule::Is(offset),
                Some(RegisterRule::Register(other)) => Rule::In(other.0.into()),
                Some(RegisterRule::Expression(program)) => {
                    program.get(frames).map_or(Rule::Unknown, Rule::AtProgram)
                }
                Some(RegisterRule::ValExpression(program)) => {
                    program.get(frames).map_or(Rule::Unknown, Rule::IsProgram)
                }
                Some(RegisterRule::Constant(value)) => Rule::Constant(value),
                Some(_) => Rule::Unknown,
            }
        };
        let registers: Box<[Rule<'m>]> = (0..self.machine.count).map(rule_of).collect();
        let programs =
            registers.iter().filter(|rule| matches!(rule, Rule::AtProgram(_) | Rule::IsProgram(_)));
        let programs = programs.count() + usize::from(matches!(cfa, Cfa::Program(_)));
        let cost = 1 + EXPRESSION_COST * programs as u64;
        let (signal, encoding) = (entry.is_signal_trampoline(), entry.cie().encoding());
        Some(Rules { signal, cost, cfa, registers, encoding, bias: self.bias, machine: self.machine })
    }
}

/// The caller's registers by `rules`. `exact`: the frame was interrupted and calls nobody.
pub(super) fn apply(rules: &Rules<'_>, values: &Values, exact: bool, stack: &Stack<'_>) -> Caller {
    let machine = rules.machine;
    let run = |program: &Program<'_>, start| evaluate(program, rules, start, values, stack);
    let cfa = match &rules.cfa {
        Cfa::Offset(register, offset) => {
            values.get(*register).copied().flatten().map(|v| v.wrapping_add_signed(*offset))
        }
        Cfa::Program(program) => run(program, None),
    };
    let Some(cfa) = cfa else { return Caller::Unknown };
    let mut next: Values = [None; REGISTERS];
    for (number, rule) in rules.registers.iter().enumerate() {
        next[number] = match rule {
            // By the ABI a function gives these back as they were, and its caller's stack begins at the CFA.
            Rule::Unspecified if machine.preserved.contains(&number) => values[number],
            Rule::Unspecified if Some(number) == machine.link => values[number],
            Rule::Unspecified if number == machine.sp => Some(cfa),
            Rule::Unspecified | Rule::Unknown => None,
            Rule::Undefined if number == machine.pc => return Caller::None,
            Rule::Undefined => None,
            Rule::Same => values[number],
            Rule::At(offset) => stack.word(cfa.wrapping_add_signed(*offset)),
            Rule::Is(offset) => Some(cfa.wrapping_add_signed(*offset)),
            // Who has called has overwritten it.
            Rule::In(register) if number == machine.pc && machine.link == Some(*register) && !exact => None,
            Rule::In(register) => values.get(*register).copied().flatten(),
            Rule::AtProgram(program) => run(program, Some(cfa)).and_then(|address| stack.word(address)),
            Rule::IsProgram(program) => run(program, Some(cfa)),
            Rule::Constant(value) => Some(*value),
        };
    }
    next[machine.pc] = next[machine.pc].map(|pc| machine.code_address(pc));
    match (next[machine.pc], next[machine.sp]) {
        (Some(_), Some(_)) => Caller::Found { values: next, trust: Trust::Cfi, exact: rules.signal },
        _ => Caller::Unknown,
    }
}

fn evaluate(
    program: &Program<'_>,
    rules: &Rules<'_>,
    start: Option<u64>,
    values: &Values,
    stack: &Stack<'_>,
) -> Option<u64> {
    let mut evaluation = (*program).evaluation(rules.encoding);
    evaluation.set_max_iterations(EXPRESSION_LIMIT);
    if let Some(start) = start {
        evaluation.set_initial_value(start);
    }
    let mut state = evaluation.evaluate().ok()?;
    loop {
        state = match state {
            EvaluationResult::Complete => break,
            EvaluationResult::RequiresRegister { register, .. } => {
                let value = values.get(usize::from(register.0)).copied().flatten()?;
                evaluation.resume_with_register(Value::Generic(value)).ok()?
            }
            EvaluationResult::RequiresMemory { address, size, space: None, .. } => {
                let value = stack.number(address, size)?;
                evaluation.resume_with_memory(Value::Generic(value)).ok()?
            }
            EvaluationResult::RequiresRelocatedAddress(address) => {
                evaluation.resume_with_relocated_address(rules.bias.wrapping_add(address)).ok()?
            }
            _ => return None,
        };
    }
    match evaluation.as_result().last()?.location {
        Location::Address { address } => Some(address),
        _ => None,
    }
}

// All entries of a section, sorted.
fn index<'m, S: UnwindSection<SectionReader<'m>>>(frames: &S, bases: &BaseAddresses) -> Vec<Covered> {
    let mut index = Vec::new();
    let mut entries = frames.entries(bases);
    // An unreadable entry ends the list; what came before it is good.
    while let Ok(Some(entry)) = entries.next() {
        let gimli::CieOrFde::Fde(partial) = entry else { continue };
        let Ok(entry) = partial.parse(S::cie_from_offset) else { continue };
        let (start, end) = (entry.initial_address(), entry.end_address());
        if start < end {
            index.push(Covered { start, end, offset: entry.offset() });
        }
        if index.len() == INDEX_LIMIT {
            break;
        }
    }
    index.sort_by_key(|covered| covered.start);
    index
}

fn covering(index: &[Covered], address: u64) -> Option<usize> {
    let behind = index.partition_point(|covered| covered.start <= address);
    index.get(behind.checked_sub(1)?).filter(|covered| address < covered.end).map(|covered| covered.offset)
}
