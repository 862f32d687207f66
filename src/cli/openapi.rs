//! `ingle openapi`

use clap::Args;

use super::{Outcome, print};
use crate::tuya;

/// Print the OpenAPI document of the cloud API.
#[derive(Args)]
pub struct Openapi {}

impl Openapi {
    pub(super) fn run(self) -> Outcome {
        print(&tuya::openapi().to_pretty_json().map_err(|error| error.to_string())?);
        Ok(())
    }
}
