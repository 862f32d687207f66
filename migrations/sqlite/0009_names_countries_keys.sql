-- Calling codes as they are kept from now on: digits without a plus, zeros in front, or signs between. What was kept as
-- a code and is none becomes empty, which says that the country is not known.
UPDATE app_user SET country_code =
    ltrim(replace(replace(replace(trim(country_code), '+', ''), '-', ''), ' ', ''), '0')
    WHERE country_code GLOB '*[^0-9]*' OR country_code GLOB '0*';
UPDATE app_user SET country_code = '' WHERE country_code GLOB '*[^0-9]*' OR length(country_code) > 6
    OR (length(country_code) > 3 AND country_code NOT GLOB '1[2-9][0-9][0-9]' AND country_code NOT GLOB '441[456][0-9][0-9]');
-- An app's list had digits alone already, at most with zeros in front.
UPDATE app SET country_codes = ltrim(replace(replace(replace(',' || country_codes, ',0', ','), ',0', ','), ',0', ','), ',')
    WHERE country_codes GLOB '0*' OR country_codes GLOB '*,0*';

-- E-mail addresses are found whatever the case of their letters.
DROP INDEX app_user_name;
CREATE INDEX app_user_name ON app_user (username COLLATE NOCASE);

-- Whether the local key was given, and not generated here: behind a gateway a generated one is not shown, but the gateway's.
-- Of devices that are there nobody knows it any more, so they keep theirs.
ALTER TABLE device ADD COLUMN local_key_given INTEGER NOT NULL DEFAULT 1;
