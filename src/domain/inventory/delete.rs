//! The deletion of single objects by the operator, and what is lost by it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ObjectKind, ObjectRow};
use crate::domain::caller::Caller;
use crate::domain::device::Removal;
use crate::domain::feed::Selection;
use crate::domain::{Cloud, DeviceId, Error, HomeId, Result, Uid};

/// Something that is lost when an object is deleted, or that forbids it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// How many.
    pub count: u64,
    /// Of what, in words that follow the number.
    pub what: String,
    /// Whether the object cannot be deleted while it has them.
    pub forbids: bool,
}

impl Cloud {
    /// What is lost when an object is deleted. For the operator.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is no such object; [`Error::Store`].
    pub async fn losses(&self, kind: ObjectKind, id: &str, project: Option<&str>) -> Result<Vec<Loss>> {
        let row = self.object(kind, id, project, false).await?;
        if kind == ObjectKind::Listener {
            return Ok(Vec::new());
        }
        self.registry.losses(kind, &row.cursor).await
    }

    /// Deletes an object with everything that belongs to it alone. Sessions of deleted devices end. Rows of the event log
    /// remain on disk until the retention removes them, but nothing shows them any more.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is no such object, or if something of it forbids the deletion; [`Error::Store`].
    pub async fn delete_object(&self, kind: ObjectKind, id: &str, project: Option<&str>) -> Result<()> {
        let row = self.object(kind, id, project, false).await?;
        match kind {
            ObjectKind::Listener => {
                return self.feed.end(&[row.cursor]).await;
            }
            ObjectKind::User => return self.remove_user(&self.as_project(&row).await?, &Uid(text(&row, "uid"))).await,
            ObjectKind::Home => {
                let home: i64 = row.cursor.parse().map_err(Error::store)?;
                return self.remove_home(&self.as_project(&row).await?, HomeId(home)).await;
            }
            _ => {}
        }
        let viewers = match row.device {
            Some(_) if self.feed.has_subscribers() => {
                let device = self.device_by_id(&DeviceId(text(&row, "device_id"))).await?;
                self.viewers(&Vec::from_iter(device.map(Arc::new)), |_| None).await?
            }
            _ => Vec::new(),
        };
        let (is_done, mut moves) = self.registry.delete_object(kind, &row.cursor, self, self.now_ms()).await?;
        if !is_done {
            return Err(Error::Refused(format!("there is no {} {id:?}", kind.noun())));
        }
        if let Some(device) = row.device {
            // A deleted device has no log any more, so its removal is not logged.
            moves.removed.retain(|lost| lost.no != device);
            self.downlink.end_session(device).await;
        }
        self.follow(moves, Removal::Removed).await?;
        self.publish_losses(viewers);
        let of = row.facts.get("uid").and_then(|uid| uid.as_str());
        if let (ObjectKind::Token, Some(uid)) = (kind, of) {
            let of_user = self.feed.admitted(Selection::OfUser(&Uid::from(uid))).await?;
            let by_login = of_user.into_iter().filter(|(_, subscriber)| subscriber.by_login);
            self.feed.end(&by_login.map(|(name, _)| name).collect::<Vec<_>>()).await?;
        }
        self.end_subscribers(None).await
    }

    /// The project of an object as the one that makes a call.
    async fn as_project(&self, row: &ObjectRow) -> Result<Caller> {
        let project = self.projects().await?.into_iter().find(|project| project.name == row.project);
        let project = project.ok_or_else(|| Error::Refused(format!("there is no project {:?}", row.project)))?;
        Ok(Caller { project: Arc::new(project) })
    }
}

fn text(row: &ObjectRow, member: &str) -> String {
    row.members.get(member).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}
