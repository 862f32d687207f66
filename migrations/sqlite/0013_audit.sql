-- The audit: what an operation changed in one object, by whom and from where. It has no foreign keys, because it outlives the
-- objects.
CREATE TABLE IF NOT EXISTS audit (
    audit_no    INTEGER PRIMARY KEY AUTOINCREMENT,
    change_no   INTEGER NOT NULL,          -- the audit_no of the first row of the same operation
    time_ms     INTEGER NOT NULL,
    actor_kind  TEXT NOT NULL,
    actor       TEXT NOT NULL,
    origin      TEXT NOT NULL,
    call        TEXT NOT NULL,
    project     TEXT NOT NULL,             -- the name of the project; '' for none
    object_kind TEXT NOT NULL,
    object      TEXT NOT NULL,
    operation   TEXT NOT NULL,
    before      TEXT,                      -- JSON
    after       TEXT                       -- JSON
);

CREATE INDEX IF NOT EXISTS audit_project ON audit (project, audit_no);
