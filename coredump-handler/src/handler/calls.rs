//! A set of system calls, and the filter that allows or denies it for the rest of the process's life.
//!
//! Which calls belong in it is the business of who gives rights up: `sandbox`, `privileges`.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// System calls, some of them only with certain arguments.
pub struct Calls(BTreeMap<i64, Vec<SeccompRule>>);

impl Calls {
    /// These, whatever their arguments.
    pub fn new(calls: &[i64]) -> Self {
        Calls(calls.iter().map(|call| (*call, Vec::new())).collect())
    }

    /// `call` too, where its argument of that index (the low 32 bits) fulfils any of `conditions`.
    pub fn with(
        mut self,
        call: i64,
        argument: u8,
        conditions: &[(SeccompCmpOp, i32)],
    ) -> Result<Self, Error> {
        let rules = conditions.iter().map(|(operation, value)| {
            let width = SeccompCmpArgLen::Dword;
            SeccompRule::new(vec![SeccompCondition::new(argument, width, operation.clone(), *value as u64)?])
        });
        self.0.insert(call, rules.collect::<Result<_, _>>()?);
        Ok(self)
    }

    /// From now on this process and its children can make these calls only; any other fails with `EPERM`.
    pub fn allow(self) -> Result<(), Error> {
        self.apply(refusal(), SeccompAction::Allow)
    }

    /// From now on these calls fail with `EPERM` in this process and its children.
    pub fn deny(self) -> Result<(), Error> {
        self.apply(SeccompAction::Allow, refusal())
    }

    fn apply(self, others: SeccompAction, these: SeccompAction) -> Result<(), Error> {
        let filter = SeccompFilter::new(self.0, others, these, std::env::consts::ARCH.try_into()?)?;
        let program: BpfProgram = filter.try_into()?;
        seccompiler::apply_filter(&program)
    }
}

fn refusal() -> SeccompAction {
    SeccompAction::Errno(libc::EPERM as u32)
}
