//! The schema in the database: its conventions, and that the migrations go both ways.

use cmms_export::database::tables::{SchemaState, schema_state};
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_export::db::Database;

use crate::support::TestDatabase;
use crate::support::program::program;

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

fn names(database: &TestDatabase, sql: &str) -> Vec<String> {
    let rows: Vec<Name> = diesel::sql_query(sql)
        .load(&mut database.connect())
        .expect("the SQL runs");
    rows.into_iter().map(|row| row.name).collect()
}

const NOTHING: [String; 0] = [];

#[test]
fn every_foreign_key_restricts() {
    let database = TestDatabase::new();
    let all = "select conname::text as name from pg_constraint where contype = 'f'";
    assert_eq!(names(&database, all).len(), 4);
    assert_eq!(
        names(&database, &format!("{all} and confdeltype <> 'r'")),
        NOTHING
    );
}

#[test]
fn every_foreign_key_has_an_index_that_starts_with_it() {
    let sql =
        "select conname::text as name from pg_constraint c where contype = 'f' and not exists (
        select from pg_index i where i.indrelid = c.conrelid and i.indkey[0] = c.conkey[1])";
    assert_eq!(names(&TestDatabase::new(), sql), NOTHING);
}

#[test]
fn every_table_and_every_column_has_a_comment() {
    let sql = "select format('%s.%s', c.relname, coalesce(a.attname, '')) as name
        from pg_class c left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
        where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname <> '__diesel_schema_migrations'
        and (obj_description(c.oid, 'pg_class') is null or col_description(c.oid, a.attnum) is null)";
    assert_eq!(names(&TestDatabase::new(), sql), NOTHING);
}

#[test]
fn ids_are_identities_and_only_the_last_editor_may_be_missing() {
    let database = TestDatabase::new();
    let columns =
        "select format('%s.%s', table_name, column_name) as name from information_schema.columns
        where table_schema = 'public' and table_name in ('locations', 'assets', 'users', 'tasks')";
    let identities = names(
        &database,
        &format!("{columns} and identity_generation = 'BY DEFAULT' order by 1"),
    );
    assert_eq!(
        identities,
        ["assets.id", "locations.id", "tasks.id", "users.id"]
    );
    assert_eq!(
        names(&database, &format!("{columns} and is_nullable = 'YES'")),
        ["tasks.updated_by_id"]
    );
}

#[test]
fn a_location_with_assets_cannot_be_deleted() {
    let database = TestDatabase::seeded(&["--tasks", "10"]);
    let error = diesel::sql_query("delete from locations").execute(&mut database.connect());
    // PostgreSQL 18 has a code of its own for RESTRICT, which Diesel does not know.
    let message = error.expect_err("refused").to_string();
    assert!(
        message.contains("foreign key constraint") && message.contains("assets"),
        "{message}"
    );
}

#[test]
fn migrate_says_what_it_does_and_then_that_there_is_nothing_to_do() {
    let database = TestDatabase::with(
        "drop table tasks, users, assets, locations, __diesel_schema_migrations",
    );
    let client = Database::new(&database.url, 1, std::time::Duration::from_secs(5));
    assert_eq!(
        schema_state(&client).expect("readable"),
        SchemaState::Missing
    );
    let migrate = || {
        let output = program(&database.url)
            .arg("migrate")
            .output()
            .expect("the program runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert!(migrate().starts_with("applied 2026"));
    assert_eq!(
        schema_state(&client).expect("readable"),
        SchemaState::Current
    );
    assert_eq!(migrate(), "nothing to do: the database is up to date\n");
}

#[test]
fn tables_that_something_else_manages_are_used_as_they_are() {
    let database = TestDatabase::with("drop table __diesel_schema_migrations");
    let client = Database::new(&database.url, 1, std::time::Duration::from_secs(5));
    assert!(matches!(
        schema_state(&client).expect("readable"),
        SchemaState::Pending(_)
    ));
    let output = program(&database.url)
        .arg("export")
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("older than this program") && said.contains("run `cmms-export migrate`"),
        "{said}"
    );
}

#[test]
fn without_tables_every_command_says_what_to_run() {
    let database = TestDatabase::with("drop table tasks, users, assets, locations");
    for command in ["export", "seed", "serve"] {
        let output = program(&database.url)
            .arg(command)
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(output.stdout, b"");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("run `cmms-export migrate`"),
            "{command}: {said}"
        );
    }
}
