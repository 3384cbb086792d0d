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
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        self.texts().0
    }

    /// What it took out, for a person.
    pub fn words(self) -> &'static str {
        self.texts().1
    }

    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Rule::Home => ("home", "home directories, now ~"),
            Rule::User => ("user", "user names, now <user>"),
            Rule::Host => ("host", "host names, now <host>"),
            Rule::Email => ("email", "e-mail addresses, now pseudonyms"),
            Rule::Address => ("address", "network addresses, now pseudonyms"),
            Rule::Hardware => ("hardware", "addresses and numbers of devices, now pseudonyms"),
            Rule::PrivateKey => ("private_key", "keys in files' form, now <key>"),
            Rule::Token => ("token", "tokens and access keys, now <token>"),
            Rule::Password => ("password", "passwords and other credentials, now <password>"),
            Rule::Login => ("login", "logins in addresses, now <login>"),
            Rule::Query => ("query", "secrets in addresses' queries, now <value>"),
            Rule::Card => ("card", "card numbers, now <card>"),
            Rule::Account => ("account", "bank accounts and personal numbers, now <account>"),
            Rule::Random => ("random", "texts that look like keys, now <random>"),
            Rule::Custom => ("custom", "texts that this machine's settings name, now <hidden>"),
            Rule::Environment => ("environment", "environment variables"),
            Rule::Arguments => ("arguments", "command line arguments"),
            Rule::Personal => ("personal", "personal values, now pseudonyms"),
            Rule::Secret => ("secret", "secret values"),
            Rule::Memory => ("memory", "words of memory that were no addresses, now zero"),
            Rule::Register => ("register", "registers that held no addresses, now zero"),
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
