//! One test binary; its folders mirror `src/`. CONTRIBUTING.md says how a test is written.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod cli;
mod store;
mod support;
mod tidy;
mod tuya;
