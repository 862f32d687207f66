-- What the Alibaba Living cloud API and the visual login need.

ALTER TABLE project ADD COLUMN require_cloud_token INTEGER NOT NULL DEFAULT 1;
ALTER TABLE project ADD COLUMN keep_cloud_tokens INTEGER NOT NULL DEFAULT 0;

-- The account's own number, which is its open_id too as long as no third party's account is linked.
ALTER TABLE app_user ADD COLUMN login_id TEXT NOT NULL DEFAULT '';
UPDATE app_user SET login_id = open_id;
ALTER TABLE app_user ADD COLUMN phone TEXT;
ALTER TABLE app_user ADD COLUMN email TEXT;
ALTER TABLE app_user ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE app_user ADD COLUMN last_login_ms INTEGER NOT NULL DEFAULT 0;
-- Grows with everything that ends what was granted before: another password, disablement.
ALTER TABLE app_user ADD COLUMN access_version INTEGER NOT NULL DEFAULT 0;
CREATE INDEX app_user_project ON app_user (project_no, created_ms, user_no);
CREATE INDEX app_user_name ON app_user (username);

ALTER TABLE device ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device ADD COLUMN access_version INTEGER NOT NULL DEFAULT 0;

-- Several a project: the current one, those just refreshed, and older ones where the project keeps them.
CREATE TABLE cloud_token (
    token_hash BLOB PRIMARY KEY,
    project_no INTEGER NOT NULL REFERENCES project,
    expires_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX cloud_token_project ON cloud_token (project_no, expires_ms);

-- The keys of visual tokens: the one without retired_ms signs, the others are published until their tokens are gone.
CREATE TABLE visual_key (
    key_no         INTEGER PRIMARY KEY AUTOINCREMENT,
    kid            TEXT NOT NULL UNIQUE,
    private_sealed BLOB NOT NULL,           -- PKCS#8, in hex digits before it is sealed
    public         BLOB NOT NULL,           -- the point on P-256, uncompressed
    created_ms     INTEGER NOT NULL,
    retired_ms     INTEGER
);
CREATE UNIQUE INDEX visual_key_current ON visual_key ((retired_ms IS NULL)) WHERE retired_ms IS NULL;
