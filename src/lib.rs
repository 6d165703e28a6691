//! keyledger

pub mod clock;
pub mod seal;
