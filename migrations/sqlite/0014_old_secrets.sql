-- The secrets of a project before the last rotation, and until when they are still accepted; 0 if there are none.
ALTER TABLE project ADD COLUMN old_secret_sealed BLOB;
ALTER TABLE project ADD COLUMN old_app_secret_sealed BLOB;
ALTER TABLE project ADD COLUMN old_until_ms INTEGER NOT NULL DEFAULT 0;
