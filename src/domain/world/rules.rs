//! Checks of a world document, before anything of it is stored.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;

use super::{World, WorldDevice, WorldProduct, WorldProject};
use crate::domain::country::calling_code;
use crate::domain::user::compared_name;
use crate::domain::{Error, Result};

/// The maximal length of an id in a document.
const ID_CHARS_MAX: usize = 64;
/// The maximal length of any other text in a document.
const TEXT_CHARS_MAX: usize = 512;
/// The maximal number of functions of a product.
const FUNCTIONS_MAX: usize = 256;

impl World {
    /// Checks every id, text and reference that can be checked without a store, and normalizes calling codes.
    ///
    /// # Errors
    /// [`Error::Refused`] with the path in the document.
    pub fn check(&mut self) -> Result<()> {
        check_projects(&mut self.projects)?;
        for project in &self.projects {
            let place = place_of(project);
            let named = project.devices.iter().filter_map(|device| device.device_id.as_deref());
            unique(&format!("{place} devices"), named)?;
            project.devices.iter().try_for_each(|device| check_device(&place, device))?;
        }
        Ok(())
    }
}

/// Checks projects without their devices.
pub(super) fn check_projects(projects: &mut [WorldProject]) -> Result<()> {
    unique("projects", projects.iter().map(|project| project.name.as_str()))?;
    projects.iter_mut().try_for_each(check_project)
}

/// How an error names a project.
pub(super) fn place_of(project: &WorldProject) -> String {
    format!("project {:?}", project.name)
}

fn check_project(project: &mut WorldProject) -> Result<()> {
    let place = place_of(project);
    text(&place, "name", &project.name)?;
    ids(
        &place,
        [
            ("tuya.client_id", &project.tuya.client_id),
            ("aliyun.project_id", &project.aliyun.project_id),
            ("aliyun.app_key", &project.aliyun.app_key),
        ],
    )?;
    secrets(&place, [("tuya.secret", &project.tuya.secret), ("aliyun.app_secret", &project.aliyun.app_secret)])?;
    unique(&format!("{place} apps"), project.apps.iter().map(|app| app.schema.as_str()))?;
    for app in &mut project.apps {
        let place = format!("{place} app {:?}", app.schema);
        id(&place, "schema", &app.schema)?;
        ids(&place, [("app_key", &app.app_key)])?;
        app.country_codes.iter_mut().flatten().try_for_each(|code| country(&place, "country_codes", code))?;
    }
    project.products.iter().try_for_each(|product| check_product(&place, product))?;
    let names = project.users.iter().map(|user| format!("{}/{}", user.schema, compared_name(&user.username)));
    unique(&format!("{place} users"), names)?;
    for user in &mut project.users {
        let place = format!("{place} user {:?}", user.username);
        // A missing code is printed as an empty text.
        if let Some(code) = user.country_code.as_mut().filter(|code| !code.is_empty()) {
            country(&place, "country_code", code)?;
        }
        text(&place, "username", &user.username)?;
        ids(&place, [("uid", &user.uid), ("identity_id", &user.identity_id), ("login_id", &user.login_id)])?;
        if let Some(open_id) = &user.open_id {
            // Any text is allowed, because the id comes from a third party.
            text(&place, "open_id", open_id)?;
        }
        let texts =
            [&user.password, &user.nick_name, &user.avatar, &user.gender, &user.time_zone_id, &user.phone, &user.email];
        texts.into_iter().flatten().try_for_each(|value| long(&place, value))?;
    }
    for home in &project.homes {
        text(&format!("{place} home {:?}", home.name), "name", &home.name)?;
        if home.home_id.is_some_and(|home_id| home_id <= 0) {
            return refuse(&place, "home_id must be positive");
        }
    }
    Ok(())
}

fn check_product(place: &str, product: &WorldProduct) -> Result<()> {
    let place = format!("{place} product {:?}", product.name);
    text(&place, "name", &product.name)?;
    id(&place, "category", &product.category)?;
    ids(
        &place,
        [("product_id", &product.product_id), ("product_key", &product.product_key), ("net_type", &product.net_type)],
    )?;
    secrets(&place, [("product_secret", &product.product_secret)])?;
    [&product.model, &product.icon].into_iter().flatten().try_for_each(|value| long(&place, value))?;
    let functions = product.functions.as_deref().unwrap_or_default();
    if functions.len() > FUNCTIONS_MAX {
        return refuse(&place, &format!("at most {FUNCTIONS_MAX} functions"));
    }
    unique(&format!("{place} functions"), functions.iter().map(|function| function.code.as_str()))?;
    functions.iter().try_for_each(|function| id(&place, "function code", &function.code))?;
    let mut points = HashMap::new();
    for function in functions {
        let Some(dp_id) = function.dp_id else { continue };
        if let Some(other) = points.insert(dp_id, &function.code) {
            let text = format!("functions {other:?} and {:?} both have dp_id {dp_id}", function.code);
            return refuse(&place, &text);
        }
    }
    Ok(())
}

/// Checks the ids and texts of a device.
pub(super) fn check_device(place: &str, device: &WorldDevice) -> Result<()> {
    let name = device.device_id.as_ref().or(device.device_name.as_ref()).or(device.name.as_ref());
    let place = format!("{place} device {:?}", name.map(String::as_str).unwrap_or_default());
    match (device.product_id.as_str(), &device.product) {
        ("", None) => return refuse(&place, "missing field `product_id`"),
        ("", Some(product)) => text(&place, "product", product)?,
        (_, None) => {}
        _ => return refuse(&place, "product_id and product both name the product: one of them is enough"),
    }
    ids(
        &place,
        [
            ("device_id", &device.device_id),
            ("uuid", &device.uuid),
            ("device_name", &device.device_name),
            ("iot_id", &device.iot_id),
        ],
    )?;
    secrets(&place, [("secret", &device.secret), ("local_key", &device.local_key)])?;
    if device.keep_history == Some(true) && device.owner.is_none() {
        return refuse(&place, "keep_history says what another owner gets: name the owner");
    }
    let texts = [
        &device.sn,
        &device.mac,
        &device.name,
        &device.node_id,
        &device.ip,
        &device.lat,
        &device.lon,
        &device.time_zone,
    ];
    texts.into_iter().flatten().try_for_each(|value| long(&place, value))
}

fn ids<'a>(place: &str, values: impl IntoIterator<Item = (&'a str, &'a Option<String>)>) -> Result<()> {
    for (member, value) in values {
        if let Some(value) = value {
            id(place, member, value)?;
        }
    }
    Ok(())
}

/// Secrets are not used in paths or topics, and real ones contain any printable character. The error text does not
/// repeat the value.
fn secrets<'a>(place: &str, values: impl IntoIterator<Item = (&'a str, &'a Option<String>)>) -> Result<()> {
    for (member, value) in values {
        let is_fine = |value: &String| {
            (1..=ID_CHARS_MAX).contains(&value.len()) && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        if !value.as_ref().is_none_or(is_fine) {
            return refuse(place, &format!("{member} must be 1 to {ID_CHARS_MAX} printable ASCII characters"));
        }
    }
    Ok(())
}

/// Ids become part of paths, topics and row keys, so they contain no special characters of these.
fn id(place: &str, member: &str, value: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:@".contains(c);
    if value.is_empty() || value.len() > ID_CHARS_MAX || !value.chars().all(plain) {
        return refuse(place, &format!("{member} must be 1 to {ID_CHARS_MAX} of A-Z a-z 0-9 _ - . : @"));
    }
    Ok(())
}

fn text(place: &str, member: &str, value: &str) -> Result<()> {
    if value.is_empty() {
        return refuse(place, &format!("{member} must not be empty"));
    }
    long(place, value)
}

fn long(place: &str, value: &str) -> Result<()> {
    if value.chars().count() > TEXT_CHARS_MAX || value.chars().any(char::is_control) {
        return refuse(place, &format!("a text must be at most {TEXT_CHARS_MAX} characters, none a control character"));
    }
    Ok(())
}

fn country(place: &str, member: &str, code: &mut String) -> Result<()> {
    let Some(kept) = calling_code(code) else {
        return refuse(place, &format!("{member}: {code:?} is not the calling code of a country, such as 49 or +49"));
    };
    *code = kept;
    Ok(())
}

fn unique<T: Hash + Eq + Debug>(place: &str, names: impl Iterator<Item = T>) -> Result<()> {
    let mut seen = HashSet::new();
    for name in names {
        let text = format!("{name:?} is listed twice");
        if !seen.insert(name) {
            return refuse(place, &text);
        }
    }
    Ok(())
}

fn refuse(place: &str, text: &str) -> Result<()> {
    Err(Error::Refused(format!("{place}: {text}")))
}
