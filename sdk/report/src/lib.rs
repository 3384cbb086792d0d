//! What a foretrace report *is*: schemas, data classes, the container, receipts, signatures, bodies on the wire.
//!
//! Everyone who makes, shows, sends or receives a report uses this crate: the handler, the person's command, the
//! server. It is a pure core: functions from values to values, over `Read + Seek` where bytes are many. It never
//! opens a file, never looks at a clock, never speaks to a network, and believes nothing that it decodes.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod class;
pub mod environment;
pub mod id;
pub mod receipt;
pub mod schema;
pub mod signature;
pub mod text;
pub mod trail;
pub mod wire;

pub use class::{Class, ClassSet, Preset};
pub use id::ReportId;
pub use schema::Report;
