//! Compares what a document says with what is stored, without changing anything.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::links::{GatewayKey, StoredDevice};
use super::{WorldApp, WorldDevice, WorldHome, WorldProduct, WorldProject, WorldUser, members_of};
use crate::domain::ownership::NO_HOME;
use crate::domain::{HomeId, NodeType, ProjectNo, Result, UserNo};

/// Members whose values are secrets.
const SECRETS: [&str; 5] = ["secret", "app_secret", "product_secret", "local_key", "password"];
/// Members with which clients and devices prove who they are. Another value shuts out those who have the stored one.
const CREDENTIALS: [&str; 7] =
    ["client_id", "secret", "app_key", "app_secret", "product_secret", "local_key", "password"];

/// What is stored of the objects of a project that are no devices, in the order of the document; `None` for one that does not
/// exist.
#[derive(Default)]
pub struct StoredObjects {
    /// The project, with its number.
    pub project: Option<(ProjectNo, WorldProject)>,
    /// Its apps.
    pub apps: Vec<Option<WorldApp>>,
    /// Its products. One of another project counts as missing: to write it is refused.
    pub products: Vec<Option<WorldProduct>>,
    /// Its users.
    pub users: Vec<Option<StoredUser>>,
    /// Their homes. If the document names the owner in another way, the stored home has the same name of the owner.
    pub homes: Vec<Option<WorldHome>>,
}

/// A stored user.
pub struct StoredUser {
    /// Without a password.
    pub user: WorldUser,
    /// Whether the document gives the user a password that is not the stored one.
    pub is_other_password: bool,
    /// Whether a password is stored.
    pub has_password: bool,
}

/// The users that a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedUser {
    /// Nobody has the name.
    Nobody,
    /// One user.
    One(UserNo),
    /// Users of several apps.
    Several(i64),
}

/// The product of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundProduct {
    /// Its Tuya id.
    pub id: String,
    /// Its project.
    pub maker: ProjectNo,
    /// The type of its devices.
    pub node_type: NodeType,
}

/// What is stored of a device of a document, and of what the device names.
#[derive(Default)]
pub struct FoundDevice {
    /// The product that the device names.
    pub product: Option<FoundProduct>,
    /// The device.
    pub stored: Option<LinkedDevice>,
    /// The owner, if the document names one.
    pub owner: Option<NamedUser>,
    /// The sharees that the document names, in its order.
    pub sharees: Vec<NamedUser>,
    /// Whether the project has the home that the document names.
    pub has_home: bool,
    /// The gateway that the document names.
    pub gateway: Option<StoredDevice>,
    /// The first member whose value another device has already, although it must be unique.
    pub taken: Option<&'static str>,
}

/// A stored device with its links.
pub struct LinkedDevice {
    /// What decides who may describe it.
    pub device: StoredDevice,
    /// Its members without links, with the id of its own product.
    pub members: WorldDevice,
    /// Whether it was removed.
    pub is_removed: bool,
    /// Its owner.
    pub owner: Option<(UserNo, String)>,
    /// Its home, and whether that is its owner's.
    pub home: Option<(i64, bool)>,
    /// The id of its gateway.
    pub gateway: Option<String>,
    /// The local key of its gateway. It is only read if the document names a key or is to be filled in.
    pub gateway_key: Option<GatewayKey>,
    /// Its sharees. They are only read if the document names some.
    pub sharees: Vec<(UserNo, String)>,
}

/// A member that a document changes.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct MemberChange {
    /// Its name, for a part of a project with the name of that part: `tuya.client_id`.
    pub member: String,
    /// The stored value; `None` if there is none and for a secret.
    pub old: Option<Json>,
    /// The value of the document; `None` for a secret, and for a value that is generated.
    pub new: Option<Json>,
    /// Whether a value that is stored authenticates somebody: to replace it must be allowed.
    pub is_credential: bool,
}

/// The members of `said` that differ from `stored`. Members without a value keep the stored one.
pub(super) fn changes(said: &impl Serialize, stored: &impl Serialize) -> Result<Vec<MemberChange>> {
    Ok(differing("", &members_of(said)?, &members_of(stored)?))
}

fn differing(part: &str, said: &Map<String, Json>, stored: &Map<String, Json>) -> Vec<MemberChange> {
    let mut found = Vec::new();
    for (member, new) in said.iter().filter(|(member, new)| stored.get(*member) != Some(new)) {
        match (new, stored.get(member)) {
            (Json::Object(new), Some(Json::Object(old))) => {
                found.extend(differing(&format!("{part}{member}."), new, old))
            }
            (_, old) => {
                let is_secret = SECRETS.contains(&member.as_str());
                let shown = |value: &Json| (!is_secret).then(|| value.clone());
                let is_credential = old.is_some() && CREDENTIALS.contains(&member.as_str());
                let (old, new) = (old.and_then(shown), shown(new));
                found.push(MemberChange { member: format!("{part}{member}"), old, new, is_credential });
            }
        }
    }
    found
}

impl MemberChange {
    /// A change of a link.
    fn link(member: &str, old: Option<Json>, new: Option<Json>) -> Self {
        Self { member: member.to_owned(), old, new, is_credential: false }
    }

    /// A password that replaces the stored one, or is the first one.
    pub(super) fn password(is_credential: bool) -> Self {
        Self { member: "password".to_owned(), old: None, new: None, is_credential }
    }
}

impl WorldDevice {
    /// What the document changes of a stored device, if the project holds the device or describes only what its maker may.
    ///
    /// # Errors
    /// [`crate::domain::Error::Refused`] for a device of another project; [`crate::domain::Error::Store`].
    pub(super) fn changes(
        &self,
        project: ProjectNo,
        maker: ProjectNo,
        found: &FoundDevice,
        stored: &LinkedDevice,
    ) -> Result<Vec<MemberChange>> {
        let mut changes = self.changed_links(found, stored);
        let is_given = self.owner.is_some() && !stored.device.is_of(project);
        let mut said = self.without_links();
        if !is_given
            && !self.check_maker(project, maker, Some((&stored.device, &stored.members)))?
            && let Some(key) = &stored.gateway_key
        {
            said.omit_shown_key(key);
            if key.is_copied(&said) {
                changes.push(MemberChange::link("local_key", None, None));
            }
        }
        let mut filled = said.clone();
        filled.or_stored(stored.members.clone());
        filled.product_id.clone_from(&stored.members.product_id);
        if filled != stored.members {
            changes.extend(self::changes(&filled, &stored.members)?);
        }
        Ok(changes)
    }

    fn changed_links(&self, found: &FoundDevice, stored: &LinkedDevice) -> Vec<MemberChange> {
        let mut changes = Vec::new();
        let (owner, home) = (stored.owner.as_ref(), stored.home);
        let home_json = || home.map(|(id, _)| id.into());
        if let Some(said) = &self.owner {
            let is_owner = owner.is_some_and(|(no, _)| found.owner == Some(NamedUser::One(*no)));
            if !is_owner || stored.is_removed {
                changes.push(MemberChange::link(
                    "owner",
                    owner.map(|(_, name)| name.clone().into()),
                    Some(said.clone().into()),
                ));
            }
            if self.home_id.is_none() && is_owner && !home.is_some_and(|(_, is_owners)| is_owners) {
                changes.push(MemberChange::link("home_id", home_json(), None));
            }
        }
        if let Some(said) = self.home_id
            && home.map_or(NO_HOME, |(id, _)| HomeId(id)) != HomeId(said)
        {
            changes.push(MemberChange::link("home_id", home_json(), Some(said.into())));
        }
        if let Some(said) = &self.gateway
            && stored.gateway.as_ref() != Some(said)
        {
            let old = stored.gateway.clone().map(Json::from);
            changes.push(MemberChange::link("gateway", old, Some(said.clone().into())));
        }
        if let Some(said) = &self.shared_with {
            let named = found.sharees.iter().map(|named| match named {
                NamedUser::One(no) => Some(*no),
                _ => None,
            });
            // To share a device with its owner changes nothing.
            let sharer = match found.owner {
                Some(NamedUser::One(no)) => Some(no),
                _ => owner.map(|(no, _)| *no),
            };
            let named = named.filter(|named| named.is_none() || *named != sharer);
            let named: HashSet<Option<UserNo>> = named.collect();
            let before: HashSet<Option<UserNo>> = stored.sharees.iter().map(|(no, _)| Some(*no)).collect();
            if named != before {
                let old: Vec<Json> = stored.sharees.iter().map(|(_, name)| name.clone().into()).collect();
                changes.push(MemberChange::link("shared_with", Some(old.into()), Some(said.clone().into())));
            }
        }
        changes
    }

    /// Fills in what is stored of a device that was written.
    pub(super) fn fill(&mut self, project: ProjectNo, stored: LinkedDevice) {
        let is_held_elsewhere = !stored.device.is_of(project);
        let said = is_held_elsewhere.then(|| self.clone());
        if self.owner.is_some() {
            self.home_id = Some(stored.home.map_or(NO_HOME.0, |(id, _)| id));
        }
        self.product_id.clone_from(&stored.members.product_id);
        self.product = None;
        self.or_stored(stored.members);
        match (said, stored.gateway_key) {
            (Some(said), _) => *self = std::mem::take(self).shown_to_maker(said),
            (None, Some(key)) => drop(self.settle_local_key(key)),
            (None, None) => {}
        }
    }
}
