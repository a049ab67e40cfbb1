//! The rows that an export must have, by psql: in the order of their keys, but rows of equal keys in any order.

use crate::TestDatabase;
use crate::datasets::{DATASETS, Expected};
use crate::in_process::Choice;
use crate::oracle::psql_at;

/// The rows that an export must have. A text in them has no line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedRows {
    header: String,
    /// The lines, each with its row's key, which is empty for NULL.
    lines: Vec<(String, String)>,
}

fn expected(dataset: &str) -> &'static Expected {
    let mut known = DATASETS.iter();
    known.find(|known| known.name == dataset).expect("known")
}

impl ExpectedRows {
    /// The rows that psql writes for the role of the URL.
    pub fn of(database: &TestDatabase, url: &str, choice: &Choice) -> Self {
        let dataset = expected(choice.dataset);
        let columns: Vec<&[&str; 3]> = match choice.columns {
            None => dataset.columns.iter().take(dataset.default).collect(),
            Some(names) => names
                .split(',')
                .map(|name| {
                    let mut columns = dataset.columns.iter();
                    columns.find(|column| column[0] == name).expect("known")
                })
                .collect(),
        };
        let select = columns
            .iter()
            .map(|[_, header, sql]| format!("{sql} as \"{header}\""));
        let sql = format!(
            "copy (select {key} as key, {} from {} where {} order by {key}) to stdout with (format csv, header)",
            select.collect::<Vec<_>>().join(", "),
            dataset.tables,
            choice.condition(),
            key = dataset.key,
        );
        let csv = psql_at(&database.bin_dir(), url, &sql);
        let csv = String::from_utf8(csv).expect("UTF-8");
        let mut lines = csv.lines().map(|line| {
            let (key, line) = line.split_once(',').expect("the key comes first");
            (key.to_owned(), line.to_owned())
        });
        let (_, header) = lines.next().expect("a header");
        Self {
            header,
            lines: lines.collect(),
        }
    }

    /// The number of rows.
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// How a CSV differs from these rows; `None` if it does not.
    pub fn difference(&self, csv: &[u8]) -> Option<String> {
        let csv = String::from_utf8_lossy(csv);
        let Some(csv) = csv.strip_suffix('\n') else {
            return Some("its last line has no end".into());
        };
        let mut lines = csv.split('\n');
        let header = lines.next().unwrap_or_default();
        if header != self.header {
            return Some(format!("the header is {header}"));
        }
        let lines: Vec<&str> = lines.collect();
        if lines.len() != self.lines.len() {
            return Some(format!(
                "{} rows instead of {}",
                lines.len(),
                self.lines.len()
            ));
        }
        let mut from = 0;
        for same_key in self.lines.chunk_by(|one, other| one.0 == other.0) {
            let mut got = lines[from..from + same_key.len()].to_vec();
            from += same_key.len();
            let mut right: Vec<&str> = same_key.iter().map(|(_, line)| line.as_str()).collect();
            got.sort_unstable();
            right.sort_unstable();
            if let Some(at) = (0..right.len()).find(|at| got[*at] != right[*at]) {
                return Some(format!(
                    "of the rows with the key `{}`, `{}` instead of `{}`",
                    same_key[0].0, got[at], right[at]
                ));
            }
        }
        None
    }

    /// The columns of `src/schema.rs` that are NULL in some of the rows, own or referred to, although they must not be.
    pub fn unexpected_nulls(database: &TestDatabase, url: &str, choice: &Choice) -> Vec<String> {
        let tables: &[(&str, &str)] = match choice.dataset {
            "tasks" => &[
                ("tasks", "t"),
                ("assets", "a"),
                ("locations", "l"),
                ("users", "c"),
                ("users", "e"),
            ],
            "assets" => &[("assets", "a"), ("locations", "l")],
            own => &[(own, own)],
        };
        let mut cases = Vec::new();
        for (place, (table, alias)) in tables.iter().enumerate() {
            // A row that is referred to is there if its id is.
            let is_there = if place == 0 {
                "true".to_owned()
            } else {
                format!("{alias}.id is not null")
            };
            for column in not_null_columns(table) {
                cases.push(format!(
                    "('{table}.{column}', {is_there} and {alias}.{column} is null)"
                ));
            }
        }
        let sql = format!(
            "select distinct nulls.name from {}, lateral (values {}) as nulls (name, is_null) where is_null and {}",
            expected(choice.dataset).tables,
            cases.join(", "),
            choice.condition()
        );
        let names = psql_at(&database.bin_dir(), url, &sql);
        let names = String::from_utf8(names).expect("UTF-8");
        names.lines().map(str::to_owned).collect()
    }
}

/// The columns that `src/schema.rs` declares NOT NULL.
fn not_null_columns(table: &str) -> Vec<&'static str> {
    use cmms_export::schema;
    use diesel::sql_types::SqlType;

    fn name<C: diesel::Column<SqlType: SqlType>>(_: C) -> Option<&'static str> {
        let is_null = std::any::type_name::<<C::SqlType as SqlType>::IsNull>();
        is_null.ends_with("NotNull").then_some(C::NAME)
    }
    macro_rules! names {
        ($table:ident: $($column:ident),+) => {
            [$(name(schema::$table::$column)),+].into_iter().flatten().collect()
        };
    }
    match table {
        "tasks" => {
            names!(tasks: id, title, description, done, asset_id, created_by_id, updated_by_id)
        }
        "assets" => names!(assets: id, name, description, location_id),
        "locations" => names!(locations: id, name),
        _ => names!(users: id, username),
    }
}
