-- The hashes of a password, in two columns. Before, password_hash held one or two hashes with a space between: of the
-- password's MD5 digits (or of the password as a client sent it, from versions before migration 4), and of its SHA-256 digits.
ALTER TABLE app_user RENAME COLUMN password_hash TO password_md5_hash;
ALTER TABLE app_user ADD COLUMN password_sha256_hash TEXT;

-- The expressions on the right see the row as it was.
UPDATE app_user SET
    password_md5_hash = nullif(substr(password_md5_hash, 1, instr(password_md5_hash, ' ') - 1), ''),
    password_sha256_hash = nullif(substr(password_md5_hash, instr(password_md5_hash, ' ') + 1), '')
    WHERE instr(password_md5_hash, ' ') > 0;
