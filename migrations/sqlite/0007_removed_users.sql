-- Devices that nobody owns and whose last owner was removed: nobody can come back for what that owner left, so nobody else
-- is to see it. Their history ends with this migration.
CREATE TEMP TABLE given_up AS SELECT device_no FROM device d
    WHERE last_owner_no IS NOT NULL AND NOT EXISTS (SELECT 1 FROM app_user u WHERE u.user_no = d.last_owner_no)
    AND NOT EXISTS (SELECT 1 FROM binding b WHERE b.device_no = d.device_no AND b.owned = 1) AND d.last_owner_no > 0;
DELETE FROM function_name WHERE device_no IN (SELECT device_no FROM given_up);
DELETE FROM device_user WHERE device_no IN (SELECT device_no FROM given_up);
DELETE FROM device_fact WHERE kind <> 2 AND device_no IN (SELECT device_no FROM given_up);
UPDATE device SET name = (SELECT name FROM product p WHERE p.product_no = device.product_no), lat = NULL, lon = NULL,
    ip = '', time_zone = '+00:00', node_id = NULL,
    history_from_ms = max(history_from_ms, CAST(strftime('%s', 'now') AS INTEGER) * 1000)
    WHERE device_no IN (SELECT device_no FROM given_up);
DROP TABLE given_up;
