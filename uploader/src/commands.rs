//! The commands that read and tidy the store; one file each. Consent and sending are modules of their own.

pub mod capture;
pub mod debug;
pub mod dump;
pub mod forget;
pub mod info;
pub mod key;
pub mod list;
pub mod manual;
pub mod status;
pub mod symbols;
pub mod trace;
pub mod vacuum;
