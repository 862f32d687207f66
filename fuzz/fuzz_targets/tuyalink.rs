#![no_main]
#![allow(dead_code, reason = "each target needs one part")]

#[path = "../harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| harness::tuyalink(input));
