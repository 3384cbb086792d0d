//! The account of a redaction: which rules there are, and how often each took something out.

use std::collections::BTreeMap;

/// What a rule takes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Home directories; `~` stands for them.
    Home,
    /// The names of users.
    User,
    /// The names of hosts.
    Host,
    /// E-mail addresses.
    Email,
    /// Addresses of the Internet protocol, but for those that every machine has.
    Address,
    /// Addresses of network hardware, numbers of devices.
    Hardware,
    /// Keys, private ones and those that name their holder.
    PrivateKey,
    /// Tokens and keys that tell by their shape what they are.
    Token,
    /// Passwords and the like: values that stand beside a name which says so.
    Password,
    /// User and password in an address.
    Login,
    /// Secrets in the query of an address.
    Query,
    /// Card numbers.
    Card,
    /// Bank accounts and other numbers that name one person.
    Account,
    /// Long texts that look drawn at random.
    Random,
    /// What the administrator's own patterns name.
    Custom,
    /// Environment variables that are not on the list.
    Environment,
    /// Arguments after the program's own name.
    Arguments,
    /// Values that the program called personal; pseudonyms stand for them.
    Personal,
    /// Values that the program called secret.
    Secret,
    /// Words of memory that are neither addresses nor small numbers.
    Memory,
    /// Registers that hold neither an address nor a small number, and all vector registers.
    Register,
}

impl Rule {
    /// The name in JSON; `removed-` and it are the catalogue's key for what it took out.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Home => "home",
            Rule::User => "user",
            Rule::Host => "host",
            Rule::Email => "email",
            Rule::Address => "address",
            Rule::Hardware => "hardware",
            Rule::PrivateKey => "private_key",
            Rule::Token => "token",
            Rule::Password => "password",
            Rule::Login => "login",
            Rule::Query => "query",
            Rule::Card => "card",
            Rule::Account => "account",
            Rule::Random => "random",
            Rule::Custom => "custom",
            Rule::Environment => "environment",
            Rule::Arguments => "arguments",
            Rule::Personal => "personal",
            Rule::Secret => "secret",
            Rule::Memory => "memory",
            Rule::Register => "register",
        }
    }
}

/// How often each rule took something out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed(BTreeMap<Rule, u64>);

impl Removed {
    /// Adds to a rule's count.
    pub fn count(&mut self, rule: Rule, times: u64) {
        if times > 0 {
            *self.0.entry(rule).or_default() += times;
        }
    }

    /// A rule's count.
    #[cfg(test)]
    pub fn of(&self, rule: Rule) -> u64 {
        self.0.get(&rule).copied().unwrap_or(0)
    }

    /// The rules that took something out, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Rule, u64)> {
        self.0.iter().map(|(rule, count)| (*rule, *count))
    }
}
