//! keyledger

pub mod merkle;
