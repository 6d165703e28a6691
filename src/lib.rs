//! keyledger

pub mod clock;
pub mod domain;
pub mod seal;
pub mod views;
