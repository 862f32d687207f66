//! Data and access of a former owner that the next owner must not get, or that the former owner must lose.

use std::time::Duration;

use serde_json::json;

use super::people::{MAKER, Matrix, NOW, OTHER, Person, ask};
use super::ways::{Scene, Way};

/// How far the clock is ahead.
const AHEAD: Duration = Duration::from_secs(3600);

/// A kind of data or access that could leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    Rows,
    Value,
    ValueAhead,
    Events,
    Name,
    FunctionName,
    DeviceUsers,
    Shares,
    DesiredValues,
    Facts,
    Home,
    Place,
    Address,
    TimeZone,
    LocalKey,
    Gateway,
    Feed,
    VisualToken,
    UserToken,
}

impl Thing {
    pub const ALL: [Self; 19] = [
        Self::Rows,
        Self::Value,
        Self::ValueAhead,
        Self::Events,
        Self::Name,
        Self::FunctionName,
        Self::DeviceUsers,
        Self::Shares,
        Self::DesiredValues,
        Self::Facts,
        Self::Home,
        Self::Place,
        Self::Address,
        Self::TimeZone,
        Self::LocalKey,
        Self::Gateway,
        Self::Feed,
        Self::VisualToken,
        Self::UserToken,
    ];

    /// The texts that show the thing in an answer, and the views that show it to its owner.
    fn shows(self, scene: &Scene<'_>) -> (Vec<String>, &'static [View]) {
        use View::{Alibaba, Device, Feed, ProjectFeed, TuyaProject, TuyaUser, Visual};
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        match self {
            // Subscribers get an imported row only if it is the device's state.
            Self::Rows => (texts(&["404040404"]), &[TuyaUser, TuyaProject, Alibaba, Visual]),
            Self::Value => (texts(&["414141414"]), &View::OF_VALUES),
            Self::ValueAhead => (texts(&["424242424"]), &View::OF_VALUES),
            Self::Events => (texts(&["454545454"]), &[Alibaba]),
            Self::Name => (texts(&["Annas bedroom"]), &View::OF_VALUES),
            Self::FunctionName => (texts(&["Annas night light"]), &[TuyaUser, TuyaProject, Feed, ProjectFeed]),
            Self::DeviceUsers => (texts(&["Granny Anna", "+4917012345"]), &[TuyaProject]),
            Self::Shares => (vec![scene.sharee.uid(), scene.sharee.identity()], &[TuyaUser, TuyaProject, Alibaba]),
            Self::DesiredValues => (texts(&["434343434"]), &[Device]),
            Self::Facts => (texts(&["tag-of-anna", "shadow-of-anna"]), &[Device]),
            Self::Home => (vec![scene.former.home.to_string()], &[TuyaUser, TuyaProject]),
            Self::Place => (texts(&["48.13719", "11.57549"]), &[TuyaUser, TuyaProject]),
            Self::Address => (texts(&["10.11.12.13"]), &[TuyaUser, TuyaProject]),
            Self::TimeZone => (texts(&["+05:45"]), &[TuyaUser, TuyaProject]),
            Self::Gateway => (vec![scene.former_gate.clone(), "node-of-anna".to_owned()], &[TuyaUser, TuyaProject]),
            // These belong to the device or give access to it, so previous users must lose them.
            Self::LocalKey | Self::Feed | Self::VisualToken | Self::UserToken => (Vec::new(), &[]),
        }
    }
}

/// The interfaces that could show a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    TuyaUser,
    TuyaProject,
    Alibaba,
    Visual,
    Device,
    Feed,
    ProjectFeed,
}

impl View {
    pub const ALL: [Self; 7] =
        [Self::TuyaUser, Self::TuyaProject, Self::Alibaba, Self::Visual, Self::Device, Self::Feed, Self::ProjectFeed];
    /// All views except the device's own.
    const OF_VALUES: [Self; 6] =
        [Self::TuyaUser, Self::TuyaProject, Self::Alibaba, Self::Visual, Self::Feed, Self::ProjectFeed];
}

/// The answers that an owner sees in each view.
struct Seen([String; 7]);

impl Seen {
    fn by(scene: &Scene<'_>, owner: &Person, token: &str, arrived: String) -> Self {
        let (matrix, id) = (scene.matrix, scene.id.as_str());
        let device = if scene.way.has_connected() { matrix.device_says(id) } else { String::new() };
        Self([
            matrix.tuya_says(&owner.app, id),
            matrix.tuya_says(&matrix.tuya[owner.project], id),
            matrix.aliyun_says(owner, id),
            matrix.visual_says(token, id),
            device,
            arrived,
            matrix.project_received(owner.project, id),
        ])
    }

    fn of(&self, view: View) -> &str {
        &self.0[view as usize]
    }
}

/// A device after a change of owner: what its owners saw before and after, and with which credentials.
pub struct Gone<'a> {
    scene: Scene<'a>,
    before: Seen,
    after: Seen,
    /// The tokens of the former owner and of the sharee.
    visual_tokens: [String; 2],
    /// The messages that the former owner, the sharee and the member got afterwards.
    arrived: [String; 3],
    /// The messages that the former owner's project got afterwards, if the next owner has another project.
    received_by_project: String,
}

/// The world document of a device and its gateway before the change.
pub fn devices_of(scene: &Scene<'_>) -> Vec<serde_json::Value> {
    let (id, former) = (&scene.id, scene.former.name);
    let gate = |id: &str| {
        json!({"product_id": "matrixgate000001", "device_id": id, "device_name": id, "iot_id": format!("iot-{id}"),
            "secret": format!("secret-of-{id}")})
    };
    let mut former_gate = gate(&scene.former_gate);
    former_gate["owner"] = json!(former);
    let device = json!({"product_id": "matrixsensor0001", "device_id": id, "device_name": id,
        "iot_id": format!("iot-{id}"), "secret": format!("secret-of-{id}"), "local_key": format!("key-of-{id}"),
        "lat": "48.13719", "lon": "11.57549", "ip": "10.11.12.13", "time_zone": "+05:45", "owner": former,
        "shared_with": [scene.sharee.name], "gateway": scene.former_gate, "node_id": "node-of-anna"});
    vec![former_gate, device]
}

/// The gateway of the next owner and one without an owner, for the maker's document.
pub fn other_gates(scene: &Scene<'_>) -> Vec<serde_json::Value> {
    let gate = |id: &str| json!({"product_id": "matrixgate000001", "device_id": id, "device_name": id, "secret": format!("secret-of-{id}")});
    let mut next_gate = gate(&scene.next_gate);
    if scene.next.project == MAKER {
        next_gate["owner"] = json!(scene.next.name);
    }
    vec![next_gate, gate(&scene.free_gate)]
}

impl<'a> Gone<'a> {
    /// Lets the former owner use the device and then brings it to the next owner.
    pub fn through(matrix: &'a Matrix, way: Way) -> Self {
        let scene = Scene::of(matrix, way);
        let (id, former) = (scene.id.as_str(), scene.former);
        let path = format!("/v1.0/devices/{id}");
        for person in [former, scene.sharee, scene.member, scene.next] {
            person.arrived();
        }
        for project in [MAKER, OTHER] {
            matrix.project_received(project, id);
        }
        assert_eq!(former.app.put(&path, json!({"name": "Annas bedroom"}))["result"], true);
        let name = json!({"name": "Annas night light"});
        assert_eq!(former.app.put(&format!("{path}/functions/temp"), name)["result"], true);
        let person = json!({"nick_name": "Granny Anna", "sex": 2, "contact": "+4917012345"});
        assert_eq!(matrix.tuya[former.project].post(&format!("{path}/user"), person)["success"], true);
        let setpoint = json!({"properties": {"setpoint": 434_343_434}, "duration": 3600, "type": 0});
        let desired = format!("/v2.0/cloud/thing/{id}/shadow/properties/desired");
        assert_eq!(former.app.post(&desired, setpoint)["success"], true);
        matrix.cloud.import(&[
            (id, NOW - 5000, 7, 1, "temp", json!(404_040_404)),
            (id, NOW - 1000, 7, 1, "temp", json!(414_141_414)),
            (id, NOW - 2000, 11, 1, "alarm", json!({"n": 454_545_454})),
        ]);
        // The clock was one hour ahead.
        matrix.cloud.advance(AHEAD);
        matrix.cloud.import(&[(id, matrix.cloud.now_ms(), 7, 1, "humid", json!(424_242_424))]);
        matrix.cloud.set_back(AHEAD);
        if way.has_connected() {
            matrix.device_notes(id, "tag-of-anna", "shadow-of-anna");
        }
        let visual_tokens = [former, scene.sharee].map(|person| matrix.visual_token(person, id));
        let before = Seen::by(&scene, former, &visual_tokens[0], former.arrived());
        for person in [former, scene.sharee, scene.member] {
            assert_eq!(person.app.get(&path)["success"], true, "{way:?}: {} has it", person.name);
        }
        let received_by_next = scene.next.arrived();
        assert!(!received_by_next.contains(id), "{way:?}: {received_by_next}");
        for project in [MAKER, OTHER] {
            matrix.project_received(project, id);
        }

        scene.go();
        // This is later than all reports.
        let later = AHEAD + Duration::from_secs(10);
        matrix.cloud.advance(later);
        matrix.cloud.import(&[(id, matrix.cloud.now_ms(), 7, 1, "temp", json!(515_151_515))]);
        matrix.cloud.set_back(later);
        let token = matrix.visual_token(scene.next, id);
        let after = Seen::by(&scene, scene.next, &token, scene.next.arrived());
        let arrived = [former, scene.sharee, scene.member].map(Person::arrived);
        let received_by_project = matrix.project_received(former.project, id);
        Self { scene, before, after, visual_tokens, arrived, received_by_project }
    }

    /// Checks one cell of the matrix. Returns the number of assertions.
    pub fn assert(&self, thing: Thing) -> usize {
        let Self { scene, before, after, .. } = self;
        let cell = format!("{:?} × {thing:?}", scene.way);
        let (texts, views) = thing.shows(scene);
        let mut asserted = 0;
        for view in views.iter().filter(|view| **view != View::Device || scene.way.has_connected()) {
            let shown = texts.iter().any(|text| before.of(*view).contains(text));
            assert!(shown, "{cell}: its owner sees it in {view:?}: {}", before.of(*view));
        }
        // A project may learn which of its own homes the device left.
        let is_reported = scene.former.project == scene.next.project && thing == Thing::Home;
        for view in View::ALL.into_iter().filter(|view| *view != View::ProjectFeed || !is_reported) {
            for text in &texts {
                let seen = after.of(view);
                assert!(!seen.contains(text), "{cell}: the next owner sees {text} in {view:?}: {seen}");
                asserted += 1;
            }
        }
        asserted + self.is_lost(thing, &cell)
    }

    /// Checks that previous users no longer have the thing.
    fn is_lost(&self, thing: Thing, cell: &str) -> usize {
        let Self { scene, before, after, .. } = self;
        let (matrix, id) = (scene.matrix, scene.id.as_str());
        let former_people = [scene.former, scene.sharee, scene.member];
        match thing {
            Thing::LocalKey => {
                let key = format!("key-of-{id}");
                assert!(before.of(View::TuyaUser).contains(&key) && after.of(View::TuyaUser).contains(&key), "{cell}");
                for person in former_people {
                    assert!(!matrix.tuya_says(&person.app, id).contains(&key), "{cell}: {}", person.name);
                }
                if scene.former.project != scene.next.project {
                    let project = matrix.tuya_says(&matrix.tuya[scene.former.project], id);
                    assert!(!project.contains(&key), "{cell}: {project}");
                }
                4
            }
            Thing::Home => {
                for person in [scene.former, scene.member] {
                    let devices = person.app.get(&format!("/v1.0/homes/{}/devices", scene.former.home)).to_string();
                    assert!(!devices.contains(id), "{cell}: {}: {devices}", person.name);
                }
                2
            }
            Thing::Shares => {
                let (sharee, aliyun) = (scene.sharee, &matrix.aliyun[scene.sharee.project]);
                let shared = sharee.app.get(&format!("/v1.0/users/{}/devices?from=sharing", sharee.uid()));
                assert!(!shared.to_string().contains(id), "{cell}: {shared}");
                let bound = aliyun.data("/cloud/device/queryByUser", json!({"identityId": sharee.identity()}));
                assert!(!bound.to_string().contains(id), "{cell}: {bound}");
                2
            }
            Thing::Gateway => {
                let mut gate = matrix.tuyalink(&scene.former_gate);
                assert_ne!(ask(&mut gate, &scene.former_gate, "device/sub/login", &json!([id])).0, 0, "{cell}");
                assert_eq!(ask(&mut gate, id, "thing/property/report", &json!({"temp": 1})).0, 1004, "{cell}");
                2
            }
            Thing::Feed => self.is_received_by_the_next_owner(cell),
            Thing::VisualToken => {
                for token in &self.visual_tokens {
                    for below in ["", "/logs"] {
                        assert_eq!(matrix.visual(token, id, below).status, 401, "{cell}");
                    }
                }
                4
            }
            Thing::UserToken => {
                for person in former_people {
                    let answer = person.app.get(&format!("/v1.0/devices/{id}"));
                    assert_eq!(answer["success"], false, "{cell}: {}", person.name);
                }
                3
            }
            _ => 0,
        }
    }

    /// Checks who gets which messages about the device after the change.
    fn is_received_by_the_next_owner(&self, cell: &str) -> usize {
        let Self { scene, after, .. } = self;
        let former_people = [scene.former, scene.sharee, scene.member];
        assert!(after.of(View::Feed).contains("bindUser"), "{cell}: the next owner receives it");
        assert!(after.of(View::Feed).contains("515151515"), "{cell}: the next owner receives it");
        for (person, arrived) in former_people.iter().zip(&self.arrived) {
            assert!(!arrived.contains("515151515"), "{cell}: {} receives {arrived}", person.name);
            let is_removed = matches!(scene.way, Way::UserRemovedBind | Way::UnbindUserRemovedBind);
            let is_there = !is_removed || person.name != scene.former.name;
            assert!(!is_there || arrived.contains("delete"), "{cell}: {} receives: {arrived}", person.name);
        }
        let (project, next) = (&self.received_by_project, scene.next);
        if scene.former.project != next.project {
            for text in [next.uid(), next.identity(), next.home.to_string()] {
                assert!(!project.contains(&text), "{cell}: the former project receives {text}: {project}");
            }
            // The maker still sees the device and reads its status; another project has lost it.
            let is_maker = scene.former.project == MAKER;
            assert_eq!(project.contains("delete"), !is_maker, "{cell}: {project}");
            assert_eq!(project.contains("515151515"), is_maker, "{cell}: {project}");
        }
        5
    }
}
