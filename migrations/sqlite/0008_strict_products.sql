-- Whether a report with a value off the product's specification is refused as a whole.
ALTER TABLE product ADD COLUMN strict INTEGER NOT NULL DEFAULT 0;
