//! Ingle, a self-hosted IoT cloud. ARCHITECTURE.md describes these modules.

pub mod actor;
pub mod aliyun;
pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod domain;
pub mod durable_file;
pub mod feed;
pub mod gateway;
pub mod hex;
pub mod http;
pub mod metrics;
pub mod mqtt;
pub mod net;
pub mod random;
pub mod refusals;
pub mod repeated;
pub mod shutdown;
pub mod simulate;
pub mod store;
pub mod thing_model;
pub mod tls;
pub mod tuya;
pub mod virtual_devices;
pub mod visual;
