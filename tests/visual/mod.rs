pub mod devices;
pub mod login;
