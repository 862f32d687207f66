-- What connected devices need.

-- Which devices may ask for their secret with the product's: off, known or any.
ALTER TABLE product ADD COLUMN registration TEXT NOT NULL DEFAULT 'off';

-- Devices that were not described by an operator: the gateway that named them, or 0 when they registered themselves.
ALTER TABLE device ADD COLUMN made_by INTEGER;
CREATE INDEX device_made_by ON device (made_by, product_no) WHERE made_by IS NOT NULL;

-- What is kept of a device under a key. Kinds: 1 tag, 2 firmware version, 3 desired value, 4 shadow.
CREATE TABLE device_fact (
    device_no INTEGER NOT NULL REFERENCES device,
    kind      INTEGER NOT NULL,
    key       TEXT NOT NULL,
    text      TEXT NOT NULL,
    version   INTEGER NOT NULL,
    PRIMARY KEY (device_no, kind, key)
) WITHOUT ROWID;
