//! Devices that change hands: every way in which that happens, and everything that could leak (decision 0013).

mod documents;
mod given_up;
mod keys;
mod matrix;
mod people;
mod things;
mod ways;
