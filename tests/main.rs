//! One test binary; its folders mirror `src/`. CONTRIBUTING.md says how a test is written.
#![allow(clippy::unwrap_used, clippy::too_many_lines, reason = "a test that cannot go on says where; worlds are long")]

mod abuse;
mod aliyun;
mod answers;
mod backup;
mod bodies;
mod cli;
mod compatibility;
mod damage;
mod dashboards;
mod data_folder;
mod explain;
mod feed;
mod gateway;
mod handover;
mod held_elsewhere;
mod one_world;
mod openapi;
mod ports;
mod power_cut;
mod refusals;
mod simulate;
mod store;
mod support;
mod tidy;
mod traces;
mod tuya;
mod visual;
