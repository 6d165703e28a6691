//! keyledger

pub mod log;
pub mod merkle;
