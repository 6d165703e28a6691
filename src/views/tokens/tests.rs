//! The token view against a plain model of it.
