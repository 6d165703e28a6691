//! Tests of the log as a whole, on real files and on the faulty disk.

mod basic;
