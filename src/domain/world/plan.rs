//! Finds what a document changes, without changing anything. Only that is written afterwards, so that a large document in which
//! little has changed delays no other write.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::compare::{FoundDevice, MemberChange, StoredObjects, changes};
use super::rules::place_of;
use super::surroundings::Surroundings;
use super::{DevicePlace, WorldDevice, WorldDocument, WorldProject};
use crate::domain::inventory::ObjectKind;
use crate::domain::{Cloud, Error, NodeType, Result};

/// The number of devices that are compared at a time.
pub(super) const BATCH: usize = 1000;
/// The maximal number of replaced credentials that an error lists.
const REPLACED_LISTED_MAX: usize = 10;
/// Characters of a secret that Tuya's C SDK for TuyaLink uses (docs/devices.md).
const TUYALINK_SECRET_CHARS: usize = 16;

/// What a document changes.
#[derive(Default)]
pub struct WorldPlan {
    /// For each project of the document its objects that differ, without devices; `None` if there are none.
    pub(super) objects: Vec<Option<WorldProject>>,
    /// For each project of the document its devices that differ or depend on those that do.
    pub(super) devices: Vec<Vec<PlannedDevice>>,
    /// For each project of the document its name, and how many objects of each kind are created and changed.
    pub counts: Vec<(String, BTreeMap<String, Counts>)>,
    /// Every difference, if they were requested.
    pub differences: Vec<Difference>,
    /// The credentials that the document replaces: the first ones, by object and member.
    pub replaced: Vec<String>,
    /// The number of credentials that the document replaces.
    pub replaced_count: usize,
    /// The first device whose secret Tuya's C SDK cannot use, and the number of such devices.
    pub other_secrets: (String, usize),
    /// The first reason for which a device will be refused. If few objects differ, writing them finds it too.
    pub(super) problem: Option<String>,
}

/// Numbers of objects of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Those that do not exist yet.
    pub created: usize,
    /// Those that differ.
    pub changed: usize,
    /// Those that are stored as the document says.
    pub unchanged: usize,
}

/// An object that a document creates or changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Its kind.
    pub kind: ObjectKind,
    /// The name of its project.
    pub project: String,
    /// Its id or name.
    pub object: String,
    /// Whether it does not exist yet.
    pub is_new: bool,
    /// What changes of it.
    pub members: Vec<MemberChange>,
}

/// A device to write.
#[derive(Clone, Copy)]
pub(super) struct PlannedDevice {
    /// 0 without a gateway, 1 for a gateway behind another one, 2 for other sub-devices: gateways are written first.
    pub rank: u8,
    pub place: DevicePlace,
}

impl Cloud {
    /// Compares a document with what is stored. `differences` says whether every difference is returned.
    ///
    /// # Errors
    /// [`Error::Refused`] for a document that is refused whatever is stored, with the place; [`Error::Store`].
    pub async fn plan_world(&self, document: &WorldDocument, differences: bool) -> Result<WorldPlan> {
        let mut plan = WorldPlan::default();
        for (index, project) in document.projects().iter().enumerate() {
            plan.counts.push((project.name.clone(), BTreeMap::new()));
            plan.devices.push(Vec::new());
            let stored = self.registry.stored_objects(project).await?;
            let mut near = Surroundings::of(document, index, project, &stored);
            plan.add_objects(project, &stored, differences)?;
            for start in (0..document.device_count(index)).step_by(BATCH) {
                let devices = near.read(start)?;
                let devices = self.named_products(project, &mut near.products, devices).await?;
                let devices = near.numbered(devices)?;
                for (device, found) in self.registry.stored_devices(near.no, devices, false).await? {
                    plan.add_device(project, &mut near, &device, &found, differences)?;
                }
            }
            plan.finish(project, near);
        }
        Ok(plan)
    }

    /// Replaces the names of products by their ids. The product of a device whose product is not known remains a name.
    pub(super) async fn named_products(
        &self,
        project: &WorldProject,
        known: &mut HashMap<String, Option<String>>,
        mut devices: Vec<WorldDevice>,
    ) -> Result<Vec<WorldDevice>> {
        for device in devices.iter_mut() {
            let Some(name) = device.product.clone() else { continue };
            if !known.contains_key(&name) {
                let mut ids = self.registry.products_named(&project.name, &name).await?;
                let said = project.products.iter().filter(|product| product.name == name);
                ids.extend(said.filter_map(|product| product.product_id.clone()));
                ids.sort();
                ids.dedup();
                if ids.len() > 1 {
                    let text = format!("{} products have the name {name:?}: give the product_id of one", ids.len());
                    return Err(Error::Refused(format!("{}: product: {text}", place_of(project))));
                }
                known.insert(name.clone(), ids.pop());
            }
            if let Some(Some(id)) = known.get(&name) {
                device.product_id.clone_from(id);
                device.product = None;
            }
        }
        Ok(devices)
    }
}

impl WorldPlan {
    /// The number of objects to write.
    pub(super) fn len(&self) -> usize {
        let objects = self.objects.iter().flatten();
        let objects = objects.map(|one| 1 + one.apps.len() + one.products.len() + one.users.len() + one.homes.len());
        objects.sum::<usize>() + self.devices.iter().map(Vec::len).sum::<usize>()
    }

    /// Refuses a document of which a device will be refused.
    ///
    /// # Errors
    /// [`Error::Refused`] with the place in the document.
    pub fn check(&self) -> Result<()> {
        self.problem.as_ref().map_or(Ok(()), |problem| Err(Error::Refused(problem.clone())))
    }

    /// Refuses to replace credentials.
    ///
    /// # Errors
    /// [`Error::Refused`] with the objects and the members.
    pub fn check_replaced(&self) -> Result<()> {
        if self.replaced.is_empty() {
            return Ok(());
        }
        let further = self.replaced_count - self.replaced.len();
        let further = if further > 0 { format!(" and {further} more") } else { String::new() };
        Err(Error::Refused(format!(
            "the document replaces a credential that is in use: {}{further}. Leave it out to keep it, or allow it with \
             --replace-secrets",
            self.replaced.join(", ")
        )))
    }

    /// A note on devices that cannot use Tuya's C SDK because of their secrets.
    pub fn secrets_note(&self) -> Option<String> {
        let (first, count) = &self.other_secrets;
        let others = if *count > 1 { format!(" and of {} more devices", count - 1) } else { String::new() };
        (*count > 0).then(|| {
            format!(
                "the secret of device {first}{others} does not have {TUYALINK_SECRET_CHARS} characters. Tuya's C SDK for \
                 TuyaLink takes exactly {TUYALINK_SECRET_CHARS}; LinkKit devices take any length."
            )
        })
    }

    /// Counts an object and returns whether it differs.
    fn add(&mut self, difference: Difference, keeps: bool) -> bool {
        let Some((_, counts)) = self.counts.last_mut() else { return false };
        let counts = counts.entry(difference.kind.noun().to_owned()).or_default();
        let differs = difference.is_new || !difference.members.is_empty();
        match (difference.is_new, differs) {
            (true, _) => counts.created += 1,
            (false, true) => counts.changed += 1,
            (false, false) => counts.unchanged += 1,
        }
        for change in difference.members.iter().filter(|change| change.is_credential) {
            self.replaced_count += 1;
            if self.replaced.len() < REPLACED_LISTED_MAX {
                let (kind, object) = (difference.kind.noun(), &difference.object);
                self.replaced.push(format!("{} of {kind} {object:?}", change.member));
            }
        }
        if differs && keeps {
            self.differences.push(difference);
        }
        differs
    }

    /// Adds the objects of a project that are no devices.
    fn add_objects(&mut self, said: &WorldProject, stored: &StoredObjects, keeps: bool) -> Result<()> {
        let own = |one: &WorldProject| WorldProject {
            name: one.name.clone(),
            tuya: one.tuya.clone(),
            aliyun: one.aliyun.clone(),
            ..WorldProject::default()
        };
        let mut differing = own(said);
        let mut add = |kind, object: &str, members: Option<Vec<MemberChange>>| {
            let (project, object, is_new) = (said.name.clone(), object.to_owned(), members.is_none());
            let members = members.unwrap_or_default();
            self.add(Difference { kind, project, object, is_new, members }, keeps)
        };
        let before = stored
            .project
            .as_ref()
            .map(|(_, stored)| changes(&own(said), &WorldProject { name: said.name.clone(), ..own(stored) }));
        let mut differs = add(ObjectKind::Project, &said.name, before.transpose()?);
        for (app, stored) in said.apps.iter().zip(&stored.apps) {
            let before = stored.as_ref().map(|stored| changes(app, stored)).transpose()?;
            if add(ObjectKind::App, &app.schema, before) {
                differing.apps.push(app.clone());
            }
        }
        for (product, stored) in said.products.iter().zip(&stored.products) {
            let before = stored.as_ref().map(|stored| changes(product, stored)).transpose()?;
            let object = product.product_id.as_ref().unwrap_or(&product.name);
            if add(ObjectKind::Product, object, before) {
                differing.products.push(product.clone());
            }
        }
        for (user, stored) in said.users.iter().zip(&stored.users) {
            let mut open = user.clone();
            open.password = None;
            let mut before = stored.as_ref().map(|stored| changes(&open, &stored.user)).transpose()?;
            if let (Some(before), Some(stored)) = (&mut before, stored)
                && stored.is_other_password
            {
                before.push(MemberChange::password(stored.has_password));
            }
            if add(ObjectKind::User, &user.username, before) {
                differing.users.push(user.clone());
            }
        }
        for (home, stored) in said.homes.iter().zip(&stored.homes) {
            let before = stored.as_ref().map(|stored| changes(home, stored)).transpose()?;
            let object = home.home_id.map_or_else(|| home.name.clone(), |id| id.to_string());
            if add(ObjectKind::Home, &object, before) {
                differing.homes.push(home.clone());
            }
        }
        let WorldProject { apps, products, users, homes, .. } = &differing;
        differs |= !(apps.is_empty() && products.is_empty() && users.is_empty() && homes.is_empty());
        self.objects.push(differs.then_some(differing));
        Ok(())
    }

    fn add_device(
        &mut self,
        project: &WorldProject,
        near: &mut Surroundings<'_>,
        said: &WorldDevice,
        found: &FoundDevice,
        keeps: bool,
    ) -> Result<()> {
        let id = said.device_id.as_ref().or(said.device_name.as_ref());
        let object = id.cloned().unwrap_or_default();
        let node_type = near.product(said, found).map_or(NodeType::Device, |(_, node_type)| node_type);
        let (members, mut problem) = match near.judge(said, found) {
            Ok(members) => (members, None),
            Err(Error::Refused(text)) => (None, Some(text)),
            Err(error) => return Err(error),
        };
        let secret = said.secret.as_ref();
        let secret = secret.or(found.stored.as_ref().and_then(|stored| stored.members.secret.as_ref()));
        if secret.is_some_and(|secret| secret.len() != TUYALINK_SECRET_CHARS) {
            if self.other_secrets.1 == 0 {
                self.other_secrets.0.clone_from(&object);
            }
            self.other_secrets.1 += 1;
        }
        let is_left = found.stored.as_ref().is_some_and(|stored| {
            let home = stored.home.is_some_and(|(home, _)| near.moved_homes.contains(&home));
            home && (said.owner.is_some() || said.home_id.is_some())
        });
        let number = near.number("device_id", &object);
        if node_type == NodeType::Gateway {
            near.gateways.insert(number);
        }
        let (is_new, members) = (members.is_none(), members.unwrap_or_default());
        let difference =
            Difference { kind: ObjectKind::Device, project: project.name.clone(), object, is_new, members };
        if self.add(difference, keeps) || is_left {
            problem = problem.or_else(|| near.problem(said, found));
            let rank = match (&said.gateway, node_type) {
                (None, _) => 0,
                (Some(_), NodeType::Gateway) => 1,
                _ => 2,
            };
            if let Some(devices) = self.devices.last_mut() {
                devices.push(PlannedDevice { rank, place: said.place });
            }
            if node_type == NodeType::Gateway && found.stored.is_some() {
                near.moved.insert(number);
            }
        } else if let Some(gateway) = found.stored.as_ref().and_then(|stored| stored.gateway.as_ref()) {
            near.behind.push((near.number("device_id", gateway), said.place));
        }
        if let (None, Some(text)) = (&self.problem, problem) {
            self.problem = Some(position(near.index, project, said.place.index, &text));
        }
        Ok(())
    }

    /// Adds the sub-devices of gateways that change, and refuses gateways that do not exist.
    fn finish(&mut self, project: &WorldProject, near: Surroundings<'_>) {
        let Some(devices) = self.devices.last_mut() else { return };
        let dependent = near.behind.iter().filter(|(gateway, _)| near.moved.contains(gateway));
        devices.extend(dependent.map(|(_, place)| PlannedDevice { rank: 2, place: *place }));
        devices.sort_by_key(|device| device.place.index);
        let missing = near.awaited.iter().find(|(gateway, _)| !near.gateways.contains(gateway));
        if let (None, Some((_, index))) = (&self.problem, missing) {
            self.problem = Some(position(near.index, project, *index, "its gateway is no gateway"));
        }
    }
}

/// Names the place of a device in an error.
fn position(project_index: usize, project: &WorldProject, index: usize, text: &str) -> String {
    format!("projects[{project_index}] {:?}: devices[{index}]: {text}", project.name)
}
