//! A dataset of another table, which only these tests declare: every strategy writes psql's bytes for it.

use std::sync::Arc;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_export::dataset::{Dataset, Declaration};
use diesel_export::parameters::filter_from_pairs;
use diesel_export::{Export, Strategy};

use crate::support::in_process::client;
use crate::support::strategies::every_strategy_writes;
use crate::support::{TestDatabase, oracle};

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
    pub(crate) fn declare() -> Arc<dyn Dataset> {
        let mut dataset = Declaration::new(
            ["documents", "document"],
            documents::number,
            || joined().into_boxed(),
            || documents::table.into_boxed(),
        )
        .with_models(|query, loader| {
            let parent = PARENTS.field(documents::name).nullable();
            let columns = (Document::as_select(), parent);
            loader.load::<(Document, Option<String>), _>(query.select((columns,)))
        });
        let parent = dataset.refers(documents::parent, documents::number, || {
            documents::table.into_boxed()
        });
        let parents_name = PARENTS.field(documents::name).nullable();
        dataset
            .column("note", "A \"note\"", documents::note)
            .cell(|row| row.0.note.as_ref().into());
        dataset
            .column("number", "No.", documents::number)
            .cell(|row| row.0.number.into());
        dataset
            .label_column("age", "Age", documents::is_old, ["old", "new"])
            .cell(|row| if row.0.is_old { "old" } else { "new" }.into());
        dataset
            .referenced_column(&parent, "parent", "Parent", parents_name, documents::name)
            .cell(|row| row.1.as_ref().into());
        dataset
            .column("name", "Name", documents::name)
            .cell(|row| (&row.0.name).into());
        dataset
            .column("parent_number", "Parent's No.", documents::parent)
            .cell(|row| row.0.parent.into());
        let name = PARENTS.field(documents::name).nullable();
        let note = PARENTS.field(documents::note).nullable();
        dataset
            .boolean_filter("old", "Only old ones, or only new ones", documents::is_old)
            .range_filter("number", "Only those with these numbers", documents::number)
            .text_filter(
                "parent",
                "Only those of such parents",
                parent.column(name, documents::name),
            )
            .one_of_filter(
                "parent_note",
                "Only those whose parents have this note",
                parent.column(note, documents::note),
                &["seen"],
            )
            .id_filter(
                "parent_number",
                "documents",
                "Only those of these parents",
                documents::parent,
            );
        dataset.finish().expect("it can work")
    }
}

/// Filters as a URL has them, and the same in SQL.
const FILTERS: &[(&[(&str, &str)], &str)] = &[
    (&[], "true"),
    (&[("old", "true")], "d.is_old"),
    (&[("number_from", "-5")], "d.number >= -5"),
    (
        &[("number_from", "-5"), ("number_to", "7")],
        "d.number between -5 and 7",
    ),
    (&[("parent", "MENT, 77")], "p.name ilike '%ment, 77%'"),
    (
        &[
            ("parent_is", "Document, 7"),
            ("parent_is", "Document, 7"),
            ("parent_is", "document, 8"),
        ],
        "p.name in ('Document, 7', 'document, 8')",
    ),
    (
        &[("parent_number", "7,9"), ("parent_number", "-3")],
        "d.parent in (7, 9, -3)",
    ),
    (
        &[("parent_number", "none,7")],
        "(d.parent = 7 or d.parent is null)",
    ),
    (&[("parent_number", "none")], "d.parent is null"),
    (&[("parent_note", "none")], "p.note is null"),
    (
        &[("parent_note", "seen,none")],
        "(p.note is null or p.note = 'seen')",
    ),
    (&[("parent_note", "seen")], "p.note = 'seen'"),
];

#[test]
fn a_dataset_of_another_table_is_exported_by_every_strategy() {
    let database = TestDatabase::new();
    database
        .connect()
        .batch_execute(
            "create table documents (number bigint primary key, name text not null, note text, is_old boolean not null, parent bigint);
             insert into documents select n, 'Document, ' || n, case n % 7 when 0 then null when 1 then '' when 2 then 'seen' else E'a\\n\\\\b\\t\"' end, n % 2 = 0,
                 case when n > 5 then n / 2 end from generate_series(-3000, 30000) n;
             create index on documents (number) include (note, is_old, parent, name)",
        )
        .expect("the SQL runs");
    database
        .connect()
        .batch_execute("vacuum analyze documents")
        .expect("the SQL runs");
    let dataset = documents::declare();
    let client = client(&database.url);
    for (filter, condition) in FILTERS {
        let sql = format!(
            "copy (select d.note as \"A \"\"note\"\"\", d.number as \"No.\", case when d.is_old then 'old' else 'new' end as \"Age\",
                 p.name as \"Parent\", d.name as \"Name\", d.parent as \"Parent's No.\"
             from documents d left join documents p on p.number = d.parent where {condition} order by d.number)
             to stdout with (format csv, header)"
        );
        let csv = oracle::psql(&database, &sql);
        let pairs = filter
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        let set = filter_from_pairs(&dataset, pairs).expect("they are understood");
        let export = Export {
            filter: set,
            ..Export::of(&dataset)
        };
        let plans = every_strategy_writes(&client, &export, &csv);
        if filter.is_empty() {
            let made: Vec<Strategy> = plans.iter().map(|plan| plan.strategy).collect();
            assert_eq!(made, Strategy::all());
        }
        // Rows that refer to nothing have NULL there, and what they refer to does not say which rows these are.
        let is_of_missing =
            |(name, value): &(&str, &str)| *name == "parent_note" && value.contains("none");
        if filter.iter().any(is_of_missing) {
            let because = plans.last().and_then(|plan| plan.because.as_deref());
            assert_eq!(
                because,
                Some("the filter also asks for rows that refer to nothing")
            );
        }
    }
}
