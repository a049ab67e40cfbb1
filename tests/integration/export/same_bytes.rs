//! Every strategy writes psql's bytes, on the command line and over HTTP.

use std::io::Read;

use diesel_export::Strategy;
use diesel_export::csv::{Delimiter, Preset};
use serde_json::json;
use strum::VariantArray as _;

use crate::support::client::{Download, End, download};
use crate::support::oracle::{self, Filter};
use crate::support::prepared;
use crate::support::program::export;
use crate::support::{Server, TestDatabase, data};

const EVERYTHING: Filter = Filter {
    parameters: &[],
    sql: "true",
};

const FILTERS: &[Filter] = &[
    EVERYTHING,
    Filter {
        parameters: &[("done", "true")],
        sql: "t.done",
    },
    Filter {
        parameters: &[("done", "false")],
        sql: "not t.done",
    },
    Filter {
        parameters: &[("location_id", "3")],
        sql: "l.id = 3",
    },
    Filter {
        parameters: &[("asset_id", "7")],
        sql: "t.asset_id = 7",
    },
    Filter {
        parameters: &[("created_by_id", "11")],
        sql: "t.created_by_id = 11",
    },
    Filter {
        parameters: &[("updated_by_id", "12")],
        sql: "t.updated_by_id = 12",
    },
    Filter {
        parameters: &[("updated_by_id", "none")],
        sql: "t.updated_by_id is null",
    },
    Filter {
        parameters: &[("location_id", "3,5"), ("location_id", "4")],
        sql: "l.id in (3, 4, 5)",
    },
    Filter {
        parameters: &[("updated_by_id", "none,12"), ("updated_by_id", "7")],
        sql: "(t.updated_by_id in (7, 12) or t.updated_by_id is null)",
    },
    Filter {
        parameters: &[
            ("title_is", "Task 99"),
            ("title_is", "task 98"),
            ("title_is", "ü, ß"),
        ],
        sql: "t.title in ('Task 99', 'task 98', 'ü, ß')",
    },
    Filter {
        parameters: &[("title", "%")],
        sql: "position('%' in t.title) > 0",
    },
    Filter {
        parameters: &[("title", "_")],
        sql: "position('_' in t.title) > 0",
    },
    Filter {
        parameters: &[("title", "\\")],
        sql: "position('\\' in t.title) > 0",
    },
    Filter {
        parameters: &[("title", "'")],
        sql: "position('''' in t.title) > 0",
    },
    Filter {
        parameters: &[("title", "ü")],
        sql: "position('ü' in lower(t.title)) > 0",
    },
    Filter {
        parameters: &[("title", "TASK 99")],
        sql: "position('task 99' in lower(t.title)) > 0",
    },
    Filter {
        parameters: &[("done", "false"), ("updated_by_id", "none"), ("title", "1")],
        sql: "not t.done and t.updated_by_id is null and position('1' in t.title) > 0",
    },
    Filter {
        parameters: &[("location_id", "-1")],
        sql: "false",
    },
    Filter {
        parameters: &[("asset_id", "-9223372036854775808")],
        sql: "false",
    },
];

/// One way to ask for an export.
struct Case<'a> {
    strategy: Strategy,
    filter: &'a Filter,
    preset: Preset,
    delimiter: Delimiter,
}

impl Case<'_> {
    fn parameters(&self) -> Vec<(String, String)> {
        let mut parameters = vec![
            ("strategy".to_owned(), self.strategy.to_string()),
            ("preset".to_owned(), self.preset.to_string()),
            ("delimiter".to_owned(), self.delimiter.to_string()),
        ];
        parameters.extend(
            self.filter
                .parameters
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string())),
        );
        parameters
    }

    fn on_the_command_line(&self, database: &TestDatabase) -> Vec<u8> {
        let flags = self
            .parameters()
            .into_iter()
            .map(|(name, value)| format!("--{}={value}", name.replace('_', "-")));
        export(&database.url, &flags.collect::<Vec<_>>())
    }

    fn over_http(&self, server: &Server) -> Vec<u8> {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(self.parameters())
            .finish();
        download(&server.address, &query)
    }
}

/// Demands psql's bytes of every strategy.
///
/// Over HTTP, each filter meets each strategy and each format, and each strategy each format: each pair, but not each triple. One
/// strategy a filter is asked on the command line, too.
fn check(database: &TestDatabase, filters: &[&Filter], formats: &[(Preset, Delimiter)]) {
    let server = Server::start(&database.url);
    let strategies = Strategy::all();
    for nth in 0..filters.len().max(formats.len()) {
        let filter = filters[nth % filters.len()];
        // Not `nth` alone: with its format, it would meet every other format only.
        let on_the_command_line = (nth + nth / strategies.len()) % strategies.len();
        for (nth_format, &(preset, delimiter)) in formats.iter().enumerate() {
            let case = |strategy| Case {
                strategy,
                filter,
                preset,
                delimiter,
            };
            let psql = match preset {
                Preset::Data => oracle::copy,
                Preset::Excel => oracle::copy_for_excel,
            };
            let expected = psql(database, filter.sql, char::from(delimiter.byte()));
            let is = |case: &Case<'_>, surface: &str, csv: Vec<u8>| {
                let what = || format!("{:?} {surface}", case.parameters());
                assert!(
                    csv == expected,
                    "{}: {}",
                    what(),
                    difference(&csv, &expected)
                );
            };
            for (nth_strategy, &strategy) in strategies.iter().enumerate() {
                if (nth + nth_strategy) % formats.len() == nth_format {
                    let case = case(strategy);
                    is(&case, "over HTTP", case.over_http(&server));
                    if nth_strategy == on_the_command_line {
                        is(
                            &case,
                            "on the command line",
                            case.on_the_command_line(database),
                        );
                    }
                }
            }
        }
    }
}

fn difference(got: &[u8], expected: &[u8]) -> String {
    let at = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let around = |bytes: &[u8]| {
        String::from_utf8_lossy(&bytes[at.saturating_sub(60)..bytes.len().min(at + 60)])
            .escape_debug()
            .to_string()
    };
    format!(
        "at byte {at}: got …{}…, expected …{}…",
        around(got),
        around(expected)
    )
}

fn all_formats() -> Vec<(Preset, Delimiter)> {
    let delimiters = Delimiter::VARIANTS;
    Preset::VARIANTS
        .iter()
        .flat_map(|preset| delimiters.iter().map(|delimiter| (*preset, *delimiter)))
        .collect()
}

#[test]
fn hostile_data_comes_out_alike_in_every_format_with_every_filter() {
    let filters: Vec<&Filter> = FILTERS.iter().collect();
    check(&data::hostile(), &filters, &all_formats());
}

#[test]
fn json_lines_are_what_postgresql_makes_of_the_rows() {
    let database = data::hostile();
    let expected = oracle::psql(
        &database,
        "select format(
             '{\"id\":%s,\"title\":%s,\"asset_location\":%s,\"done\":%s,\"updated_by\":%s,\"asset_id\":%s}',
             t.id, to_json(t.title), coalesce(to_json(l.name)::text, 'null'), to_json(t.done), coalesce(to_json(e.username)::text, 'null'),
             coalesce(t.asset_id::text, 'null'))
         from tasks t left join assets a on a.id = t.asset_id left join locations l on l.id = a.location_id
             left join users e on e.id = t.updated_by_id
         order by t.id",
    );
    let columns = "id,title,asset_location,done,updated_by,asset_id";
    let server = Server::start(&database.url);
    let directory = tempfile::tempdir().expect("a directory");
    let names = ["lines.ndjson", "lines.JSONL"];
    for (strategy, name) in Strategy::all().iter().zip(names.iter().cycle()) {
        let path = format!("/tasks.ndjson?columns={columns}&strategy={strategy}");
        let response = Download::start(&server.address, &path);
        assert_eq!(
            response.header("content-type"),
            Some("application/x-ndjson")
        );
        let (lines, end) = response.finish();
        assert_eq!(end, End::Clean);
        let differs = difference(&lines, &expected);
        assert!(lines == expected, "{strategy}: {differs}");

        let output = directory.path().join(name);
        let flags = ["columns", columns, "strategy", strategy.name(), "output"];
        let mut flags: Vec<String> = flags.map(str::to_owned).to_vec();
        for flag in flags.iter_mut().step_by(2) {
            flag.insert_str(0, "--");
        }
        flags.push(output.display().to_string());
        export(&database.url, &flags);
        let lines = std::fs::read(&output).expect("written");
        assert!(lines == expected, "{strategy}");
    }
}

#[test]
fn the_articles_data_comes_out_alike() {
    check(
        &TestDatabase::seeded(&[]),
        &[&EVERYTHING],
        &[(Preset::Data, Delimiter::Comma)],
    );
}

#[test]
fn a_fifth_of_the_articles_data_comes_out_alike_with_every_filter() {
    let filters: Vec<&Filter> = FILTERS.iter().collect();
    check(
        &TestDatabase::seeded(&["--tasks=20000"]),
        &filters,
        &[
            (Preset::Data, Delimiter::Comma),
            (Preset::Excel, Delimiter::Tab),
            (Preset::Data, Delimiter::Semicolon),
        ],
    );
}

#[test]
fn no_row_gives_the_header_alone() {
    let database = TestDatabase::new();
    check(&database, &[&EVERYTHING], &all_formats());
    let server = Server::start(&database.url);
    let streamed = Download::start(&server.address, "/tasks.ndjson");
    assert_eq!(streamed.finish(), (Vec::new(), End::Clean));
    // Made first, on request and for later.
    let response = Download::start(&server.address, "/tasks.ndjson?whole=true");
    assert_eq!(response.header("content-length"), Some("0"));
    let id = response.header("x-export-id").expect("an id").to_owned();
    let mut rest = Vec::new();
    let end = response.into_stream().read_to_end(&mut rest);
    assert_eq!(end.expect("no reset"), 0);
    let manifest = prepared::get(&server, &format!("/api/exports/{id}"), &[]).json();
    assert_eq!(manifest["state"], "complete");
    let id = prepared::order(&server, &json!({"format": "ndjson"}));
    let file = prepared::get(&server, &prepared::complete(&server, &id), &[]);
    assert_eq!((file.status, file.body.len()), (200, 0));
    assert_eq!(
        String::from_utf8_lossy(&oracle::copy(&database, "true", ',')),
        "ID,Title,Asset,Asset Location,Done,Created By,Updated By\n"
    );
}

#[test]
fn excel_gets_a_mark_crlf_and_harmless_formulas() {
    let database = TestDatabase::with(
        "insert into locations values (1, '@here'); insert into users values (-1, '-dash'), (2, '');
         insert into assets values (1, '+ 5 °C', '', 1);
         insert into tasks values
             (-5, '=HYPERLINK(\"http://example.com\";\"x\")', '', true, 1, -1, 2),
             (6, 'a-b=c', '', false, 1, 2, null),
             (7, E'\\tx', '', false, 1, 2, -1),
             (8, E'\\rx', '', false, 1, 2, -1),
             (11, 'x,=1+1', '', false, 1, 2, -1),
             (12, E'＝1\\n@y', '', false, 1, 2, -1),
             (9, '', '', false, 1, 2, -1),
             (10, '🛠️ it''s', '', false, 1, 2, -1);",
    );
    const EXCEL: &str = "\u{feff}ID;Title;Asset;Asset Location;Done;Created By;Updated By\r\n\
        -5;\"'=HYPERLINK(\"\"http://example.com\"\";\"\"x\"\")\";'+ 5 °C;'@here;Done;'-dash;\"\"\r\n\
        6;a-b=c;'+ 5 °C;'@here;Not Done;\"\";\r\n\
        7;'\tx;'+ 5 °C;'@here;Not Done;\"\";'-dash\r\n\
        8;\"'\rx\";'+ 5 °C;'@here;Not Done;\"\";'-dash\r\n\
        9;\"\";'+ 5 °C;'@here;Not Done;\"\";'-dash\r\n\
        10;🛠️ it's;'+ 5 °C;'@here;Not Done;\"\";'-dash\r\n\
        11;x,'=1+1;'+ 5 °C;'@here;Not Done;\"\";'-dash\r\n\
        12;\"'＝1\n'@y\";'+ 5 °C;'@here;Not Done;\"\";'-dash\r\n";
    for &strategy in Strategy::all() {
        let case = Case {
            strategy,
            filter: &EVERYTHING,
            preset: Preset::Excel,
            delimiter: Delimiter::Semicolon,
        };
        let csv = case.on_the_command_line(&database);
        assert_eq!(
            String::from_utf8(csv).expect("UTF-8"),
            EXCEL,
            "{strategy:?}"
        );
    }
}
