//! `ingle openapi`

use clap::Args;

use super::{Outcome, print};
use crate::app;

/// Print the OpenAPI document of a dialect.
#[derive(Args)]
pub struct Openapi {
    /// tuya, aliyun or visual.
    #[arg(default_value = "tuya")]
    dialect: String,
}

impl Openapi {
    pub(super) fn run(self) -> Outcome {
        let document = app::openapi().into_iter().find(|(name, _)| *name == self.dialect);
        let (_, document) = document.ok_or_else(|| format!("there is no dialect {:?}", self.dialect))?;
        print(&document.to_pretty_json().map_err(|error| error.to_string())?);
        Ok(())
    }
}
