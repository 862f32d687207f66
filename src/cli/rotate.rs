//! `ingle rotate`

use clap::{Args, Subcommand};

use super::{Outcome, Place, existing, print};

/// Replace a signing key.
#[derive(Args)]
pub struct Rotate {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Sign visual tokens with a new key. The old key stays in /.well-known/jwks.json until the last token signed with it has expired.
    VisualKey {
        #[command(flatten)]
        place: Place,
    },
}

impl Rotate {
    pub(super) async fn run(self) -> Outcome {
        let What::VisualKey { place } = self.what;
        let (control, _app) = existing(&place).await?;
        let kid = control.ask("/visual-key", " ".to_owned()).await?;
        print(&format!("visual tokens are signed with {} from now on", String::from_utf8_lossy(&kid)));
        Ok(())
    }
}
