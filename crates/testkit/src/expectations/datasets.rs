//! The datasets as the oracle has them.

use serde_json::Value;

use crate::{TestDatabase, oracle};

/// A dataset as the oracle has it: its tables, its key, and its columns, each by name, header and SQL.
pub struct Expected {
    /// Its name.
    pub name: &'static str,
    /// Its tables, as SQL joins them.
    pub tables: &'static str,
    /// The column that orders it.
    pub key: &'static str,
    /// Its columns.
    pub columns: &'static [[&'static str; 3]],
    /// How many columns an export has that names none.
    pub default: usize,
    /// A filter, as a parameter and in SQL.
    pub filters: &'static [(&'static str, &'static str, &'static str)],
}

/// What the datasets are expected to be.
pub const DATASETS: [Expected; 4] = [
    Expected {
        name: "tasks",
        tables:
            "tasks t left join assets a on a.id = t.asset_id left join locations l on l.id = a.location_id
                 left join users c on c.id = t.created_by_id left join users e on e.id = t.updated_by_id",
        key: "t.id",
        columns: &[
            ["id", "ID", "t.id"],
            ["title", "Title", "t.title"],
            ["asset", "Asset", "a.name"],
            ["asset_location", "Asset Location", "l.name"],
            [
                "done",
                "Done",
                "case when t.done then 'Done' when not t.done then 'Not Done' end",
            ],
            ["created_by", "Created By", "c.username"],
            ["updated_by", "Updated By", "e.username"],
            ["description", "Description", "t.description"],
            ["asset_id", "Asset ID", "t.asset_id"],
            ["asset_location_id", "Asset Location ID", "a.location_id"],
            ["created_by_id", "Created By ID", "t.created_by_id"],
            ["updated_by_id", "Updated By ID", "t.updated_by_id"],
        ],
        default: 7,
        filters: &[
            ("location_id", "3", "a.location_id = 3"),
            ("updated_by_id", "none", "t.updated_by_id is null"),
        ],
    },
    Expected {
        name: "assets",
        tables: "assets a left join locations l on l.id = a.location_id",
        key: "a.id",
        columns: &[
            ["id", "ID", "a.id"],
            ["name", "Name", "a.name"],
            ["location", "Location", "l.name"],
            ["description", "Description", "a.description"],
            ["location_id", "Location ID", "a.location_id"],
        ],
        default: 3,
        filters: &[
            ("location_id", "3", "a.location_id = 3"),
            ("name", "Ü", "position('ü' in lower(a.name)) > 0"),
        ],
    },
    Expected {
        name: "locations",
        tables: "locations",
        key: "id",
        columns: &[["id", "ID", "id"], ["name", "Name", "name"]],
        default: 2,
        filters: &[("name", "\\", "position('\\' in name) > 0")],
    },
    Expected {
        name: "users",
        tables: "users",
        key: "id",
        columns: &[["id", "ID", "id"], ["username", "Username", "username"]],
        default: 2,
        filters: &[("username", "_", "position('_' in username) > 0")],
    },
];

impl Expected {
    /// What psql prints of these columns, by their places.
    pub fn csv(&self, database: &TestDatabase, columns: &[usize], condition: &str) -> Vec<u8> {
        let select = columns.iter().map(|column| {
            let [_, header, sql] = self.columns[*column];
            format!("{sql} as \"{header}\"")
        });
        let select = select.collect::<Vec<_>>().join(", ");
        let sql = format!(
            "copy (select {select} from {} where {condition} order by {}) to stdout with (format csv, header)",
            self.tables, self.key
        );
        oracle::psql(database, &sql)
    }

    /// The values of all columns, by psql, as JSON.
    pub fn values(&self, database: &TestDatabase) -> Vec<Vec<Value>> {
        let select: Vec<&str> = self.columns.iter().map(|[_, _, sql]| *sql).collect();
        let sql = format!(
            "select json_build_array({}) from {} order by {}",
            select.join(", "),
            self.tables,
            self.key
        );
        let json = oracle::psql(database, &sql);
        let rows = serde_json::Deserializer::from_slice(&json).into_iter();
        rows.map(|row| row.expect("JSON")).collect()
    }

    /// The names of these columns, with commas between them.
    pub fn names(&self, columns: &[usize]) -> String {
        let names = columns.iter().map(|column| self.columns[*column][0]);
        names.collect::<Vec<_>>().join(",")
    }
}
