//! Databases with tables of other programs, or none that can be read.

use diesel::prelude::*;

use super::django::{DJANGO, foreign, relations, run};
use crate::support::TestDatabase;
use crate::support::cluster::{PASSWORD_VERIFIER, as_role};
use crate::support::program::{program, stderr};

#[test]
fn migrate_makes_no_tables_beside_those_of_others_unless_it_is_told_to() {
    for sql in [DJANGO, "create table invoices (id integer)"] {
        let database = foreign(sql);
        let before = relations(&database);
        let output = run(&database, &["migrate"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = stderr(&output);
        assert!(
            said.contains("nothing was changed") && said.contains("--yes"),
            "{said}"
        );
        assert_eq!(relations(&database), before);

        let output = run(&database, &["migrate", "--yes"]);
        assert!(output.status.success(), "{output:?}");
        assert!(relations(&database).contains(&"tasks".to_owned()));
        // Once they are there, there is nothing to confirm.
        assert!(run(&database, &["migrate"]).status.success());
    }
}

#[test]
fn an_export_from_the_wrong_database_says_what_is_in_it() {
    let database =
        foreign("create table invoices (id integer); create view paid as table invoices");
    let output = run(&database, &["export"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("invoices, paid"), "{said}");
    assert!(said.contains("is it the right one?"), "{said}");
    assert!(!said.contains("run `cmms-export migrate`"), "{said}");
    assert!(said.contains("from cmms_task;"), "{said}");
}

#[test]
fn an_extensions_tables_are_nobodys() {
    let database = foreign(
        "create table spatial_ref_sys (srid integer);
         create view geometry_columns as table spatial_ref_sys;
         alter extension plpgsql add table spatial_ref_sys; alter extension plpgsql add view geometry_columns",
    );
    let said = stderr(&run(&database, &["export"]));
    assert!(said.contains("run `cmms-export migrate`"), "{said}");
    assert!(run(&database, &["migrate"]).status.success());
    assert!(run(&database, &["export"]).status.success());
}

#[test]
fn tables_that_the_role_may_not_read_are_not_to_be_created() {
    let database = TestDatabase::new();
    let role = format!("stranger_{}", database.name());
    diesel::sql_query(format!(
        "create role {role} login password '{PASSWORD_VERIFIER}'"
    ))
    .execute(&mut database.connect())
    .expect("allowed");
    let output = program(&as_role(&database.url, &role))
        .arg("export")
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("grant it select"), "{said}");
    assert!(!said.contains("migrate"), "{said}");
}
