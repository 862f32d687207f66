-- What a device subscribed to in an MQTT session that is kept: by the device that connects, and the device that the filters
-- are of, which is the same or one behind it. A line each.
CREATE TABLE kept_filter (
    session_no INTEGER NOT NULL REFERENCES device (device_no),
    device_no  INTEGER NOT NULL REFERENCES device (device_no),
    filters    TEXT NOT NULL,
    PRIMARY KEY (session_no, device_no)
) WITHOUT ROWID;
