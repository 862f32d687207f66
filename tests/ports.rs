//! The contract of the ports whose state nodes would share: what the comment of each trait promises. The tests know an
//! implementation by its trait alone; a further one is one line in the list at the top of each file. The ports of the stores
//! have a contract of their own, in `tests/store/contract.rs`.

mod attempts;
mod downlink;
mod feed;
mod presence;
mod replays;

const NOW: i64 = 1_763_800_000_000;
