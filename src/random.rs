//! Random bytes of the operating system.

/// So many random bytes.
///
/// # Errors
/// [`getrandom::Error`] if the system has none to give.
pub fn bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// A random number.
///
/// # Errors
/// As of [`fn@bytes`].
pub fn number() -> Result<u64, getrandom::Error> {
    getrandom::u64()
}
