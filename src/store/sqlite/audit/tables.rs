//! The tables that are audited, and the triggers that report their changes. The triggers exist in the writer's connection
//! only, like those of `touched.sql`, so that no write can be missed.

use std::fmt::Write as _;

/// What the audit says about a table.
pub struct AuditedTable {
    /// Its name.
    pub table: &'static str,
    /// The kind of object that a row is.
    pub kind: &'static str,
    /// The id of the object, as an SQL expression over `{row}`.
    id: &'static str,
    /// The name of the project, as an SQL expression over `{row}`.
    project: &'static str,
    /// The members that are compared.
    pub members: &'static [Member],
}

/// A member of an object.
pub struct Member {
    /// Its name in the audit.
    pub name: &'static str,
    /// The column.
    column: &'static str,
    /// The value, as an SQL expression over `{row}`; the column if it is empty.
    value: &'static str,
    /// Whether it is a secret, of which the audit says only that it changed.
    pub is_secret: bool,
}

const fn shown(column: &'static str) -> Member {
    Member { name: column, column, value: "", is_secret: false }
}

const fn referred(name: &'static str, column: &'static str, value: &'static str) -> Member {
    Member { name, column, value, is_secret: false }
}

const fn secret(name: &'static str, column: &'static str) -> Member {
    Member { name, column, value: "", is_secret: true }
}

const PROJECT: &str = "(SELECT name FROM project WHERE project_no = {row}.project_no)";
const PROJECT_OF_DEVICE: &str =
    "(SELECT p.name FROM project p JOIN device USING (project_no) WHERE device_no = {row}.device_no)";
const PROJECT_OF_HOME: &str =
    "(SELECT p.name FROM project p JOIN home USING (project_no) WHERE home_id = {row}.home_id)";
const OWNER: &str = "(SELECT uid FROM app_user WHERE user_no = {row}.owner_no)";

/// The audited tables. Those that are missing here hold what passes (logins, tokens, pairing tokens, topic filters of a
/// session) and are named in the test.
pub const TABLES: &[AuditedTable] = &[
    AuditedTable {
        table: "project",
        kind: "project",
        id: "{row}.name",
        project: "{row}.name",
        members: &[
            shown("name"),
            shown("client_id"),
            secret("secret", "secret_sealed"),
            shown("legacy_sign"),
            shown("mask_private_fields"),
            shown("admin_uid"),
            shown("aliyun_project_id"),
            shown("aliyun_app_key"),
            secret("aliyun_app_secret", "aliyun_app_secret_sealed"),
            secret("old_secret", "old_secret_sealed"),
            secret("old_aliyun_app_secret", "old_app_secret_sealed"),
            shown("old_until_ms"),
            shown("require_cloud_token"),
            shown("keep_cloud_tokens"),
        ],
    },
    AuditedTable {
        table: "app",
        kind: "app",
        id: "{row}.schema",
        project: PROJECT,
        members: &[shown("schema"), shown("app_key"), shown("name"), shown("country_codes")],
    },
    AuditedTable {
        table: "app_user",
        kind: "user",
        id: "{row}.uid",
        project: PROJECT,
        members: &[
            shown("uid"),
            shown("username"),
            shown("country_code"),
            shown("nick_name"),
            shown("avatar"),
            shown("gender"),
            shown("time_zone_id"),
            shown("identity_id"),
            shown("open_id"),
            shown("login_id"),
            shown("phone"),
            shown("email"),
            shown("disabled"),
        ],
    },
    AuditedTable {
        table: "product",
        kind: "product",
        id: "{row}.product_id",
        project: PROJECT,
        members: &[
            shown("product_id"),
            shown("product_key"),
            secret("product_secret", "product_secret_sealed"),
            shown("name"),
            shown("category"),
            shown("model"),
            shown("icon"),
            shown("net_type"),
            shown("node_type"),
            shown("biz_type"),
            shown("functions"),
            shown("registration"),
            shown("strict"),
        ],
    },
    AuditedTable {
        table: "device",
        kind: "device",
        id: "{row}.device_id",
        project: PROJECT,
        members: &[
            shown("device_id"),
            referred(
                "product_id",
                "product_no",
                "(SELECT product_id FROM product WHERE product_no = {row}.product_no)",
            ),
            secret("secret", "secret_sealed"),
            secret("local_key", "local_key_sealed"),
            shown("uuid"),
            shown("iot_id"),
            shown("device_name"),
            shown("sn"),
            shown("mac"),
            shown("name"),
            shown("ip"),
            shown("lat"),
            shown("lon"),
            shown("time_zone"),
            referred(
                "gateway",
                "gateway_no",
                "(SELECT g.device_id FROM device g WHERE g.device_no = {row}.gateway_no)",
            ),
            shown("node_id"),
            shown("home_id"),
            shown("is_virtual"),
            shown("removed"),
            shown("history_from_ms"),
            shown("disabled"),
        ],
    },
    AuditedTable {
        table: "binding",
        kind: "binding",
        id: "(SELECT device_id FROM device WHERE device_no = {row}.device_no) || '/' ||
             (SELECT uid FROM app_user WHERE user_no = {row}.user_no)",
        project: PROJECT,
        members: &[shown("owned")],
    },
    AuditedTable {
        table: "home",
        kind: "home",
        id: "CAST({row}.home_id AS TEXT)",
        project: PROJECT,
        members: &[
            shown("home_id"),
            referred("owner", "owner_no", OWNER),
            shown("name"),
            shown("geo_name"),
            shown("lat"),
            shown("lon"),
        ],
    },
    AuditedTable {
        table: "home_member",
        kind: "home_member",
        id: "{row}.home_id || '/' || (SELECT uid FROM app_user WHERE user_no = {row}.user_no)",
        project: PROJECT_OF_HOME,
        members: &[shown("is_admin"), shown("name")],
    },
    AuditedTable {
        table: "home_invitation",
        kind: "home_invitation",
        id: "{row}.home_id || '/' || (SELECT uid FROM app_user WHERE user_no = {row}.user_no)",
        project: PROJECT_OF_HOME,
        members: &[
            referred("invited_by", "by_no", "(SELECT uid FROM app_user WHERE user_no = {row}.by_no)"),
            shown("is_admin"),
            shown("name"),
        ],
    },
    AuditedTable {
        table: "function_name",
        kind: "function_name",
        id: "(SELECT device_id FROM device WHERE device_no = {row}.device_no) || '/' || {row}.code",
        project: PROJECT_OF_DEVICE,
        members: &[shown("name")],
    },
    AuditedTable {
        table: "device_user",
        kind: "device_user",
        id: "(SELECT device_id FROM device WHERE device_no = {row}.device_no) || '/' || {row}.user_id",
        project: PROJECT_OF_DEVICE,
        members: &[
            shown("nick_name"),
            shown("sex"),
            shown("birthday_ms"),
            shown("height_cm"),
            shown("weight_g"),
            shown("contact"),
        ],
    },
    AuditedTable {
        table: "device_fact",
        kind: "attribute",
        id: "(SELECT device_id FROM device WHERE device_no = {row}.device_no) || '/' || {row}.key",
        project: PROJECT_OF_DEVICE,
        members: &[shown("text")],
    },
    AuditedTable {
        table: "desired_value",
        kind: "desired_value",
        id: "(SELECT device_id FROM device WHERE device_no = {row}.device_no) || '/' || {row}.code",
        project: PROJECT_OF_DEVICE,
        members: &[shown("value")],
    },
    AuditedTable {
        table: "visual_key",
        kind: "visual_key",
        id: "{row}.kid",
        project: "NULL",
        members: &[shown("kid"), shown("retired_ms")],
    },
];

impl AuditedTable {
    /// The triggers of table number `index`. Each calls `audited(index, operation, project, id, old, new, ...)` with the old and
    /// the new value of every member.
    pub fn triggers(&self, index: usize) -> String {
        let mut sql = String::new();
        let columns: Vec<&str> = self.members.iter().map(|member| member.column).collect();
        let changes = format!("UPDATE OF {}", columns.join(", "));
        for (operation, event, row) in
            [("create", "INSERT", "NEW"), ("change", &changes, "NEW"), ("delete", "DELETE", "OLD")]
        {
            let table = self.table;
            let over = |expression: &str, row: &str| expression.replace("{row}", row);
            let _ = write!(sql, "CREATE TEMP TRIGGER audit_{table}_{operation} AFTER {event} ON {table} BEGIN ");
            let _ = write!(
                sql,
                "SELECT audited({index}, '{operation}', {}, {}",
                over(self.project, row),
                over(self.id, row)
            );
            for member in self.members {
                let value = |row: &str| match member.value {
                    "" => format!("{row}.{}", member.column),
                    value => over(value, row),
                };
                let old = if operation == "create" { "NULL".to_owned() } else { value("OLD") };
                let new = if operation == "delete" { "NULL".to_owned() } else { value("NEW") };
                let _ = write!(sql, ", {old}, {new}");
            }
            sql.push_str("); END;\n");
        }
        sql
    }
}
