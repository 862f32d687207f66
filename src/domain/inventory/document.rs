//! A single object is created or changed by a small world document, so that the rules are those of `apply`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::{ObjectKind, ObjectQuery, ObjectRow};
use crate::domain::world::World;
use crate::domain::{Cloud, Error, Result};

/// What lists show besides the members of a document. It is ignored in a change, so that a printed object can be edited
/// and given back.
const FACTS: [&str; 12] = [
    "project",
    "online",
    "removed",
    "active_ms",
    "created_ms",
    "updated_ms",
    "last_login_ms",
    "has_password",
    "old_secrets_until_ms",
    "devices",
    "users",
    "members",
];

/// An object to create or to change.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectChange {
    /// The id of the object to change; `None` to create one.
    pub id: Option<String>,
    /// The name of its project; `None` for the only one.
    pub project: Option<String>,
    /// Its members, as a world document has them.
    pub members: Map<String, Json>,
    /// Whether the returned object has its secrets.
    pub secrets: bool,
}

impl Cloud {
    /// Creates an object, or changes one. Members that are left out keep their values, or are generated.
    ///
    /// # Errors
    /// [`Error::Refused`] if the object to create exists or the one to change does not, and everything that
    /// [`Cloud::apply`] refuses.
    pub async fn put_object(&self, kind: ObjectKind, change: ObjectChange) -> Result<ObjectRow> {
        let ObjectChange { id, project, mut members, secrets } = change;
        if kind.section().is_none() && kind != ObjectKind::Project {
            return Err(Error::Refused(format!("a {} can only be listed, shown and deleted", kind.noun())));
        }
        FACTS.iter().for_each(|fact| drop(members.remove(*fact)));
        let project = match id {
            Some(id) => {
                let stored = self.object(kind, &id, project.as_deref(), false).await?;
                identify(kind, &stored, &mut members)?;
                stored.project
            }
            None => {
                let project = self.project_to_use(kind, project).await?;
                self.check_new(kind, &project, &mut members).await?;
                project
            }
        };
        let world = match kind.section() {
            None => json!({"projects": [members]}),
            Some(section) => json!({"projects": [{"name": project, section: [members]}]}),
        };
        let filled = self.apply(World::parse(&world.to_string())?).await?;
        let filled = serde_json::to_value(filled).map_err(Error::store)?;
        let filled = &filled["projects"][0];
        let (object, member) = match kind {
            ObjectKind::Project => (filled, "name"),
            ObjectKind::App => (&filled["apps"][0], "schema"),
            ObjectKind::Product => (&filled["products"][0], "product_id"),
            ObjectKind::User => (&filled["users"][0], "uid"),
            ObjectKind::Home => (&filled["homes"][0], "home_id"),
            _ => (&filled["devices"][0], "device_id"),
        };
        let id = object[member].as_str().map_or_else(|| object[member].to_string(), str::to_owned);
        self.object(kind, &id, Some(&project), secrets).await
    }

    /// The project of a new object: the named one, or the only one.
    async fn project_to_use(&self, kind: ObjectKind, named: Option<String>) -> Result<String> {
        let mut names: Vec<String> = self.projects().await?.into_iter().map(|project| project.name).collect();
        match named {
            _ if kind == ObjectKind::Project => Ok(String::new()),
            Some(named) if names.contains(&named) => Ok(named),
            Some(named) => Err(Error::Refused(format!("there is no project {named:?}"))),
            None if names.len() > 1 => {
                Err(Error::Refused(format!("name the project with --project: {}", names.join(", "))))
            }
            None => names.pop().ok_or_else(|| Error::Refused("there is no project: create one first".to_owned())),
        }
    }

    /// Refuses an object that exists. A device without an id gets a new one, because a document finds devices also by their
    /// position.
    async fn check_new(&self, kind: ObjectKind, project: &str, members: &mut Map<String, Json>) -> Result<()> {
        let said = |member: &str| match members.get(member) {
            Some(Json::String(text)) => Some(text.clone()),
            Some(Json::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let required: &[&str] = match kind {
            ObjectKind::Project => &["name"],
            ObjectKind::App => &["schema"],
            ObjectKind::Product => &["name", "category"],
            ObjectKind::User => &["schema", "username"],
            ObjectKind::Home => &["name", "owner"],
            _ => &["product_id"],
        };
        if let Some(member) = required.iter().find(|member| said(member).is_none()) {
            return Err(Error::Refused(format!("a new {} needs {member}", kind.noun())));
        }
        let (id, same) = match kind {
            ObjectKind::Project => (said("name"), "name"),
            ObjectKind::App => (said("schema"), "schema"),
            ObjectKind::Product => (said("product_id"), "product_id"),
            ObjectKind::User => (said("username"), "schema"),
            ObjectKind::Home => (said("home_id"), "home_id"),
            _ => (said("device_id"), "device_id"),
        };
        let is_local = matches!(kind, ObjectKind::App | ObjectKind::User);
        let query = match (&id, kind) {
            (None, ObjectKind::Device) => {
                members.insert("device_id".to_owned(), self.registry.new_device_id()?.into());
                return Ok(());
            }
            (None, ObjectKind::Home) => {
                ObjectQuery { owner: said("owner"), name: said("name"), ..ObjectQuery::default() }
            }
            (None, _) => ObjectQuery { name: said("name"), ..ObjectQuery::default() },
            (Some(_), _) => ObjectQuery { id: id.clone(), ..ObjectQuery::default() },
        };
        let is_local = is_local || id.is_none();
        let query =
            ObjectQuery { project: is_local.then(|| project.to_owned()), limit: super::OBJECT_PAGE_MAX, ..query };
        // Without an id, a document finds a product or a home by its name.
        let same = if id.is_none() { "name" } else { same };
        let is_it = |row: &ObjectRow| row.members.get(same) == members.get(same);
        let found = self.objects(kind, query).await?.rows;
        if found.iter().any(|row| is_it(row) || matches!(same, "home_id" | "device_id" | "product_id")) {
            let name = id.or_else(|| said("name")).unwrap_or_default();
            return Err(Error::Refused(format!("there is a {} {name:?} already: change it with set", kind.noun())));
        }
        Ok(())
    }
}

/// Adds the members by which a document finds a stored object, and those that it requires.
fn identify(kind: ObjectKind, stored: &ObjectRow, members: &mut Map<String, Json>) -> Result<()> {
    let (fixed, required): (&[&str], &[&str]) = match kind {
        ObjectKind::Project => (&["name"], &[]),
        ObjectKind::App => (&["schema"], &[]),
        ObjectKind::Product => (&["product_id"], &["name", "category"]),
        ObjectKind::User => (&["schema", "username"], &[]),
        ObjectKind::Home => (&["home_id"], &["name", "owner"]),
        _ => (&["device_id", "product_id"], &[]),
    };
    for member in fixed.iter().chain(required) {
        let Some(value) = stored.members.get(*member) else { continue };
        let given = members.entry((*member).to_owned()).or_insert_with(|| value.clone());
        if given != value && fixed.contains(member) {
            return Err(Error::Refused(format!("the {member} of a {} cannot be changed", kind.noun())));
        }
    }
    Ok(())
}
