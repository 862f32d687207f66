-- What the files of a data folder know each other by: one row. Its id is in the event log's files too, so that files of
-- two folders, or of two times, are not used together.
CREATE TABLE folder (
    only      INTEGER PRIMARY KEY CHECK (only = 1),
    id        INTEGER NOT NULL,
    key_check BLOB NOT NULL,               -- a known text, encrypted with secret.key: another key does not open it
    commits   INTEGER NOT NULL             -- how many times the registry was written to
);
