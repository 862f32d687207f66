//! Every way in which a device can leave its owner and get the next one.

use serde_json::{Value, json};

use super::people::{MAKER, Matrix, OTHER, Person, ask};
use crate::support::mqtt::{MqttDevice, linkkit, signed};

/// A way: how the device leaves its owner, and how it gets the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    UnbindBind,
    UnbindEverybodyBind,
    DeleteBind,
    DeleteManyPair,
    ResetPairLinkKit,
    ResetBind,
    UnbindPair,
    UnbindAttachTuyaLink,
    UnbindAttachLinkKit,
    UnbindNamedByGateway,
    UnbindBehindPairedGateway,
    UnbindBehindBoundGateway,
    LeavesWithGatewayBind,
    DeleteReattachedBind,
    Document,
    DocumentAfterRemoval,
    DocumentOfAnotherProject,
    UserRemovedBind,
    UnbindUserRemovedBind,
    FromElsewhereBind,
    DocumentFromElsewhere,
}

impl Way {
    pub const ALL: [Self; 21] = [
        Self::UnbindBind,
        Self::UnbindEverybodyBind,
        Self::DeleteBind,
        Self::DeleteManyPair,
        Self::ResetPairLinkKit,
        Self::ResetBind,
        Self::UnbindPair,
        Self::UnbindAttachTuyaLink,
        Self::UnbindAttachLinkKit,
        Self::UnbindNamedByGateway,
        Self::UnbindBehindPairedGateway,
        Self::UnbindBehindBoundGateway,
        Self::LeavesWithGatewayBind,
        Self::DeleteReattachedBind,
        Self::Document,
        Self::DocumentAfterRemoval,
        Self::DocumentOfAnotherProject,
        Self::UserRemovedBind,
        Self::UnbindUserRemovedBind,
        Self::FromElsewhereBind,
        Self::DocumentFromElsewhere,
    ];

    /// The former owner, a sharee, a member of the home, and the next owner.
    pub fn people(self) -> [&'static str; 4] {
        match self {
            Self::DocumentOfAnotherProject => ["former", "sharee", "member", "heir"],
            Self::UserRemovedBind => ["leaver", "sharee", "member", "next"],
            Self::UnbindUserRemovedBind => ["parter", "sharee", "member", "next"],
            Self::FromElsewhereBind | Self::DocumentFromElsewhere => ["other", "guest", "lodger", "next"],
            _ => ["former", "sharee", "member", "next"],
        }
    }

    /// True if the device may have connected before. A gateway can only add a device that never has.
    pub fn has_connected(self) -> bool {
        self != Self::UnbindNamedByGateway
    }

    /// The methods of the store that the way uses.
    pub fn methods(self) -> &'static [&'static str] {
        match self {
            Self::UnbindBind | Self::FromElsewhereBind => &["unbind_device", "bind_devices"],
            Self::UnbindEverybodyBind | Self::LeavesWithGatewayBind => &["unbind_everybody", "bind_devices"],
            Self::DeleteBind | Self::ResetBind => &["remove_devices", "bind_devices"],
            Self::DeleteManyPair | Self::ResetPairLinkKit => &["remove_devices", "redeem_pairing"],
            Self::UnbindPair | Self::UnbindBehindPairedGateway => &["unbind_device", "redeem_pairing"],
            Self::UnbindAttachTuyaLink | Self::UnbindAttachLinkKit => &["unbind_device", "attach"],
            Self::UnbindNamedByGateway => &["unbind_device", "make_devices"],
            Self::UnbindBehindBoundGateway => &["unbind_device", "attach", "bind_devices"],
            Self::Document | Self::DocumentOfAnotherProject | Self::DocumentFromElsewhere => &["apply"],
            Self::DocumentAfterRemoval => &["remove_devices", "apply"],
            Self::DeleteReattachedBind => &["remove_devices", "attach", "bind_devices"],
            Self::UserRemovedBind => &["remove_user", "bind_devices"],
            Self::UnbindUserRemovedBind => &["unbind_device", "remove_user", "bind_devices"],
        }
    }
}

/// One device and its way, with the gateways of its former and next owner and one without an owner.
pub struct Scene<'a> {
    pub matrix: &'a Matrix,
    pub way: Way,
    pub id: String,
    pub former_gate: String,
    pub next_gate: String,
    pub free_gate: String,
    pub former: &'a Person,
    pub sharee: &'a Person,
    pub member: &'a Person,
    pub next: &'a Person,
}

impl<'a> Scene<'a> {
    pub fn of(matrix: &'a Matrix, way: Way) -> Self {
        let name = |kind: &str| format!("{kind}-{way:?}-{kind}").to_lowercase();
        let [former, sharee, member, next] = way.people().map(|name| matrix.person(name));
        Self {
            matrix,
            way,
            id: name("d"),
            former_gate: name("f"),
            next_gate: name("n"),
            free_gate: name("g"),
            former,
            sharee,
            member,
            next,
        }
    }

    /// Moves the device from its former owner to the next one.
    pub fn go(&self) {
        let (id, next) = (self.id.as_str(), self.next.project);
        match self.way {
            Way::UnbindBind | Way::FromElsewhereBind => {
                self.unbind();
                self.bind(id);
            }
            Way::UnbindEverybodyBind => {
                self.unbind_everybody(id);
                self.bind(id);
            }
            Way::DeleteBind => {
                self.done(self.matrix.tuya[MAKER].delete(&format!("/v1.0/devices/{id}")));
                self.bind(id);
            }
            Way::DeleteManyPair => {
                self.done(self.matrix.tuya[MAKER].delete(&format!("/v1.0/iot-03/devices?device_ids={id}")));
                self.pair(id);
            }
            Way::ResetPairLinkKit => {
                self.reset();
                self.pair_linkkit();
            }
            Way::ResetBind => {
                self.reset();
                self.bind(id);
            }
            Way::UnbindPair => {
                self.unbind();
                self.pair(id);
            }
            Way::UnbindAttachTuyaLink => {
                self.unbind();
                self.attach(&self.next_gate);
            }
            Way::UnbindAttachLinkKit => {
                self.unbind();
                self.attach_linkkit();
            }
            Way::UnbindNamedByGateway => {
                self.unbind();
                let mut gate = self.matrix.tuyalink(&self.next_gate);
                let named = json!([{"productId": "matrixsensor0001", "clientId": id}]);
                assert_eq!(ask(&mut gate, &self.next_gate, "device/sub/bind", &named).0, 0);
            }
            Way::UnbindBehindPairedGateway => {
                self.unbind();
                self.attach(&self.free_gate);
                self.pair(&self.free_gate);
            }
            Way::UnbindBehindBoundGateway => {
                self.unbind();
                self.attach(&self.free_gate);
                self.bind_named("a1mgate", &self.free_gate);
            }
            Way::LeavesWithGatewayBind => {
                self.unbind_everybody(&self.former_gate);
                self.bind(id);
            }
            Way::DeleteReattachedBind => {
                self.done(self.matrix.tuya[MAKER].delete(&format!("/v1.0/devices/{id}")));
                // It still has no owner and is attached to the former owner's gateway.
                self.attach(&self.former_gate);
                self.bind(id);
            }
            Way::Document | Way::DocumentOfAnotherProject | Way::DocumentFromElsewhere => self.give(next),
            Way::DocumentAfterRemoval => {
                self.done(self.matrix.tuya[MAKER].delete(&format!("/v1.0/devices/{id}")));
                self.give(next);
            }
            Way::UserRemovedBind => {
                self.unregister();
                self.bind(id);
            }
            Way::UnbindUserRemovedBind => {
                self.unbind();
                self.unregister();
                self.bind(id);
            }
        }
        let app = &self.matrix.tuya[next];
        let owner = app.get(&format!("/v1.0/devices/{id}"))["result"]["uid"].clone();
        assert_eq!(owner, json!(self.next.uid()), "{:?}", self.way);
        assert!(next == MAKER || next == OTHER);
    }

    fn done(&self, answer: Value) {
        assert_eq!(answer["result"], true, "{:?}: {answer}", self.way);
    }

    fn unbind(&self) {
        let params = json!({"identityId": self.former.identity(), "iotId": format!("iot-{}", self.id)});
        self.matrix.aliyun[self.former.project].data("/cloud/user/device/unbind", params);
    }

    fn unregister(&self) {
        let params = json!({"identityId": self.former.identity()});
        self.matrix.aliyun[self.former.project].data("/user/account/unregister", params);
    }

    fn unbind_everybody(&self, id: &str) {
        let params = json!({"iotId": format!("iot-{id}")});
        self.matrix.aliyun[self.former.project].data("/living/cloud/user/binding/device/unbind", params);
    }

    fn reset(&self) {
        self.done(self.matrix.tuya[MAKER].put(&format!("/v1.0/devices/{}/reset-factory", self.id), json!({})));
    }

    fn bind(&self, id: &str) {
        self.bind_named("a1matrix", id);
    }

    fn bind_named(&self, key: &str, id: &str) {
        let list = json!([{"productKey": key, "deviceName": id}]);
        let params = json!({"identityId": self.next.identity(), "deviceList": list});
        let bound = self.matrix.aliyun[self.next.project].data("/living/cloud/user/binding/device/batch/bind", params);
        assert_eq!(bound[0]["bindCode"], 0, "{:?}: {bound}", self.way);
    }

    fn token(&self) -> String {
        let made = self.next.app.post("/v1.0/devices/token", json!({}))["result"].clone();
        made["token"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    fn pair(&self, id: &str) {
        let mut device = self.matrix.tuyalink(id);
        assert_eq!(ask(&mut device, id, "device/bind", &json!({"token": self.token()})).0, 0, "{:?}", self.way);
    }

    fn pair_linkkit(&self) {
        let secret = format!("secret-of-{}", self.id);
        let mut device = MqttDevice::connect(&self.matrix.cloud, &linkkit("a1matrix", &self.id, &secret, ",_ss=1"));
        let message = json!({"id": "1", "version": "1.0", "method": "thing.awss.enrollee.match",
            "params": {"token": self.token()}});
        let topic = format!("/sys/a1matrix/{}/thing/awss/enrollee/match", self.id);
        assert_eq!(device.asked(&topic, &message).1["code"], 200, "{:?}", self.way);
    }

    fn attach(&self, gate: &str) {
        let (id, product) = (&self.id, "matrixsensor0001");
        let content = format!("deviceId{id}productId{product}timestamp1");
        let sign = signed(&format!("secret-of-{id}"), &content);
        let proof = json!([{"productId": product, "deviceId": id, "sign": sign, "signMethod": "hmacSha256",
            "timestamp": "1"}]);
        assert_eq!(ask(&mut self.matrix.tuyalink(gate), gate, "device/topo/add", &proof).0, 0, "{:?}", self.way);
    }

    fn attach_linkkit(&self) {
        let (id, gate) = (&self.id, &self.next_gate);
        let content = format!("clientId{id}deviceName{id}productKeya1matrixtimestamp1530262800000");
        let proof = json!([{"productKey": "a1matrix", "deviceName": id, "clientId": id, "timestamp": "1530262800000",
            "signmethod": "hmacSha256", "sign": signed(&format!("secret-of-{id}"), &content)}]);
        let secret = format!("secret-of-{gate}");
        let mut device = MqttDevice::connect(&self.matrix.cloud, &linkkit("a1mgate", gate, &secret, ",_ss=1"));
        let message = json!({"id": "1", "version": "1.0", "method": "thing.topo.add", "params": proof});
        let topic = format!("/sys/a1mgate/{gate}/thing/topo/add");
        assert_eq!(device.asked(&topic, &message).1["code"], 200, "{:?}", self.way);
    }

    fn give(&self, project: usize) {
        let device = json!({"product_id": "matrixsensor0001", "device_id": self.id, "owner": self.next.name});
        self.matrix.apply_devices(project, json!([device]));
    }
}
