-- Triggers that record what a change of a row touches. They are created in the writer's connection when it is opened and are
-- not part of the database file. touched(kind, what) is a function of the process (touched.rs). That file also creates
-- the triggers that need no other row than the changed one.
--
-- The rule: a trigger reports every cached value that the change of its row alters, given the other rows at that moment. So a
-- transaction that changes several rows reports everything that it alters, in any order of the changes.

-- The owner and the members of a home.
CREATE TEMP VIEW resident (home_id, uid) AS
    SELECT h.home_id, u.uid FROM home h JOIN app_user u ON u.user_no = h.owner_no
    UNION ALL SELECT m.home_id, u.uid FROM home_member m JOIN app_user u USING (user_no);

-- The users whose device lists contain a device.
CREATE TEMP VIEW viewer (device_no, uid) AS
    SELECT b.device_no, u.uid FROM binding b JOIN app_user u USING (user_no)
    UNION ALL SELECT d.device_no, u.uid FROM device d JOIN home h USING (home_id) JOIN app_user u ON u.user_no = h.owner_no
    UNION ALL SELECT d.device_no, u.uid FROM device d JOIN home_member m USING (home_id) JOIN app_user u USING (user_no);

CREATE TEMP TRIGGER device_inserted AFTER INSERT ON device BEGIN
    SELECT touched('devices_of', uid) FROM viewer WHERE device_no = NEW.device_no;
END;

CREATE TEMP TRIGGER device_updated AFTER UPDATE ON device BEGIN
    SELECT touched('device', NEW.device_no);
    SELECT touched('devices_of', uid) FROM viewer WHERE device_no = NEW.device_no;
END;

CREATE TEMP TRIGGER device_moved AFTER UPDATE OF home_id ON device WHEN OLD.home_id IS NOT NEW.home_id BEGIN
    SELECT touched('devices_of', uid) FROM resident WHERE home_id = OLD.home_id;
END;

-- A sub-device can show the id and the local key of its gateway.
CREATE TEMP TRIGGER gateway_updated AFTER UPDATE OF device_id, local_key_sealed, home_id, project_no ON device BEGIN
    SELECT touched('device', device_no) FROM device WHERE gateway_no = NEW.device_no;
    SELECT touched('devices_of', uid) FROM viewer
        WHERE device_no IN (SELECT device_no FROM device WHERE gateway_no = NEW.device_no);
END;

-- A binding decides who sees the device, who owns it, and whether its sub-devices show its local key.
CREATE TEMP TRIGGER binding_inserted AFTER INSERT ON binding BEGIN
    SELECT touched('device', NEW.device_no);
    SELECT touched('device', device_no) FROM device WHERE gateway_no = NEW.device_no;
    SELECT touched('devices_of', uid) FROM viewer WHERE device_no IN
        (SELECT NEW.device_no UNION ALL SELECT device_no FROM device WHERE gateway_no = NEW.device_no);
END;

CREATE TEMP TRIGGER binding_updated AFTER UPDATE ON binding BEGIN
    SELECT touched('device', device_no) FROM device WHERE device_no IN (OLD.device_no, NEW.device_no);
    SELECT touched('device', device_no) FROM device WHERE gateway_no IN (OLD.device_no, NEW.device_no);
    SELECT touched('devices_of', uid) FROM app_user WHERE user_no = OLD.user_no;
    SELECT touched('devices_of', uid) FROM viewer WHERE device_no IN (SELECT OLD.device_no UNION ALL SELECT NEW.device_no
        UNION ALL SELECT device_no FROM device WHERE gateway_no IN (OLD.device_no, NEW.device_no));
END;

CREATE TEMP TRIGGER binding_deleted AFTER DELETE ON binding BEGIN
    SELECT touched('device', OLD.device_no);
    SELECT touched('device', device_no) FROM device WHERE gateway_no = OLD.device_no;
    SELECT touched('devices_of', uid) FROM app_user WHERE user_no = OLD.user_no;
    SELECT touched('devices_of', uid) FROM viewer WHERE device_no IN
        (SELECT OLD.device_no UNION ALL SELECT device_no FROM device WHERE gateway_no = OLD.device_no);
END;

CREATE TEMP TRIGGER home_inserted AFTER INSERT ON home BEGIN
    SELECT touched('devices_of', uid) FROM resident WHERE home_id = NEW.home_id;
END;

CREATE TEMP TRIGGER home_updated AFTER UPDATE OF home_id, project_no, owner_no ON home
    WHEN OLD.owner_no <> NEW.owner_no OR OLD.home_id <> NEW.home_id OR OLD.project_no <> NEW.project_no BEGIN
    SELECT touched('device', device_no) FROM device WHERE home_id IN (OLD.home_id, NEW.home_id);
    SELECT touched('devices_of', uid) FROM app_user WHERE user_no = OLD.owner_no;
    SELECT touched('devices_of', uid) FROM resident WHERE home_id IN (OLD.home_id, NEW.home_id);
END;

CREATE TEMP TRIGGER home_deleted AFTER DELETE ON home BEGIN
    SELECT touched('device', device_no) FROM device WHERE home_id = OLD.home_id;
    SELECT touched('devices_of', uid) FROM app_user WHERE user_no = OLD.owner_no;
END;

CREATE TEMP TRIGGER home_member_inserted AFTER INSERT ON home_member BEGIN
    SELECT touched('devices_of', uid) FROM app_user WHERE user_no = NEW.user_no;
END;

CREATE TEMP TRIGGER home_member_updated AFTER UPDATE OF home_id, user_no ON home_member BEGIN
    SELECT touched('devices_of', uid) FROM app_user WHERE user_no IN (OLD.user_no, NEW.user_no);
END;

CREATE TEMP TRIGGER home_member_deleted AFTER DELETE ON home_member BEGIN
    SELECT touched('devices_of', uid) FROM app_user WHERE user_no = OLD.user_no;
END;

-- Users are looked up by open id, which users of several apps of a project may have in common.
CREATE TEMP TRIGGER app_user_inserted AFTER INSERT ON app_user BEGIN
    SELECT touched('user', u.uid) FROM app a JOIN app_user u ON u.app_no = a.app_no AND u.open_id = NEW.open_id
        WHERE a.project_no = NEW.project_no;
END;

CREATE TEMP TRIGGER app_user_updated AFTER UPDATE ON app_user BEGIN
    SELECT touched('user', OLD.uid);
END;

CREATE TEMP TRIGGER app_user_open_id AFTER UPDATE OF open_id ON app_user WHEN OLD.open_id <> NEW.open_id BEGIN
    SELECT touched('user', u.uid) FROM app a JOIN app_user u ON u.app_no = a.app_no AND u.open_id = NEW.open_id
        WHERE a.project_no = NEW.project_no;
END;

-- The list of a user's bindings contains the names of the user.
CREATE TEMP TRIGGER app_user_names AFTER UPDATE OF identity_id, username ON app_user
    WHEN OLD.identity_id <> NEW.identity_id OR OLD.username <> NEW.username BEGIN
    SELECT touched('devices_of', OLD.uid);
END;

CREATE TEMP TRIGGER app_user_access AFTER UPDATE OF access_version, disabled ON app_user BEGIN
    SELECT touched('token', access_hash) FROM user_token WHERE user_no = OLD.user_no;
END;

CREATE TEMP TRIGGER app_user_identity AFTER UPDATE OF user_no, uid, project_no, app_no ON app_user
    WHEN OLD.user_no <> NEW.user_no OR OLD.uid <> NEW.uid OR OLD.project_no <> NEW.project_no OR OLD.app_no <> NEW.app_no
BEGIN
    SELECT touched('all', NULL);
END;
