pub mod devices;
mod limits;
pub mod login;
