//! What must be known of a document and of what is stored, to compare the devices of one of its projects.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use super::compare::{FoundDevice, MemberChange, NamedUser, StoredObjects};
use super::links::StoredDevice;
use super::plan::BATCH;
use super::rules::{check_device, place_of};
use super::{DevicePlace, WorldDevice, WorldDocument, WorldProduct, WorldProject};
use crate::domain::user::compared_name;
use crate::domain::{Error, NodeType, ProjectNo, Result};

/// What the document itself creates, and what its devices need to be compared with.
pub(super) struct Surroundings<'a> {
    pub document: &'a WorldDocument,
    pub index: usize,
    pub no: ProjectNo,
    /// Users that do not exist yet, by name and by uid.
    pub new_users: HashSet<String>,
    pub homes: HashSet<i64>,
    /// Homes that get another owner: the devices of the previous owner leave them.
    pub moved_homes: HashSet<i64>,
    pub hashers: (RandomState, RandomState),
    pub seen: HashSet<u128>,
    /// Gateways of the document.
    pub gateways: HashSet<u128>,
    /// Gateways that are not stored, with the device that names them.
    pub awaited: Vec<(u128, usize)>,
    /// Stored gateways that change: their sub-devices may change with them.
    pub moved: HashSet<u128>,
    /// Devices that do not differ, with their gateways.
    pub behind: Vec<(u128, DevicePlace)>,
    pub unnamed: HashMap<String, usize>,
    pub products: HashMap<String, Option<String>>,
}

impl<'a> Surroundings<'a> {
    pub fn of(document: &'a WorldDocument, index: usize, project: &WorldProject, stored: &StoredObjects) -> Self {
        let users = project.users.iter().zip(&stored.users).filter(|(_, stored)| stored.is_none());
        let names =
            users.flat_map(|(user, _)| [Some(compared_name(&user.username)), user.uid.as_ref().map(Into::into)]);
        let moved = project.homes.iter().zip(&stored.homes);
        let moved = moved.filter_map(|(home, stored)| stored.as_ref().filter(|stored| stored.owner != home.owner));
        Self {
            document,
            index,
            no: stored.project.as_ref().map_or(ProjectNo(0), |(no, _)| *no),
            new_users: names.flatten().map(|name| name.to_string()).collect(),
            homes: project.homes.iter().filter_map(|home| home.home_id).collect(),
            moved_homes: moved.filter_map(|home| home.home_id).collect(),
            hashers: Default::default(),
            seen: HashSet::new(),
            gateways: HashSet::new(),
            awaited: Vec::new(),
            moved: HashSet::new(),
            behind: Vec::new(),
            unnamed: HashMap::new(),
            products: HashMap::new(),
        }
    }

    /// Stands for a value of a member. Two values have the same number with a negligible probability.
    pub fn number(&self, member: &str, value: &str) -> u128 {
        let of = |hasher: &RandomState| u128::from(hasher.hash_one((member, value)));
        of(&self.hashers.0) << 64 | of(&self.hashers.1)
    }

    /// Reads a batch of devices and checks what can be checked without a store.
    pub fn read(&mut self, start: usize) -> Result<Vec<WorldDevice>> {
        let project = self.project();
        let place = place_of(project);
        let end = (start + BATCH).min(self.document.device_count(self.index));
        let mut devices = Vec::with_capacity(end - start);
        for index in start..end {
            let device = self.document.device(self.index, index)?;
            check_device(&place, &device)?;
            if let Some(id) = &device.device_id
                && !self.seen.insert(self.number("device_id", id))
            {
                return Err(Error::Refused(format!("{place} devices: {id:?} is listed twice")));
            }
            devices.push(device);
        }
        Ok(devices)
    }

    /// Names the devices without a name.
    pub fn numbered(&mut self, mut devices: Vec<WorldDevice>) -> Result<Vec<WorldDevice>> {
        WorldDevice::name_unnamed(&mut devices, &mut self.unnamed);
        Ok(devices)
    }

    /// Why a device will be refused, although its own members are valid.
    pub fn problem(&mut self, said: &WorldDevice, found: &FoundDevice) -> Option<String> {
        let is_unknown = |name: &String, named: &NamedUser| {
            *named == NamedUser::Nobody
                && !self.new_users.contains(name)
                && !self.new_users.contains(compared_name(name).as_ref())
        };
        let named = |name: &String, named: &NamedUser| match named {
            NamedUser::Several(count) => Some(format!("{count} apps have a user {name:?}: give the uid of one")),
            named => is_unknown(name, named).then(|| format!("there is no user {name:?}")),
        };
        let owner = said.owner.as_ref().zip(found.owner.as_ref());
        let sharees = said.shared_with.iter().flatten().zip(&found.sharees);
        if let Some(problem) = owner.into_iter().chain(sharees).find_map(|(name, user)| named(name, user)) {
            return Some(problem);
        }
        if let Some(home) = said.home_id
            && home != 0
            && !found.has_home
            && !self.homes.contains(&home)
        {
            return Some(format!("home_id: the project has no home {home}"));
        }
        if let Some(member) = found.taken {
            return Some(format!("{member} is in use already"));
        }
        if let Some(id) = &said.gateway {
            match found.gateway {
                None => self.awaited.push((self.number("device_id", id), said.place.index)),
                // A gateway that the document gives to the project is judged when it is written.
                stored => match StoredDevice::gateway(stored, id, self.no) {
                    Err(error) if !self.seen.contains(&self.number("device_id", id)) => return Some(error.to_string()),
                    _ => {}
                },
            }
        }
        let (name, iot_id) = (said.device_name.as_ref().or(said.device_id.as_ref()), said.iot_id.as_ref());
        let name = name.map(|name| ("device_name", format!("{} {name}", said.product_id)));
        let iot_id = iot_id.map(|id| ("iot_id", id.clone()));
        let twice = |(member, value): &(&'static str, String)| !self.seen.insert(self.number(member, value));
        let (member, _) = name.into_iter().chain(iot_id).find(twice)?;
        Some(format!("{member} is in use already by another device of the document"))
    }

    /// The maker and the node type of the product of a device, which may be one that the document creates.
    pub fn product(&self, said: &WorldDevice, found: &FoundDevice) -> Option<(ProjectNo, NodeType)> {
        if let Some(product) = &found.product {
            return Some((product.maker, product.node_type));
        }
        let is_it = |one: &&WorldProduct| match &said.product {
            Some(name) => one.name == *name,
            None => one.product_id.as_ref() == Some(&said.product_id),
        };
        let product = self.project().products.iter().find(is_it)?;
        Some((self.no, product.node_type.unwrap_or(NodeType::Device)))
    }

    /// What the document changes of a device; `None` for a new one.
    ///
    /// # Errors
    /// [`Error::Refused`] if the project may not describe the device so; [`Error::Store`].
    pub fn judge(&self, said: &WorldDevice, found: &FoundDevice) -> Result<Option<Vec<MemberChange>>> {
        let Some((maker, _)) = self.product(said, found) else {
            let name = said.product.as_ref().unwrap_or(&said.product_id);
            return Err(Error::Refused(format!("there is no product {name:?}")));
        };
        let Some(stored) = &found.stored else {
            return said.check_maker(self.no, maker, None).map(|_| None);
        };
        if found.product.as_ref().is_none_or(|product| product.id != stored.members.product_id) {
            return Err(Error::Refused("the device is of another product".to_owned()));
        }
        said.changes(self.no, maker, found, stored).map(Some)
    }

    fn project(&self) -> &'a WorldProject {
        &self.document.projects()[self.index]
    }
}
