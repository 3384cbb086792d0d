//! What the tests on the real kernel stand on: a machine whose settings are always put back, a world with the
//! handler installed, victims that crash, the programs under test, a server.
//!
//! Used by `tests/` and by the developer's commands in `xtask`; the product never links it.

pub mod command;
pub mod control_group;
pub mod disk;
pub mod door;
pub mod evidence;
pub mod faults;
pub mod journal;
pub mod ledger;
pub mod line;
pub mod machine;
pub mod mount;
pub mod network;
pub mod plants;
pub mod power;
pub mod server;
pub mod terminal;
pub mod world;
