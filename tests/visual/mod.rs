mod devices;
mod login;
