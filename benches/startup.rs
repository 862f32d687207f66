//! startup

fn main() {}
