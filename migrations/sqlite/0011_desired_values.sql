-- Values that a device should take, in columns. Before, each was a text in device_fact under kind 3: the time until which
-- it matters, 1 or 0 for whether the device is told, and the value, with spaces between.
CREATE TABLE desired_value (
    device_no INTEGER NOT NULL REFERENCES device,
    code      TEXT NOT NULL,
    -- JSON.
    value     TEXT NOT NULL,
    until_ms  INTEGER NOT NULL,
    is_told   INTEGER NOT NULL,
    version   INTEGER NOT NULL,
    PRIMARY KEY (device_no, code)
) WITHOUT ROWID;

INSERT INTO desired_value (device_no, code, value, until_ms, is_told, version)
    SELECT device_no, key, substr(text, instr(text, ' ') + 3), CAST(substr(text, 1, instr(text, ' ') - 1) AS INTEGER),
    substr(text, instr(text, ' ') + 1, 1) = '1', version FROM device_fact WHERE kind = 3 AND text GLOB '*[0-9] [01] ?*';
DELETE FROM device_fact WHERE kind = 3;
