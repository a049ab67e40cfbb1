//! The oracle: PostgreSQL's own CSV, by psql, of queries that are written for the oracle alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::TestDatabase;

/// A filter, as a parameter of an export, and in the oracle's SQL.
pub struct Filter {
    /// The parameters of the URL and, with `--` before each, of the command line.
    pub parameters: &'static [(&'static str, &'static str)],
    /// The condition in SQL.
    pub sql: &'static str,
}

/// The export's rows, by psql.
pub fn copy(database: &TestDatabase, condition: &str, delimiter: char) -> Vec<u8> {
    copy_texts(database, condition, delimiter, |column| column.to_owned())
}

/// The same for people: a byte order mark, CRLF, and a `'` where a spreadsheet would begin a formula.
pub fn copy_for_excel(database: &TestDatabase, condition: &str, delimiter: char) -> Vec<u8> {
    with_crlf(&copy_texts(
        database,
        condition,
        delimiter,
        without_formulas,
    ))
}

/// SQL for a text with a `'` where a spreadsheet would begin a formula.
pub fn without_formulas(text: &str) -> String {
    const INSIDE: &str = r#"'((?:^|[,;\t\r\n])"*)(?=[=+@＝＋－＠-])'"#;
    const FIRST: &str = r"'^(?=[\t\r\n])'";
    format!(
        "regexp_replace(regexp_replace({text}, {INSIDE}, '\\1' || chr(39), 'g'), {FIRST}, chr(39))"
    )
}

/// CSV with a byte order mark and CRLF.
pub fn with_crlf(lines: &[u8]) -> Vec<u8> {
    let mut csv = "\u{feff}".as_bytes().to_vec();
    let mut quoted = false;
    for &byte in lines {
        quoted ^= byte == b'"';
        if byte == b'\n' && !quoted {
            csv.push(b'\r');
        }
        csv.push(byte);
    }
    csv
}

fn copy_texts(
    database: &TestDatabase,
    condition: &str,
    delimiter: char,
    text: impl Fn(&str) -> String,
) -> Vec<u8> {
    let [title, asset, location, creator, editor] =
        ["t.title", "a.name", "l.name", "c.username", "e.username"].map(text);
    let sql = format!(
        r#"copy (
            select t.id as "ID", {title} as "Title", {asset} as "Asset", {location} as "Asset Location",
                   case when t.done then 'Done' when not t.done then 'Not Done' end as "Done",
                   {creator} as "Created By", {editor} as "Updated By"
            from tasks t left join assets a on a.id = t.asset_id left join locations l on l.id = a.location_id
                left join users c on c.id = t.created_by_id left join users e on e.id = t.updated_by_id
            where {condition}
            order by t.id
        ) to stdout with (format csv, header, delimiter '{delimiter}')"#
    );
    psql(database, &sql)
}

/// Returns what psql prints for a command.
pub fn psql(database: &TestDatabase, sql: &str) -> Vec<u8> {
    psql_at(&database.bin_dir(), &database.url, sql)
}

/// Returns what psql prints for a command at this URL.
pub fn psql_at(bin_dir: &Path, url: &str, sql: &str) -> Vec<u8> {
    let output = Command::new(psql_program(bin_dir))
        .args([
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set=ON_ERROR_STOP=1",
            "--command",
            sql,
        ])
        .arg(url)
        .output()
        .expect("psql runs");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// The psql beside a server's programs; if there is none, that of the libpq that the program is linked to.
pub fn psql_program(bin_dir: &Path) -> PathBuf {
    let beside = bin_dir.join("psql");
    if beside.exists() {
        return beside;
    }
    let output = Command::new("pg_config").arg("--bindir").output();
    let output = String::from_utf8(output.expect("pg_config is there").stdout).expect("UTF-8");
    Path::new(output.trim()).join("psql")
}
