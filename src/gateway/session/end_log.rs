//! The event in the log with which a session ends.

use std::time::Instant;

use super::super::Gateway;
use super::Session;
use crate::domain::ProjectNo;
use crate::log_limit::LinesMax;
use crate::mqtt::codec::DisconnectReason;

/// Limits of these lines; the client is the address, and the kind is the device.
pub const LINES_MAX: LinesMax = LinesMax { of_kind: 5, of_client: 60, in_total: 600 };
/// Maximum number of projects whose names are remembered.
const PROJECTS_MAX: usize = 4096;

impl Session {
    /// Logs the end of this session, with the reason that the server had for it.
    pub(super) async fn log_end(&self, gateway: &Gateway, reason: Option<DisconnectReason>) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        let lines = &gateway.session_lines;
        let Some(left_out) = lines.admit(self.peer.address, self.device.no, Instant::now()) else { return };
        let end = match reason {
            Some(reason) => format!("{reason:?}"),
            None if self.has_disconnected => "Disconnected".to_owned(),
            None => "ConnectionLost".to_owned(),
        };
        let project = gateway.project_name(self.device.product.project).await;
        tracing::info!(
            protocol = self.dialect.protocol(),
            project,
            product = %self.device.product.id,
            device = %self.device.id,
            client.address = %self.peer.address,
            duration_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            messages = self.messages,
            end,
            left_out,
            "a device session ended"
        );
    }
}

impl Gateway {
    /// The name of a project, for the log.
    async fn project_name(&self, no: ProjectNo) -> Option<String> {
        let known = |gateway: &Self| gateway.projects().get(&no).cloned();
        if let Some(name) = known(self) {
            return Some(name);
        }
        let projects = self.cloud.projects().await.unwrap_or_default();
        self.projects().extend(projects.into_iter().take(PROJECTS_MAX).map(|project| (project.no, project.name)));
        known(self)
    }
}
