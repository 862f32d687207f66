//! Members that a document leaves out keep their stored values.

use super::{WorldDevice, WorldUser};

impl WorldDevice {
    /// Sets every missing member to the stored value, except links: owner, home, gateway and sharees change only if the
    /// document contains them.
    pub fn or_stored(&mut self, stored: Self) {
        // Without `..`, so that a new member cannot be forgotten here.
        let Self {
            product_id: _,
            device_id,
            secret,
            local_key,
            uuid,
            sn,
            mac,
            name,
            device_name,
            iot_id,
            gateway: _,
            node_id,
            owner: _,
            keep_history: _,
            home_id: _,
            shared_with: _,
            ip,
            lat,
            lon,
            time_zone,
            is_virtual,
            disabled,
        } = stored;
        or(&mut self.device_id, device_id);
        or(&mut self.secret, secret);
        or(&mut self.local_key, local_key);
        or(&mut self.uuid, uuid);
        or(&mut self.sn, sn);
        or(&mut self.mac, mac);
        or(&mut self.name, name);
        or(&mut self.device_name, device_name);
        or(&mut self.iot_id, iot_id);
        or(&mut self.node_id, node_id);
        or(&mut self.ip, ip);
        or(&mut self.lat, lat);
        or(&mut self.lon, lon);
        or(&mut self.time_zone, time_zone);
        or(&mut self.is_virtual, is_virtual);
        or(&mut self.disabled, disabled);
    }

    /// The same device without its links.
    #[must_use]
    pub fn without_links(&self) -> Self {
        let (gateway, owner, keep_history, home_id, shared_with) = Default::default();
        Self { gateway, owner, keep_history, home_id, shared_with, ..self.clone() }
    }

    /// The first member that the project of the product may not set while the device is held elsewhere: one that
    /// changes the owner's data or a link. Data from the factory may be set.
    pub fn denied_to_maker(&self, stored: &Self) -> Option<&'static str> {
        let is_other = |here: &Option<String>, there: &Option<String>| here.is_some() && here != there;
        let is_switched = |here: Option<bool>, there: Option<bool>| here.is_some() && here != there;
        let said = [
            ("name", is_other(&self.name, &stored.name)),
            ("node_id", is_other(&self.node_id, &stored.node_id)),
            ("ip", is_other(&self.ip, &stored.ip)),
            ("lat", is_other(&self.lat, &stored.lat)),
            ("lon", is_other(&self.lon, &stored.lon)),
            ("time_zone", is_other(&self.time_zone, &stored.time_zone)),
            ("virtual", is_switched(self.is_virtual, stored.is_virtual)),
            ("disabled", is_switched(self.disabled, stored.disabled)),
            ("gateway", self.gateway.is_some()),
            ("home_id", self.home_id.is_some()),
            ("shared_with", self.shared_with.is_some()),
        ];
        said.into_iter().find(|(_, is_said)| *is_said).map(|(member, _)| member)
    }

    /// Whether sessions of the stored device must end, because their credentials are no longer valid.
    pub fn ends_sessions_of(&self, stored: &Self) -> bool {
        let is_shut_out = self.disabled == Some(true) && stored.disabled != Some(true);
        self.secret != stored.secret || self.device_name != stored.device_name || is_shut_out
    }
}

impl WorldUser {
    /// Sets every missing member except the password, of which only hashes are stored, to the stored value.
    pub fn or_stored(&mut self, stored: Self) {
        let Self {
            schema: _,
            username: _,
            username_type,
            country_code,
            password: _,
            nick_name,
            avatar,
            gender,
            time_zone_id,
            uid,
            identity_id,
            open_id,
            login_id,
            phone,
            email,
            disabled,
        } = stored;
        or(&mut self.username_type, username_type);
        or(&mut self.country_code, country_code);
        or(&mut self.nick_name, nick_name);
        or(&mut self.avatar, avatar);
        or(&mut self.gender, gender);
        or(&mut self.time_zone_id, time_zone_id);
        or(&mut self.uid, uid);
        or(&mut self.identity_id, identity_id);
        or(&mut self.open_id, open_id);
        or(&mut self.login_id, login_id);
        or(&mut self.phone, phone);
        or(&mut self.email, email);
        or(&mut self.disabled, disabled);
    }
}

fn or<T>(said: &mut Option<T>, stored: Option<T>) {
    *said = said.take().or(stored);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(members: &str) -> WorldDevice {
        serde_json::from_str(&format!(r#"{{"product_id":"lamp"{members}}}"#)).unwrap()
    }

    #[test]
    fn what_is_left_out_is_taken_from_what_is_stored() {
        let stored = device(r#","name":"Old","ip":"192.0.2.1","owner":"her","disabled":true"#);
        let mut said = device(r#","name":"New","home_id":7"#);
        said.or_stored(stored);
        assert!(said == device(r#","name":"New","ip":"192.0.2.1","disabled":true,"home_id":7"#));
        assert!(said.without_links() == device(r#","name":"New","ip":"192.0.2.1","disabled":true"#));
    }

    #[test]
    fn what_a_maker_may_not_say() {
        let stored = device(r#","name":"Hers","lat":"1","virtual":false,"sn":"1""#);
        for (said, refused) in [
            ("", None),
            (r#","name":"Hers","virtual":false"#, None),
            (r#","sn":"2","secret":"2","local_key":"2","uuid":"2""#, None),
            (r#","name":"Mine""#, Some("name")),
            (r#","lat":"2","gateway":"g""#, Some("lat")),
            (r#","disabled":false"#, Some("disabled")),
            (r#","virtual":true"#, Some("virtual")),
            (r#","gateway":"g""#, Some("gateway")),
            (r#","home_id":1"#, Some("home_id")),
            (r#","shared_with":[]"#, Some("shared_with")),
        ] {
            assert_eq!(device(said).denied_to_maker(&stored), refused, "{said}");
        }
    }

    #[test]
    fn who_must_connect_again() {
        let stored = device(r#","secret":"a","device_name":"a","disabled":false"#);
        for (said, ends) in [
            (r#","secret":"a","device_name":"a","disabled":false,"name":"b""#, false),
            (r#","secret":"b","device_name":"a","disabled":false"#, true),
            (r#","secret":"a","device_name":"b","disabled":false"#, true),
            (r#","secret":"a","device_name":"a","disabled":true"#, true),
        ] {
            assert_eq!(device(said).ends_sessions_of(&stored), ends, "{said}");
        }
        let shut_out = device(r#","disabled":true"#);
        assert!(!shut_out.ends_sessions_of(&shut_out), "nobody is connected");
    }
}
