//! One test binary; its folders mirror `src/`.

mod store;
