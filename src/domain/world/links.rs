//! What a document may say about stored homes and devices, and what follows from it for owners, sharees, gateways and local
//! keys. A store loads what a rule needs, calls it and stores the result.

use std::collections::HashMap;

use super::{WorldDevice, WorldHome};
use crate::domain::ownership::Placement;
use crate::domain::{DeviceNo, Error, NodeType, ProjectNo, Result, UserNo};

/// A home as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredHome {
    /// Its id.
    pub home_id: i64,
    /// Its project.
    pub project: ProjectNo,
    /// Its owner.
    pub owner: UserNo,
}

/// The properties of a stored device that decide what the document of a project may say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredDevice {
    /// The store's number.
    pub no: DeviceNo,
    /// The node type of its product.
    pub node_type: NodeType,
    /// The project of its product.
    pub maker: ProjectNo,
    /// The project of its owner or, if it has none, of its last owner.
    pub holder: Option<ProjectNo>,
    /// Whether it has an owner.
    pub is_owned: bool,
    /// Whether it has an owner or had one.
    pub was_owned: bool,
}

/// What follows if the document names the owner of a stored device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerChange {
    /// The owner also gets the sub-devices of the device that have no owner.
    pub takes_sub_devices: bool,
    /// Another user had the device: its session ends, and members that the document omits have the values from after the
    /// change of owner.
    pub changes_users: bool,
}

/// The local key of the gateway of a sub-device.
#[derive(Clone, PartialEq, Eq)]
pub struct GatewayKey {
    /// The key.
    pub key: String,
    /// Whether the sub-device was given a key of its own.
    pub is_own_given: bool,
    /// Whether the sub-device has the same owner and home as the gateway.
    pub is_together: bool,
}

impl WorldHome {
    /// Takes the id of the stored home. Returns the previous owner if the document names another one: the previous owner
    /// leaves the home.
    ///
    /// # Errors
    /// [`Error::Refused`] for a home of another project.
    pub fn or_stored(&mut self, stored: StoredHome, project: ProjectNo, owner: UserNo) -> Result<Option<UserNo>> {
        if stored.project != project {
            return refuse(format!("home_id {} is another project's", stored.home_id));
        }
        self.home_id = Some(stored.home_id);
        Ok(Some(stored.owner).filter(|previous| *previous != owner))
    }
}

impl StoredDevice {
    /// True if a user of the project owns the device or owned it last, or if the project made it and it never had an owner.
    pub fn is_of(&self, project: ProjectNo) -> bool {
        self.holder.unwrap_or(self.maker) == project
    }

    /// The number of the device that the document calls `id`, which must be a gateway of the project.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn gateway(found: Option<Self>, id: &str, project: ProjectNo) -> Result<DeviceNo> {
        match found.filter(|device| device.node_type == NodeType::Gateway) {
            None => refuse(format!("gateway: {id:?} is no gateway")),
            Some(device) if device.is_of(project) => Ok(device.no),
            Some(_) => refuse(format!("gateway: {id:?} is another project's")),
        }
    }

    /// Checks that a link of the device may change. If it has no owner now, data of its last owner would become visible to
    /// others.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn check_owned(&self, member: &str) -> Result<()> {
        match self.was_owned && !self.is_owned {
            true => refuse(format!("{member}: the device has no owner now: name one")),
            false => Ok(()),
        }
    }
}

impl WorldDevice {
    /// Gives each device without an id and a device name its device name. `counts` are the numbers of such devices so far, by
    /// product. A device that was numbered before keeps its number.
    pub fn name_unnamed<'a>(devices: impl IntoIterator<Item = &'a mut Self>, counts: &mut HashMap<String, usize>) {
        for device in devices {
            if device.device_id.is_some() || device.device_name.is_some() {
                continue;
            }
            if device.place.unnamed == 0 {
                let product = device.product.as_ref().unwrap_or(&device.product_id);
                let count = counts.entry(product.clone()).or_default();
                *count += 1;
                device.place.unnamed = *count;
            }
            // A product whose id is not known yet is new, and its devices are named when it has been written.
            if device.product.is_none() {
                device.device_name = Some(format!("{}-{}", device.product_id, device.place.unnamed));
            }
        }
    }

    /// Checks that the project may describe the device. The maker of a device that is held elsewhere may only describe what
    /// the factory knows. Returns true for such a device.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn check_maker(
        &self,
        project: ProjectNo,
        maker: ProjectNo,
        stored: Option<(&StoredDevice, &Self)>,
    ) -> Result<bool> {
        let Some((device, stored)) = stored else {
            return match project == maker || self.owner.is_some() {
                true => Ok(false),
                false => {
                    refuse("owner: a device of another project's product needs an owner of this project".to_owned())
                }
            };
        };
        if device.is_of(project) {
            return Ok(false);
        }
        if project != maker {
            return refuse("the device is another project's".to_owned());
        }
        match self.denied_to_maker(stored) {
            Some(member) => refuse(format!("{member}: the device is another project's")),
            None => Ok(true),
        }
    }

    /// Leaves out a local key that the device only shows because it is the key of its gateway: the document was printed
    /// from the store.
    pub fn omit_shown_key(&mut self, gateway: &GatewayKey) {
        if gateway.is_shown() {
            self.local_key.take_if(|key| *key == gateway.key);
        }
    }

    /// Sets the local key of a sub-device to that of its gateway, unless the device was given its own. Returns true if the
    /// device must get a new generated key, because the document gives it the gateway's key as its own. It would show
    /// that key behind any other gateway.
    pub fn settle_local_key(&mut self, mut gateway: GatewayKey) -> bool {
        let is_copied = gateway.is_copied(self);
        gateway.is_own_given &= !is_copied;
        if gateway.is_shown() {
            self.local_key = Some(gateway.key);
        }
        is_copied
    }
}

impl OwnerChange {
    /// What follows if a user becomes the owner of a device.
    pub fn of(device: &Placement, owner: UserNo) -> Self {
        let is_new = device.owner != Some(owner);
        Self { takes_sub_devices: is_new, changes_users: is_new && device.had_other_owner(owner) }
    }
}

impl GatewayKey {
    /// Whether a document gives the sub-device the key of its gateway as its own.
    pub fn is_copied(&self, said: &WorldDevice) -> bool {
        self.is_own_given && said.local_key.as_ref() == Some(&self.key)
    }

    /// Whether the sub-device shows the key as its own.
    fn is_shown(&self) -> bool {
        self.is_together && !self.is_own_given
    }
}

fn refuse<T>(text: String) -> Result<T> {
    Err(Error::Refused(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKER: ProjectNo = ProjectNo(1);
    const OTHER: ProjectNo = ProjectNo(2);
    const ANN: UserNo = UserNo(11);
    const BOB: UserNo = UserNo(12);

    /// A device that the users of a project have, had (`is_owned` is false), or that nobody ever had.
    fn device(holder: Option<ProjectNo>, is_owned: bool) -> StoredDevice {
        let node_type = NodeType::Gateway;
        StoredDevice { no: DeviceNo(1), node_type, maker: MAKER, holder, is_owned, was_owned: holder.is_some() }
    }

    fn world(members: &str) -> WorldDevice {
        serde_json::from_str(&format!(r#"{{"product_id":"lamp"{members}}}"#)).unwrap()
    }

    fn text<T>(result: Result<T>) -> Option<String> {
        result.err().map(|error| error.to_string())
    }

    #[test]
    fn homes() {
        let stored = StoredHome { home_id: 7, project: MAKER, owner: ANN };
        for (project, owner, expected) in [
            (MAKER, ANN, Ok(None)),
            (MAKER, BOB, Ok(Some(ANN))),
            (OTHER, ANN, Err("home_id 7 is another project's".to_owned())),
        ] {
            let mut home = WorldHome::default();
            let previous = home.or_stored(stored, project, owner).map_err(|error| error.to_string());
            assert_eq!(home.home_id, previous.is_ok().then_some(7));
            assert_eq!(previous, expected, "{project:?} {owner:?}");
        }
    }

    #[test]
    fn whose_a_device_is() {
        for (holder, is_owned, of_maker, of_other, may_link) in [
            (None, false, true, false, true),
            (Some(MAKER), true, true, false, true),
            (Some(MAKER), false, true, false, false),
            (Some(OTHER), true, false, true, true),
            (Some(OTHER), false, false, true, false),
        ] {
            let device = device(holder, is_owned);
            assert_eq!((device.is_of(MAKER), device.is_of(OTHER)), (of_maker, of_other), "{device:?}");
            let refused = "home_id: the device has no owner now: name one";
            assert_eq!(text(device.check_owned("home_id")), (!may_link).then(|| refused.to_owned()), "{device:?}");
            let gateway = text(StoredDevice::gateway(Some(device), "g", MAKER));
            assert_eq!(gateway, (!of_maker).then(|| "gateway: \"g\" is another project's".to_owned()));
            let lamp = StoredDevice { node_type: NodeType::Device, ..device };
            for other in [Some(lamp), None] {
                let refused = text(StoredDevice::gateway(other, "g", MAKER));
                assert_eq!(refused, Some("gateway: \"g\" is no gateway".to_owned()));
            }
        }
    }

    #[test]
    fn who_may_describe_a_device() {
        let stored = world(r#","name":"Hers""#);
        let (factory, owned, named) = (world(r#","sn":"2""#), world(r#","owner":"ann""#), world(r#","name":"Mine""#));
        let (own, elsewhere) = (device(Some(MAKER), true), device(Some(OTHER), true));
        for (said, project, found, expected) in [
            (&factory, MAKER, None, Ok(false)),
            (&owned, OTHER, None, Ok(false)),
            (&factory, OTHER, None, Err("owner: a device of another project's product needs an owner of this project")),
            (&named, MAKER, Some(&own), Ok(false)),
            (&named, OTHER, Some(&elsewhere), Ok(false)),
            (&factory, OTHER, Some(&own), Err("the device is another project's")),
            (&factory, MAKER, Some(&elsewhere), Ok(true)),
            (&named, MAKER, Some(&elsewhere), Err("name: the device is another project's")),
        ] {
            let decided = said.check_maker(project, MAKER, found.map(|device| (device, &stored)));
            let decided = decided.map_err(|error| error.to_string());
            assert_eq!(decided, expected.map_err(str::to_owned), "{project:?} {found:?}");
        }
    }

    #[test]
    fn what_follows_from_an_owner() {
        let placed = |owner, last_owner| Placement { no: DeviceNo(1), project: MAKER, owner, last_owner, home: None };
        for (before, takes_sub_devices, changes_users) in [
            (placed(None, None), true, false),
            (placed(None, Some(ANN)), true, false),
            (placed(None, Some(BOB)), true, true),
            (placed(Some(BOB), Some(BOB)), true, true),
            (placed(Some(ANN), Some(ANN)), false, false),
        ] {
            assert_eq!(OwnerChange::of(&before, ANN), OwnerChange { takes_sub_devices, changes_users }, "{before:?}");
        }
    }

    #[test]
    fn whose_local_key_a_device_shows() {
        let gateway = |is_own_given, is_together| GatewayKey { key: "gateway's".to_owned(), is_own_given, is_together };
        let key = |device: &WorldDevice| device.local_key.clone().unwrap_or_default();
        for (own, is_given, is_together, printed, settled, is_replaced) in [
            ("own", false, true, "own", "gateway's", false),
            ("own", false, false, "own", "own", false),
            ("own", true, true, "own", "own", false),
            ("gateway's", false, true, "", "gateway's", false),
            ("gateway's", false, false, "gateway's", "gateway's", false),
            ("gateway's", true, true, "gateway's", "gateway's", true),
            ("gateway's", true, false, "gateway's", "gateway's", true),
        ] {
            let said = world(&format!(r#","local_key":"{own}""#));
            let (mut read, mut written) = (said.clone(), said);
            read.omit_shown_key(&gateway(is_given, is_together));
            let replaced = written.settle_local_key(gateway(is_given, is_together));
            let name = format!("{own}, given: {is_given}, together: {is_together}");
            assert_eq!(
                (key(&read).as_str(), key(&written).as_str(), replaced),
                (printed, settled, is_replaced),
                "{name}"
            );
        }
    }

    #[test]
    fn devices_without_a_name() {
        let mut devices = [world(""), world(r#","device_id":"d""#), world(r#","device_name":"n""#), world("")];
        WorldDevice::name_unnamed(&mut devices, &mut HashMap::new());
        let names = devices.map(|device| device.device_name.unwrap_or_default());
        assert_eq!(names, ["lamp-1", "", "n", "lamp-2"]);
    }
}
