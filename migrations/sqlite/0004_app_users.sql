-- What an app's users need: logins of their own, homes that they share, and tokens that pair devices.
-- app_user.password_hash holds one or two hashes from now on, with a space between: of the password's MD5 digits (or of
-- what was given before), and of its SHA-256 digits.

-- Logins: several a user, one a client. access_version is the account's at the login; with another it is dead.
CREATE TABLE user_token (
    access_hash    BLOB PRIMARY KEY,
    refresh_hash   BLOB NOT NULL UNIQUE,
    user_no        INTEGER NOT NULL REFERENCES app_user,
    access_version INTEGER NOT NULL,
    granted_ms     INTEGER NOT NULL,
    expires_ms     INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX user_token_user ON user_token (user_no, granted_ms);

ALTER TABLE home ADD COLUMN geo_name TEXT NOT NULL DEFAULT '';
ALTER TABLE home ADD COLUMN lat REAL NOT NULL DEFAULT 0;
ALTER TABLE home ADD COLUMN lon REAL NOT NULL DEFAULT 0;
CREATE INDEX home_project ON home (project_no, home_id);

-- Who lives in a home besides its owner.
CREATE TABLE home_member (
    home_id    INTEGER NOT NULL REFERENCES home,
    user_no    INTEGER NOT NULL REFERENCES app_user,
    is_admin   INTEGER NOT NULL,
    name       TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (home_id, user_no)
) WITHOUT ROWID;
CREATE INDEX home_member_user ON home_member (user_no, home_id);

-- Tokens that devices redeem. A used one stays for a while, for who asks what came of it.
CREATE TABLE pairing (
    token_hash  BLOB PRIMARY KEY,
    secret_hash BLOB NOT NULL,
    project_no  INTEGER NOT NULL REFERENCES project,
    user_no     INTEGER NOT NULL REFERENCES app_user,
    home_id     INTEGER NOT NULL REFERENCES home,
    expires_ms  INTEGER NOT NULL,
    device_no   INTEGER REFERENCES device    -- the one that redeemed it
) WITHOUT ROWID;
CREATE INDEX pairing_user ON pairing (user_no, expires_ms);
CREATE INDEX pairing_home ON pairing (home_id);

-- Devices that tried to redeem one and may not be bound.
CREATE TABLE pairing_failure (
    token_hash BLOB NOT NULL REFERENCES pairing,
    device_no  INTEGER NOT NULL REFERENCES device,
    PRIMARY KEY (token_hash, device_no)
) WITHOUT ROWID;

-- Who owned a device last, also when nobody does now; 0 for one who is not known. Somebody else finds it as after
-- a reset.
ALTER TABLE device ADD COLUMN last_owner_no INTEGER;
UPDATE device SET last_owner_no =
    (SELECT b.user_no FROM binding b WHERE b.device_no = device.device_no AND b.owned = 1);
UPDATE device SET last_owner_no = 0 WHERE last_owner_no IS NULL AND (removed = 1 OR active_ms > 0);
