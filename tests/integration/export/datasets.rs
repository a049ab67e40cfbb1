//! Every dataset, by every strategy, with any choice of columns, has the bytes of psql; and so does a dataset that only these
//! tests declare.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use cmms_export::datasets;
use cmms_export::db::Database;
use cmms_export::export::cancellation::Cancellation;
use cmms_export::export::dataset::{Dataset, Declaration, Filter, Selection, load_all};
use cmms_export::export::{self, Export, Observer, Plan, Sink, Strategy};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
use proptest::strategy::Strategy as _;
use serde_json::{Value, json};

use crate::support::client::{Download, download_of};
use crate::support::program::export;
use crate::support::{Server, TestDatabase, data, oracle};

/// A dataset as the oracle has it: its tables, its key, and its columns, each by name, header and SQL.
pub(crate) struct Expected {
    pub(crate) name: &'static str,
    tables: &'static str,
    key: &'static str,
    pub(crate) columns: &'static [[&'static str; 3]],
    /// How many columns an export has that names none.
    default: usize,
    /// A filter, as a parameter and in SQL.
    filters: &'static [(&'static str, &'static str, &'static str)],
}

pub(crate) const DATASETS: [Expected; 4] = [
    Expected {
        name: "tasks",
        tables:
            "tasks t join assets a on a.id = t.asset_id join locations l on l.id = a.location_id
                 join users c on c.id = t.created_by_id left join users e on e.id = t.updated_by_id",
        key: "t.id",
        columns: &[
            ["id", "ID", "t.id"],
            ["title", "Title", "t.title"],
            ["asset", "Asset", "a.name"],
            ["asset_location", "Asset Location", "l.name"],
            [
                "done",
                "Done",
                "case t.done when true then 'Done' else 'Not Done' end",
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
            ("location_id", "3", "l.id = 3"),
            ("updated_by_id", "none", "t.updated_by_id is null"),
        ],
    },
    Expected {
        name: "assets",
        tables: "assets a join locations l on l.id = a.location_id",
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
            ("location_id", "3", "l.id = 3"),
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
    fn csv(&self, database: &TestDatabase, columns: &[usize], condition: &str) -> Vec<u8> {
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
    pub(crate) fn values(&self, database: &TestDatabase) -> Vec<Vec<Value>> {
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

    pub(crate) fn names(&self, columns: &[usize]) -> String {
        let names = columns.iter().map(|column| self.columns[*column][0]);
        names.collect::<Vec<_>>().join(",")
    }
}

#[test]
fn the_datasets_are_these_with_these_columns() {
    let names: Vec<&str> = datasets::all().map(Dataset::name).collect();
    assert_eq!(names, DATASETS.map(|expected| expected.name));
    for expected in &DATASETS {
        let dataset = datasets::find(expected.name).expect("declared");
        let columns: Vec<[&str; 2]> = dataset
            .columns()
            .iter()
            .map(|column| [column.name(), column.header()])
            .collect();
        let known: Vec<[&str; 2]> = expected
            .columns
            .iter()
            .map(|[name, header, _]| [*name, *header])
            .collect();
        assert_eq!(columns, known);
        let defaults = Selection::default_of(dataset);
        let known: Vec<&str> = known[..expected.default]
            .iter()
            .map(|[name, _]| *name)
            .collect();
        assert_eq!(defaults.names().collect::<Vec<_>>(), known);
    }
}

#[test]
fn every_dataset_is_exported_alike_by_every_strategy_with_its_filters() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    for expected in &DATASETS {
        let defaults: Vec<usize> = (0..expected.default).collect();
        for (name, value, condition) in expected.filters {
            let csv = expected.csv(&database, &defaults, condition);
            for strategy in Strategy::all() {
                let query = form_urlencoded::Serializer::new(String::new())
                    .append_pair(name, value)
                    .append_pair("strategy", strategy.name())
                    .finish();
                let got = download_of(&server.address, expected.name, &query);
                assert!(got == csv, "{} {query}", expected.name);
            }
        }
        for strategy in Strategy::all() {
            let csv = expected.csv(&database, &defaults, "true");
            let flags = [
                expected.name.to_owned(),
                format!("--strategy={}", strategy.name()),
            ];
            assert!(
                export(&database.url, &flags) == csv,
                "{} {strategy:?}",
                expected.name
            );
        }
    }
}

#[test]
fn any_columns_in_any_order_come_out_as_psql_has_them() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    let choices = (0..DATASETS.len()).prop_flat_map(|dataset| {
        let columns: Vec<usize> = (0..DATASETS[dataset].columns.len()).collect();
        let count = columns.len();
        let chosen = proptest::sample::subsequence(columns, 1..=count).prop_shuffle();
        (proptest::strategy::Just(dataset), chosen)
    });
    let config = ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |((dataset, columns) in choices)| {
        let expected = &DATASETS[dataset];
        let csv = expected.csv(&database, &columns, "true");
        for strategy in Strategy::all() {
            let query = format!("strategy={}&columns={}", strategy.name(), expected.names(&columns));
            let got = download_of(&server.address, expected.name, &query);
            prop_assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&csv), "{} {}", expected.name, query);
        }
    });
}

#[test]
fn a_line_of_one_column_is_as_psql_has_it() {
    let database = TestDatabase::with(
        r"insert into locations values (1, '\.'), (2, ''), (3, '\.x'), (4, ' '); insert into users values (1, '\.');
          insert into assets values (1, '\.', '\.', 1), (2, 'b', '', 2);
          insert into tasks values (1, '\.', '\.', true, 1, 1, null), (2, '', '', false, 2, 1, 1)",
    );
    for expected in &DATASETS {
        for (column, [name, ..]) in expected.columns.iter().enumerate() {
            let csv = expected.csv(&database, &[column], "true");
            for strategy in Strategy::all() {
                let flags = [
                    expected.name.to_owned(),
                    format!("--columns={name}"),
                    format!("--strategy={}", strategy.name()),
                ];
                let got = export(&database.url, &flags);
                assert_eq!(
                    String::from_utf8_lossy(&got),
                    String::from_utf8_lossy(&csv),
                    "{} {name} {strategy:?}",
                    expected.name
                );
            }
        }
    }
}

#[test]
fn a_preview_has_the_columns_that_are_chosen_and_the_manifest_names_them() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    let preview = Download::start(
        &server.address,
        "/api/assets?columns=location,id&name=plain",
    )
    .json();
    assert_eq!(preview["count"], 1);
    let row = preview["rows"][0].as_object().expect("an object");
    assert_eq!(row.keys().collect::<Vec<_>>(), ["ID", "Location"]);
    download_of(
        &server.address,
        "assets",
        "columns=location,id&location_id=3&export_id=a",
    );
    let manifest = Download::start(&server.address, "/api/exports/a").json();
    assert_eq!(manifest["dataset"], "assets");
    assert_eq!(manifest["columns"], json!(["location", "id"]));
    assert_eq!(manifest["filter"], json!({"location_id": 3}));
    assert_ne!(manifest["sha256"], Value::Null);
}

/// A dataset of a table of its own: documents, each of which refers to another one, or to none.
mod documents {
    use diesel::query_source::Alias;

    use super::*;

    diesel::table! {
        documents (number) {
            number -> Int8,
            name -> Text,
            note -> Nullable<Text>,
            is_old -> Bool,
            parent -> Nullable<Int8>,
        }
    }

    diesel::alias! {
        const PARENTS: Alias<Parents> = documents as parents;
    }

    #[derive(Queryable, Selectable)]
    struct Document {
        number: i64,
        name: String,
        note: Option<String>,
        is_old: bool,
        parent: Option<i64>,
    }

    #[diesel::dsl::auto_type]
    fn joined() -> _ {
        let parents: Alias<Parents> = PARENTS;
        documents::table.left_join(
            parents.on(documents::parent.eq(parents.field(documents::number).nullable())),
        )
    }

    /// Declares it.
    pub(crate) fn declare() -> &'static dyn Dataset {
        let mut dataset = Declaration::new(
            ["documents", "document"],
            documents::number,
            || joined().into_boxed(),
            || documents::table.into_boxed(),
            |query, connection| {
                let parent = PARENTS.field(documents::name).nullable();
                let columns = (Document::as_select(), parent);
                load_all::<(Document, Option<String>), _>(query.select(columns), connection)
            },
        );
        let parent = dataset.refers(documents::parent, documents::number, || {
            documents::table.into_boxed()
        });
        let parents_name = PARENTS.field(documents::name).nullable();
        dataset.column("note", "A \"note\"", documents::note, |row| {
            row.0.note.as_ref().into()
        });
        dataset.column("number", "No.", documents::number, |row| {
            row.0.number.into()
        });
        dataset.label_column("age", "Age", documents::is_old, ["old", "new"], |row| {
            if row.0.is_old { "old" } else { "new" }.into()
        });
        dataset.referenced_column(
            &parent,
            "parent",
            "Parent",
            parents_name,
            documents::name,
            |row| row.1.as_ref().into(),
        );
        dataset.column("name", "Name", documents::name, |row| (&row.0.name).into());
        dataset.column("parent_number", "Parent's No.", documents::parent, |row| {
            row.0.parent.into()
        });
        dataset.boolean_filter("old", "Only old ones, or only new ones", |old| {
            documents::is_old.eq(old)
        });
        Box::leak(Box::new(dataset))
    }
}

/// How it was made in fact.
struct Ran(RefCell<Option<Plan>>);

impl Observer for Ran {
    fn plan(&self, plan: &Plan) {
        self.0.replace(Some(plan.clone()));
    }
}

/// Keeps all.
struct Kept(Vec<u8>);

impl Sink for Kept {
    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        self.0.extend_from_slice(&chunk);
        Ok(())
    }
}

#[test]
fn a_dataset_of_another_table_is_exported_by_every_strategy() {
    let database = TestDatabase::new();
    database
        .connect()
        .batch_execute(
            "create table documents (number bigint primary key, name text not null, note text, is_old boolean not null, parent bigint);
             insert into documents select n, 'Document, ' || n, case n % 3 when 0 then null when 1 then '' else E'a\\n\\\\b\\t\"' end, n % 2 = 0,
                 case when n > 5 then n / 2 end from generate_series(-3000, 30000) n;
             create index on documents (number) include (note, is_old, parent, name)",
        )
        .expect("the SQL runs");
    database
        .connect()
        .batch_execute("vacuum analyze documents")
        .expect("the SQL runs");
    let dataset = documents::declare();
    let client = Database::new(&database.url, 8, Duration::from_secs(5));
    for (old, condition) in [(None, "true"), (Some("true"), "d.is_old")] {
        let sql = format!(
            "copy (select d.note as \"A \"\"note\"\"\", d.number as \"No.\", case when d.is_old then 'old' else 'new' end as \"Age\",
                 p.name as \"Parent\", d.name as \"Name\", d.parent as \"Parent's No.\"
             from documents d left join documents p on p.number = d.parent where {condition} order by d.number)
             to stdout with (format csv, header)"
        );
        let csv = oracle::psql(&database, &sql);
        let mut filter = Filter::all(dataset);
        if let Some(old) = old {
            let field = &dataset.filters()[0];
            filter.set(field, field.parse(old).expect("a boolean"));
        }
        for &strategy in Strategy::all() {
            let export = Export {
                strategy,
                filter: filter.clone(),
                ..Export::of(dataset)
            };
            let mut kept = Kept(Vec::new());
            let ran = Ran(RefCell::default());
            let summary = export::run(&export, &client, &Cancellation::default(), &ran, &mut kept);
            assert_eq!(
                summary.expect("whole").bytes,
                csv.len() as u64,
                "{strategy:?}"
            );
            assert!(kept.0 == csv, "{strategy:?}");
            let plan = ran.0.into_inner().expect("planned");
            // Of half of the rows there are more names than rows, which leaves `lookup` to `copy`.
            assert!(plan.strategy == strategy || old.is_some(), "{plan:?}");
        }
    }
}
