//! Data that is meant to break an export.

use diesel::connection::SimpleConnection;

use crate::TestDatabase;

/// Creates a database with every text that a CSV can get wrong, in every column.
pub fn hostile() -> TestDatabase {
    TestDatabase::filled("hostile".to_owned(), fill_hostile)
}

/// Fills an empty database with that.
pub fn fill_hostile(database: &TestDatabase) {
    let texts: Vec<String> = [
        "plain",
        "",
        " ",
        " leading",
        "trailing ",
        "a,b",
        "a;b",
        "a\tb",
        ",",
        "\"",
        "\"\"",
        "say \"hi\"",
        "two\nlines",
        "two\r\nlines",
        "\r",
        "\n",
        "ends in LF\n",
        "\\.",
        "\\N",
        "\\",
        "NULL",
        "'",
        "it's",
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\ttab first",
        "\rreturn first",
        "\n=LF first",
        "＝1+1",
        "－full width",
        "x;=HYPERLINK(\"http://example.com\";\"x\");y",
        "x,@SUM(A1),+y",
        "x\t\"\"=1\t－1",
        "\"=1+1",
        "- a list\n- of two\r\n+ three",
        "=\"quoted\",and more",
        "100%",
        "under_score",
        "back\\slash%",
        "🛠️ emoji 👩‍🔧",
        "e\u{301} combining, é precomposed",
        "עברית ‏RTL‎ العربية",
        "\u{feff}byte order mark",
        "ÄÖÜ ẞ ß İ ı",
        "zero\u{200b}width",
        "\u{1}\u{1f}\u{7f} controls",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([
        "x".repeat(100),
        "ü".repeat(100),
        "\"".repeat(100),
        "🛠".repeat(100),
    ])
    .collect();
    let quoted: Vec<String> = texts
        .iter()
        .map(|text| format!("'{}'", text.replace('\'', "''")))
        .collect();
    let count = texts.len();
    let sql = format!(
        "create temp table texts as select n, text from unnest(array[{}]) with ordinality as _ (text, n);
         insert into locations select n, text from texts;
         insert into users select n, text from texts;
         insert into assets select n, text, text, 1 + n * 7 % {count} from texts;
         -- Each text as a title, with other texts around it; ids with gaps, below zero and at both ends of their range.
         insert into tasks select
             case n when 1 then -9223372036854775808 when 2 then 9223372036854775807 when 3 then 0 else n * n * 1000003 - 100000000 end,
             text, text, n % 3 = 0, 1 + n * 3 % {count}, 1 + n * 5 % {count}, case when n % 4 > 0 then 1 + n * 11 % {count} end
         from texts;
         drop table texts",
        quoted.join(", ")
    );
    database
        .connect()
        .batch_execute(&sql)
        .expect("the SQL runs");
}

/// A database of `count` tasks with titles of 100 characters: far more bytes than the buffers between PostgreSQL and a client hold.
pub fn wide(count: u32) -> TestDatabase {
    TestDatabase::filled(format!("{count} wide tasks"), |database| {
        fill_wide(database, count);
    })
}

/// Fills an empty database with that.
pub fn fill_wide(database: &TestDatabase, count: u32) {
    let sql = format!(
        "insert into locations values (1, 'Here'); insert into users values (1, 'somebody');
         insert into assets values (1, 'Thing', '', 1);
         -- Without a check of each row's foreign keys, which would take most of the time.
         set session_replication_role = replica;
         insert into tasks select n, lpad(n::text, 100, 'title '), '', true, 1, 1, null from generate_series(1, {count}) n;
         reset session_replication_role"
    );
    let mut connection = database.connect();
    for sql in [&sql, "vacuum analyze"] {
        connection.batch_execute(sql).expect("the SQL runs");
    }
}
