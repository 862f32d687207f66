//! Writes what a plan contains: little in one transaction, much in several short ones, between which other writes are
//! carried out (decision 0038).

use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json};

use super::plan::{BATCH, PlannedDevice};
use super::{World, WorldDevice, WorldDocument, WorldPlan, WorldProject, members_of};
use crate::domain::inventory::ObjectKind;
use crate::domain::{Cloud, ProjectNo, Result};

/// The maximal number of objects that are written in one transaction, whatever time that takes.
const WHOLE_MAX: usize = 256;
/// The time that one of several transactions should take with its commit. Another write waits for two of them at most.
const WRITE_TIME: Duration = Duration::from_millis(20);
/// The limits of the number of objects in one of several transactions.
const CHUNK: (usize, usize) = (16, 4096);

/// The number of objects in the next transaction.
struct Chunk(usize);

impl Chunk {
    /// Learns from the time that the last transaction took.
    fn learn(&mut self, objects: usize, took: Duration) {
        let time = took.as_micros().max(1);
        let fitting = objects as u128 * WRITE_TIME.as_micros() / time;
        let fitting = usize::try_from(fitting).unwrap_or(CHUNK.1);
        self.0 = fitting.clamp(self.0 / 2, self.0 * 2).clamp(CHUNK.0, CHUNK.1);
    }
}

impl Cloud {
    /// Writes what a plan of the document contains. Up to 256 objects are written as a whole or not at all. Of more objects
    /// a part is written if the process ends meanwhile or another writer has changed what they depend on: writing the document again
    /// completes them.
    ///
    /// # Errors
    /// [`super::Error::Refused`] with the place in the document.
    pub async fn write_plan(&self, document: &WorldDocument, plan: &WorldPlan) -> Result<()> {
        let written = match plan.len() {
            0 => return Ok(()),
            count if count <= WHOLE_MAX => self.write_whole(document, plan).await,
            _ => {
                plan.check()?;
                self.write_parts(document, plan).await
            }
        };
        // Also after an error, because a part may have been written.
        self.end_subscribers(None).await?;
        written
    }

    async fn write_whole(&self, document: &WorldDocument, plan: &WorldPlan) -> Result<()> {
        let mut projects = Vec::new();
        for (index, (said, devices)) in document.projects().iter().zip(&plan.devices).enumerate() {
            let mut project = match plan.objects.get(index) {
                Some(Some(objects)) => objects.clone(),
                _ => named(&said.name),
            };
            project.devices = read(document, index, devices)?;
            projects.push(project);
        }
        self.write_world(World { projects }).await.map(drop)
    }

    async fn write_parts(&self, document: &WorldDocument, plan: &WorldPlan) -> Result<()> {
        let mut chunk = Chunk(WHOLE_MAX / 4);
        // What is named by others comes first: projects with apps and products, then users, homes and devices.
        let mut projects: Vec<WorldProject> = plan.objects.iter().flatten().cloned().collect();
        let users: Vec<_> = projects.iter_mut().map(|project| std::mem::take(&mut project.users)).collect();
        let homes: Vec<_> = projects.iter_mut().map(|project| std::mem::take(&mut project.homes)).collect();
        let names: Vec<String> = projects.iter().map(|project| project.name.clone()).collect();
        self.write_part(projects, 0, &mut chunk).await?;
        for (name, mut users) in names.iter().zip(users) {
            while !users.is_empty() {
                let rest = users.split_off(chunk.0.min(users.len()));
                let part = WorldProject { users: std::mem::replace(&mut users, rest), ..named(name) };
                let count = part.users.len();
                self.write_part(vec![part], count, &mut chunk).await?;
            }
        }
        for (name, mut homes) in names.iter().zip(homes) {
            while !homes.is_empty() {
                let rest = homes.split_off(chunk.0.min(homes.len()));
                let part = WorldProject { homes: std::mem::replace(&mut homes, rest), ..named(name) };
                let count = part.homes.len();
                self.write_part(vec![part], count, &mut chunk).await?;
            }
        }
        for (index, (said, devices)) in document.projects().iter().zip(&plan.devices).enumerate() {
            let mut devices = devices.clone();
            devices.sort_by_key(|device| (device.rank, device.place.index));
            let mut rest = devices.as_slice();
            while !rest.is_empty() {
                let (first, others) = rest.split_at(chunk.0.min(rest.len()));
                let part = WorldProject { devices: read(document, index, first)?, ..named(&said.name) };
                self.write_part(vec![part], first.len(), &mut chunk).await?;
                rest = others;
            }
        }
        Ok(())
    }

    /// Writes one part. `count` is the number of its objects, or 0 if nothing can be learnt from it.
    async fn write_part(&self, projects: Vec<WorldProject>, count: usize, chunk: &mut Chunk) -> Result<()> {
        let begun = Instant::now();
        self.write_world(World { projects }).await?;
        if count > 0 {
            chunk.learn(count, begun.elapsed());
        }
        Ok(())
    }
}

/// A project of which only the name is said.
fn named(name: &str) -> WorldProject {
    WorldProject { name: name.to_owned(), ..WorldProject::default() }
}

fn read(document: &WorldDocument, project: usize, devices: &[PlannedDevice]) -> Result<Vec<WorldDevice>> {
    let device = |planned: &PlannedDevice| {
        let mut device = document.device(project, planned.place.index)?;
        device.place = planned.place;
        Ok(device)
    };
    devices.iter().map(device).collect()
}

/// Reads the objects of a document that was written, filled in with what is stored: project by project and in the order of
/// the document.
pub struct Filled<'a> {
    cloud: &'a Cloud,
    document: &'a WorldDocument,
    project: usize,
    no: ProjectNo,
    /// The index of the next device; `None` if the other objects of the project come first.
    next: Option<usize>,
    unnamed: std::collections::HashMap<String, usize>,
    products: std::collections::HashMap<String, Option<String>>,
}

impl<'a> Filled<'a> {
    /// Begins with the first project.
    pub fn of(cloud: &'a Cloud, document: &'a WorldDocument) -> Self {
        let (unnamed, products) = Default::default();
        Self { cloud, document, project: 0, no: ProjectNo(0), next: None, unnamed, products }
    }

    /// The next objects; `None` after the last ones.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn next(&mut self) -> Result<Option<Vec<(ObjectKind, Map<String, Json>)>>> {
        let Some(project) = self.document.projects().get(self.project) else { return Ok(None) };
        let Some(start) = self.next else {
            self.next = Some(0);
            return self.objects(project).await.map(Some);
        };
        let end = (start + BATCH).min(self.document.device_count(self.project));
        self.next = Some(end);
        if start == end {
            (self.project, self.next) = (self.project + 1, None);
            self.unnamed.clear();
            self.products.clear();
            return Ok(Some(Vec::new()));
        }
        let devices: Result<Vec<WorldDevice>> =
            (start..end).map(|index| self.document.device(self.project, index)).collect();
        let mut devices = self.cloud.named_products(project, &mut self.products, devices?).await?;
        WorldDevice::name_unnamed(&mut devices, &mut self.unnamed);
        let mut rows = Vec::with_capacity(devices.len());
        for (mut device, found) in self.cloud.registry.stored_devices(self.no, devices, true).await? {
            if let Some(stored) = found.stored {
                device.fill(self.no, stored);
            }
            rows.push((ObjectKind::Device, members_of(&device)?));
        }
        Ok(Some(rows))
    }

    async fn objects(&mut self, said: &WorldProject) -> Result<Vec<(ObjectKind, Map<String, Json>)>> {
        // Passwords were written, and to verify them takes long.
        let mut open = said.clone();
        open.users.iter_mut().for_each(|user| user.password = None);
        let stored = self.cloud.registry.stored_objects(&open).await?;
        let mut project = WorldProject { apps: vec![], products: vec![], users: vec![], homes: vec![], ..open.clone() };
        if let Some((no, stored)) = stored.project {
            self.no = no;
            project.or_stored(stored);
        }
        let mut members = members_of(&project)?;
        members.retain(|_, value| !value.is_array());
        let mut rows = vec![(ObjectKind::Project, members)];
        for (mut app, stored) in open.apps.into_iter().zip(stored.apps) {
            app.or_stored(stored.unwrap_or_default());
            rows.push((ObjectKind::App, members_of(&app)?));
        }
        for (mut product, stored) in open.products.into_iter().zip(stored.products) {
            product.or_stored(stored.unwrap_or_default());
            rows.push((ObjectKind::Product, members_of(&product)?));
        }
        for (mut user, stored) in open.users.into_iter().zip(stored.users) {
            user.or_stored(stored.map(|stored| stored.user).unwrap_or_default());
            rows.push((ObjectKind::User, members_of(&user)?));
        }
        for (mut home, stored) in open.homes.into_iter().zip(stored.homes) {
            home.home_id = stored.and_then(|stored| stored.home_id);
            rows.push((ObjectKind::Home, members_of(&home)?));
        }
        Ok(rows)
    }
}
