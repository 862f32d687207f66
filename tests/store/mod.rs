//! The contract of the engines: one suite, run on each.
