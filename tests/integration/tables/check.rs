//! `datasets check`, and the errors of a file: each with its place, the nearest right name, and what there is.

use diesel::connection::SimpleConnection;

use super::{filled, init, written};
use crate::support::{TestDatabase, program};

/// What `datasets check` says of a file; the file's directory is left out.
fn check(database: &TestDatabase, file: impl AsRef<[u8]>) -> (Option<i32>, String) {
    let (directory, path) = written(file);
    let mut command = program(&database.url);
    command.args(["datasets", "check", &path]);
    let output = command.output().expect("the program runs");
    let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
    let directory = format!("{}/", directory.path().display());
    (output.status.code(), said.replace(&directory, ""))
}

/// A file whose errors are after this.
const ORDERS: &str = r#"version = 1
[[dataset]]
name = "orders"
table = "shop.orders"
key = ["id"]
[[dataset.column]]
name = "id"
"#;

#[test]
fn what_init_writes_is_what_the_database_has() {
    let database = filled();
    let file = init::file(init::init(
        &database.url,
        &["--schema", "shop", "--schema", "other"],
    ));
    let said = "the database has what the file says: 11 datasets\n";
    assert_eq!(check(&database, &file), (Some(0), said.to_owned()));
}

#[test]
fn a_file_that_is_not_as_the_format_says_has_its_place_and_the_nearest_name() {
    let database = filled();
    let column = |rest: &str| format!("{ORDERS}[[dataset.column]]\n{rest}");
    for (file, said) in [
        ("", "1:1: missing field `version`"),
        (
            "version = 2",
            "1:11: the version is 2, and this program reads version 1",
        ),
        ("version = 1", "1:1: there is no [[dataset]]"),
        (
            "version = 1\n[[datsaet]]",
            "2:3: unknown field `datsaet`, expected `version` or `dataset`; did you mean `dataset`?",
        ),
        (
            &column("name = \"x\"\ncolunm = \"id\""),
            "10:1: unknown field `colunm`, expected one of `name`, `header`, `column`, `via`, `default`; did you mean `column`?",
        ),
        (
            &column("name = 7"),
            "9:8: invalid type: integer `7`, expected a string",
        ),
        (
            &column("name = \"x"),
            "9:10: invalid basic string, expected `\"`",
        ),
        (
            &format!("{ORDERS}[[dataset]]\nname = \"orders\"\ntable = \"shop.staff\""),
            "9:8: there is another dataset `orders`",
        ),
        (
            &column("name = \"n\"\nvia = \"customer_id\""),
            "10:7: invalid type: string \"customer_id\", expected a list of steps, such as [\"customer_id\"]",
        ),
        // A byte that is no UTF-8, from here on.
        (
            &format!("{ORDERS}# größ\u{FFFD}"),
            "8:7: the file is not in UTF-8",
        ),
    ] {
        let bytes = file.replace('\u{FFFD}', "\0").into_bytes();
        let bytes = bytes
            .into_iter()
            .map(|byte| if byte == 0 { 0xFF } else { byte });
        let (code, got) = check(&database, bytes.collect::<Vec<u8>>());
        assert_eq!(code, Some(1), "{file}");
        assert_eq!(got.trim_end(), format!("datasets.toml:{said}"), "{file}");
    }
}

#[test]
fn what_the_database_does_not_have_is_said_at_its_place_with_what_there_is() {
    let database = filled();
    // Indexes that compare in other ways than a join does, and a foreign key that partitions have from their table.
    let more = "create unique index on shop.customers (name text_pattern_ops); create unique index on shop.customers (name collate \"C\");
        alter table shop.events add customer_id bigint references shop.customers";
    let mut connection = database.connect();
    connection.batch_execute(more).expect("the SQL runs");
    let column = |rest: &str| format!("{ORDERS}[[dataset.column]]\n{rest}");
    let filter = |rest: &str| format!("{ORDERS}[[dataset.filter]]\n{rest}");
    let columns = "its columns are id, customer_id, order, placed_at, due, mood, is_paid, net, gross, facts, tags";
    for (file, said) in [
        (ORDERS.replace("shop.orders", "shop.order"), "4:9: there is no table or view shop.order: did you mean `shop.orders`? there are".to_owned()),
        (ORDERS.replace("shop.orders", "shop.or ders"), "4:9: `shop.or ders` is no name of a table: write schema.table, with double quotes around what has capitals or blanks".to_owned()),
        (ORDERS.replace("shop.orders", "shop.orders_id_seq"), "4:9: shop.orders_id_seq is neither a table nor a view".to_owned()),
        (ORDERS.replace("shop.orders", "shop.staff").replace("[\"id\"]", "[\"id\", \"desk\"]"), "5:14: the column `desk` is of the type point, whose values have no order".to_owned()),
        (ORDERS.replace("name = \"orders\"", "name = \"api\""), "3:8: the dataset `api`: this name stands for something else".to_owned()),
        (column("name = \"placed\"\ncolumn = \"placd_at\""), format!("10:10: shop.orders has no column `placd_at`: did you mean `placed_at`? {columns}")),
        (column("name = \"id\"\nheader = \"x\""), "9:8: there is another column `id`".to_owned()),
        (column("name = \"a,b\"\ncolumn = \"id\""), "9:8: the column `a,b` needs another name: not empty, without commas, and with neither a `-` nor a blank at its beginning".to_owned()),
        (column("name = \"due\"\nheader = \"id\""), "10:10: there is another column with the header `id`".to_owned()),
        (column("name = \"n\"\nvia = [\"customer_id\"]\ncolumn = \"nmae\""), "11:10: shop.customers has no column `nmae`: did you mean `name`? its columns are id, name, email, referrer_id".to_owned()),
        (column("name = \"n\"\nvia = [\"customer_id\"]\ncolumn = \"nmae\"").replace("shop.orders", "shop.events_2026"), "11:10: shop.customers has no column `nmae`".to_owned()),
        (column("name = \"n\"\nvia = [\"mood\"]"), "10:8: the column `mood` of shop.orders has no foreign key of its own: { columns = [\"mood\"], table = \"…\", key = [\"…\"] } says what it refers to".to_owned()),
        (column("name = \"n\"\nvia = { columns = [\"order\"], table = \"shop.customers\", key = [\"name\"] }"), "10:38: shop.customers may have several rows with the same name: no unique index says otherwise".to_owned()),
        (column("name = \"n\"\nvia = { columns = [], table = \"shop.customers\", key = [\"id\"] }"), "10:31: `columns` and `key` must name equally many columns, at least one".to_owned()),
        (column("name = \"n\"\nvia = { columns = [\"net\"], table = \"shop.customers\", key = [\"id\"] }"), "10:36: `net` is of the type numeric(12,2) and `id` of the type bigint: a step needs columns of the same type".to_owned()),
        (ORDERS.replace("[\"id\"]", "[\"id\", \"id\"]"), "5:14: the key has `id` twice".to_owned()),
        (column("name = \"due\"\nheader = \"\""), "10:10: a header has a text, without U+0000".to_owned()),
        (column("name = \"due\"\nheader = \"a\\u0000\""), "10:10: a header has a text, without U+0000".to_owned()),
        (ORDERS.replace("key = [\"id\"]", "label = \"name\""), "5:9: `label` is none of the dataset's columns: `name`".to_owned()),
        (filter("name = \"x\"\nkind = \"range\""), format!("9:8: shop.orders has no column `x`: {columns}")),
        (filter("name = \"due\"\nkind = \"contains\""), "9:8: its filter `due` looks for a part of a text in what is none".to_owned()),
        (filter("name = \"tags\"\nkind = \"contains\""), "9:8: its filter `tags` looks for a part of a text in what is none".to_owned()),
        (filter("name = \"order\"\nkind = \"contains\""), "9:8: the filter `order` is called as a parameter that every export has".to_owned()),
        (filter("name = \"due\"\nkind = \"one-of\""), "9:8: this kind of filter is for enums, and the column `due` is of the type date".to_owned()),
        (filter("name = \"due\"\nkind = \"boolean\""), "9:8: this kind of filter is for booleans, and the column `due` is of the type date".to_owned()),
        (filter("name = \"mood\"\nkind = \"range\""), "9:8: its filter `mood_from` is a range of values that are neither numbers nor times".to_owned()),
        (filter("name = \"n\"\ncolumn = \"id\"\nvia = { columns = [\"id\", \"id\"], table = \"shop.order_items\", key = [\"order_id\", \"position\"] }\nkind = \"id\"").replace("column = \"id\"\nvia", "column = \"quantity\"\nvia"), "9:8: no filter is of what several columns refer to together".to_owned()),
        (ORDERS.to_owned() + "default = false", "3:8: no column is in its exports by default".to_owned()),
    ] {
        let (code, got) = check(&database, &file);
        assert_eq!(code, Some(1), "{file}");
        assert!(got.starts_with(&format!("datasets.toml:{said}")), "{file}\n{got}");
        assert_eq!(got.lines().count(), 1, "{got}");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once_a_line_each() {
    let database = filled();
    let file = format!(
        "{ORDERS}[[dataset.column]]\nname = \"nett\"\n[[dataset]]\nname = \"stock\"\ntable = \"shop.stock\"\n"
    );
    let (code, said) = check(&database, &file);
    assert_eq!(code, Some(1));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(
        lines[0].starts_with(
            "datasets.toml:9:8: shop.orders has no column `nett`: did you mean `net`?"
        ),
        "{said}"
    );
    assert!(
        lines[1].starts_with("datasets.toml:12:9: there is no table or view shop.stock:"),
        "{said}"
    );
}

#[test]
fn a_dataset_that_the_file_has_not_and_a_missing_database_are_wrong_usage() {
    let database = filled();
    let (_directory, path) = written(ORDERS);
    let run = |url: &str, arguments: &[&str]| {
        let mut command = program(url);
        command.args(arguments).args(["--datasets", &path]);
        let output = command.output().expect("the program runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, said) = run(&database.url, &["export", "ordres"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains(
            "there is no dataset `ordres`: did you mean `orders`? the datasets are orders"
        ),
        "{said}"
    );
    for command in ["export", "serve"] {
        let (code, said) = run("", &[command]);
        assert_eq!(code, Some(2), "{said}");
        assert!(
            said.contains("--datasets (CMMS_DATASETS) without --database-url (DATABASE_URL)"),
            "{said}"
        );
    }
    let (code, said) = run(&database.url, &["export", "--datasets", "/nowhere.toml"]);
    assert_eq!(code, Some(2), "{said}");
}
