//! A world document of any size: its text, and everything in it except the devices, which are read from the text when they are
//! needed. Its memory is that of the text and a few bytes for each device.

use std::ops::Range;

use serde_json::value::RawValue;

use super::rules::check_projects;
use super::{World, WorldDevice, WorldProject};
use crate::domain::{Error, Result};

/// A document that was read.
pub struct WorldDocument {
    text: String,
    projects: Vec<WorldProject>,
    /// For each project the places of its devices in the text.
    devices: Vec<Vec<Range<usize>>>,
}

impl WorldDocument {
    /// Reads a document. Its devices are only checked to be JSON.
    ///
    /// # Errors
    /// [`Error::Refused`] with line and column, or with the path of a value that is not allowed.
    pub fn parse(text: String) -> Result<Self> {
        let world: World<&RawValue> = serde_json::from_str(&text).map_err(|error| Error::Refused(error.to_string()))?;
        let (mut projects, mut devices) = (Vec::new(), Vec::new());
        for mut project in world.projects {
            project.complete()?;
            let range = |device: &RawValue| {
                let start = device.get().as_ptr() as usize - text.as_ptr() as usize;
                start..start + device.get().len()
            };
            devices.push(std::mem::take(&mut project.devices).into_iter().map(range).collect());
            let WorldProject { name, tuya, aliyun, apps, products, users, homes, devices: _ } = project;
            projects.push(WorldProject { name, tuya, aliyun, apps, products, users, homes, devices: Vec::new() });
        }
        check_projects(&mut projects)?;
        Ok(Self { text, projects, devices })
    }

    /// The projects without their devices.
    pub fn projects(&self) -> &[WorldProject] {
        &self.projects
    }

    /// The number of devices of the project with this index.
    pub fn device_count(&self, project: usize) -> usize {
        self.devices.get(project).map_or(0, Vec::len)
    }

    /// The device with this index of the project with that index.
    ///
    /// # Errors
    /// [`Error::Refused`] with line and column in the document.
    pub fn device(&self, project: usize, index: usize) -> Result<WorldDevice> {
        let range = self.devices.get(project).and_then(|devices| devices.get(index)).cloned().unwrap_or_default();
        let text = self.text.get(range.clone()).unwrap_or_default();
        let mut device: WorldDevice = serde_json::from_str(text).map_err(|error| self.at(range.start, &error))?;
        device.place.index = index;
        Ok(device)
    }

    /// An error in a device whose text begins at `start`, with line and column in the document.
    fn at(&self, start: usize, error: &serde_json::Error) -> Error {
        let text = error.to_string();
        let within = format!(" at line {} column {}", error.line(), error.column());
        let before = self.text.get(..start).unwrap_or_default();
        let (lines, last) = (before.matches('\n').count(), before.rsplit('\n').next().unwrap_or_default());
        let column = error.column() + if error.line() == 1 { last.len() } else { 0 };
        let text = text.strip_suffix(&within).unwrap_or(&text);
        Error::Refused(format!("{text} at line {} column {column}", lines + error.line()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_a_device_has_its_place_in_the_document() {
        let valid = r#"{"product_id":"lamp"}"#;
        for device in [
            "{\"product_id\":\"lamp\",\"colour\":1}",
            "{\"product_id\":\n \"lamp\",\n\"disabled\":5}",
            "{\n\"product_id\":7}",
            "7",
        ] {
            let text = format!("{{\"projects\":[{{\"name\":\"p\",\"devices\":[\n{valid},\n  {device}]}}]}}");
            let document = WorldDocument::parse(text.clone()).map_err(|error| error.to_string()).unwrap();
            assert_eq!(document.device_count(0), 2);
            assert_eq!(document.device(0, 0).map_err(|error| error.to_string()).unwrap().product_id, "lamp");
            let error = document.device(0, 1).err().unwrap().to_string();
            assert_eq!(
                error,
                World::parse(&text).err().unwrap().to_string(),
                "the place is that in the whole document"
            );
        }
    }
}
