-- The registry: facts that change slowly. Times are milliseconds since 1970. Columns named *_sealed are encrypted
-- with the key beside the data, those named *_hash cannot be turned back.

CREATE TABLE project (
    project_no          INTEGER PRIMARY KEY AUTOINCREMENT,
    name                TEXT NOT NULL UNIQUE,
    client_id           TEXT NOT NULL UNIQUE,
    secret_sealed       BLOB NOT NULL,
    legacy_sign         INTEGER NOT NULL,
    mask_private_fields INTEGER NOT NULL,
    admin_uid           TEXT NOT NULL,
    aliyun_project_id   TEXT NOT NULL UNIQUE,
    aliyun_app_key      TEXT NOT NULL UNIQUE,
    aliyun_app_secret_sealed BLOB NOT NULL
);

-- One pair a project at most: granting and refreshing replace it. The seed makes the token again, together with
-- the key beside the data, so that a living token can be handed out twice.
CREATE TABLE token (
    project_no   INTEGER PRIMARY KEY REFERENCES project,
    seed         BLOB NOT NULL,
    access_hash  BLOB NOT NULL UNIQUE,
    refresh_hash BLOB NOT NULL UNIQUE,
    expires_ms   INTEGER NOT NULL
);

CREATE TABLE app (
    app_no        INTEGER PRIMARY KEY AUTOINCREMENT,
    project_no    INTEGER NOT NULL REFERENCES project,
    schema        TEXT NOT NULL,
    app_key       TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    country_codes TEXT NOT NULL,            -- separated by commas; none means every one
    UNIQUE (project_no, schema)
);

CREATE TABLE app_user (
    user_no       INTEGER PRIMARY KEY AUTOINCREMENT,
    project_no    INTEGER NOT NULL REFERENCES project,
    app_no        INTEGER NOT NULL REFERENCES app,
    uid           TEXT NOT NULL UNIQUE,
    username      TEXT NOT NULL,
    username_type INTEGER NOT NULL,
    country_code  TEXT NOT NULL,
    password_hash TEXT,
    nick_name     TEXT NOT NULL,
    avatar        TEXT NOT NULL,
    gender        TEXT,
    time_zone_id  TEXT,
    identity_id   TEXT NOT NULL UNIQUE,
    open_id       TEXT NOT NULL,
    created_ms    INTEGER NOT NULL,
    updated_ms    INTEGER NOT NULL,
    UNIQUE (app_no, username),
    UNIQUE (app_no, open_id)
);
CREATE INDEX app_user_created ON app_user (app_no, created_ms, user_no);

CREATE TABLE home (
    home_id    INTEGER PRIMARY KEY,
    project_no INTEGER NOT NULL REFERENCES project,
    owner_no   INTEGER NOT NULL REFERENCES app_user,
    name       TEXT NOT NULL
);
CREATE INDEX home_owner ON home (owner_no);

CREATE TABLE product (
    product_no            INTEGER PRIMARY KEY AUTOINCREMENT,
    project_no            INTEGER NOT NULL REFERENCES project,
    product_id            TEXT NOT NULL UNIQUE,
    product_key           TEXT NOT NULL UNIQUE,
    product_secret_sealed BLOB NOT NULL,
    name                  TEXT NOT NULL,
    category              TEXT NOT NULL,
    model                 TEXT,
    icon                  TEXT NOT NULL,
    net_type              TEXT NOT NULL,
    node_type             TEXT NOT NULL,
    biz_type              INTEGER NOT NULL,
    functions             TEXT NOT NULL     -- JSON
);

CREATE TABLE device (
    device_no       INTEGER PRIMARY KEY AUTOINCREMENT,
    product_no      INTEGER NOT NULL REFERENCES product,
    project_no      INTEGER NOT NULL REFERENCES project,
    device_id       TEXT NOT NULL UNIQUE,
    secret_sealed   BLOB NOT NULL,
    local_key_sealed BLOB NOT NULL,
    uuid            TEXT NOT NULL,
    iot_id          TEXT NOT NULL UNIQUE,
    device_name     TEXT NOT NULL,
    sn              TEXT,
    mac             TEXT,
    name            TEXT NOT NULL,
    ip              TEXT NOT NULL,
    lat             TEXT,
    lon             TEXT,
    time_zone       TEXT NOT NULL,
    gateway_no      INTEGER REFERENCES device,
    node_id         TEXT,
    home_id         INTEGER REFERENCES home,
    is_virtual      INTEGER NOT NULL,
    removed         INTEGER NOT NULL,       -- belongs to nobody until it is bound again
    created_ms      INTEGER NOT NULL,
    active_ms       INTEGER NOT NULL,
    updated_ms      INTEGER NOT NULL,
    history_from_ms INTEGER NOT NULL,
    UNIQUE (product_no, device_name)
);
CREATE INDEX device_project ON device (project_no, created_ms, device_id) WHERE removed = 0;
CREATE INDEX device_product ON device (product_no, created_ms, device_id) WHERE removed = 0;
CREATE INDEX device_gateway ON device (gateway_no) WHERE gateway_no IS NOT NULL;
CREATE INDEX device_home ON device (home_id) WHERE home_id IS NOT NULL;
CREATE INDEX device_virtual ON device (device_no) WHERE is_virtual = 1;

CREATE TABLE binding (
    device_no  INTEGER NOT NULL REFERENCES device,
    user_no    INTEGER NOT NULL REFERENCES app_user,
    project_no INTEGER NOT NULL REFERENCES project,  -- the user's, which then sees the device
    app_no     INTEGER NOT NULL REFERENCES app,
    owned      INTEGER NOT NULL,            -- 1 owner, 0 sharee
    is_foreign INTEGER NOT NULL,            -- whether the device's product is another project's
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (device_no, user_no)
) WITHOUT ROWID;
CREATE UNIQUE INDEX binding_owner ON binding (device_no) WHERE owned = 1;
CREATE INDEX binding_user ON binding (user_no, owned, device_no);
CREATE INDEX binding_foreign ON binding (project_no, device_no) WHERE is_foreign = 1;
CREATE INDEX binding_app ON binding (app_no, device_no);

CREATE TABLE function_name (
    device_no INTEGER NOT NULL REFERENCES device,
    code      TEXT NOT NULL,
    name      TEXT NOT NULL,
    PRIMARY KEY (device_no, code)
) WITHOUT ROWID;

CREATE TABLE device_user (
    device_no   INTEGER NOT NULL REFERENCES device,
    user_id     TEXT NOT NULL,
    ordinal     INTEGER NOT NULL,
    nick_name   TEXT NOT NULL,
    sex         INTEGER NOT NULL,
    birthday_ms INTEGER,
    height_cm   INTEGER,
    weight_g    INTEGER,
    contact     TEXT,
    PRIMARY KEY (device_no, user_id)
) WITHOUT ROWID;
