//! The environment of a benchmark, without which its figures mean nothing.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use diesel_export::db::Database;

/// PostgreSQL's settings that an export's time depends on.
const SETTINGS: &str = "'shared_buffers','work_mem','effective_cache_size','max_parallel_workers_per_gather','random_page_cost',\
    'jit','fsync','server_encoding'";

/// The sizes of tables, of a partitioned one with its partitions.
const SIZES: &str = "select name::regclass::text as name, sum(case when relkind = 'p' then 0 else greatest(reltuples, 0) end)::bigint as rows,
        sum(pg_table_size(pg_class.oid))::bigint as bytes, sum(pg_indexes_size(pg_class.oid))::bigint as index_bytes
    from unnest($1) with ordinality as named (name, place) join lateral (
        select name::regclass::oid union select relid from pg_partition_tree(name::regclass) where isleaf) as part (oid) on true
        join pg_class on pg_class.oid = part.oid
    group by name, place order by place";

/// The machine, the database, the program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Environment {
    /// When it ran, in UTC.
    #[schema(
        pattern = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$",
        example = "2026-11-22T14:16:26Z"
    )]
    pub date: String,
    /// The program's version.
    pub version: String,
    /// Its commit, if it was built in its repository; with `-dirty` if its sources differed from the commit's.
    pub commit: Option<String>,
    /// The compiler that built it.
    pub compiler: Option<String>,
    /// `release`, or `debug`, whose times say nothing.
    pub profile: String,
    /// The processor's model, if the system reports it.
    pub processor: Option<String>,
    /// Processors that the program may use.
    pub cores: usize,
    /// The machine's memory, if the system reports it.
    pub memory_bytes: Option<u64>,
    /// The operating system's kernel: its name, the first two numbers of its version, the kind of processor.
    pub kernel: String,
    /// PostgreSQL's version.
    pub postgresql: String,
    /// Those of its settings that matter.
    pub settings: BTreeMap<String, String>,
    /// The tables.
    pub tables: Vec<Table>,
}

/// A table's size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, QueryableByName)]
pub struct Table {
    /// Its name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// About how many rows it has, by PostgreSQL's own estimate: counting them all could take long.
    #[diesel(sql_type = BigInt)]
    pub rows: i64,
    /// Its size on disk in bytes, without its indexes.
    #[diesel(sql_type = BigInt)]
    pub bytes: i64,
    /// The size of its indexes in bytes.
    #[diesel(sql_type = BigInt)]
    pub index_bytes: i64,
}

#[derive(QueryableByName)]
struct Setting {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    value: String,
}

impl Environment {
    /// All that can be found out, with these tables, as SQL names them.
    pub fn read(database: &Database, tables: &[String]) -> Result<Self, diesel_export::db::Error> {
        let mut connection = database.control_connection()?;
        let settings = diesel::sql_query(format!(
            "select name, current_setting(name) as value from pg_settings where name in ({SETTINGS})
             union all select 'server_version', current_setting('server_version')
             union all select 'now', to_char(now() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
        ));
        let mut settings: BTreeMap<String, String> = settings
            .load::<Setting>(&mut connection)?
            .into_iter()
            .map(|setting| (setting.name, setting.value))
            .collect();
        let tables = diesel::sql_query(SIZES).bind::<Array<Text>, _>(tables);
        let tables = tables.load(&mut connection)?;
        Ok(Self {
            date: settings.remove("now").unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("CMMS_BUILD_COMMIT").map(str::to_owned),
            compiler: option_env!("CMMS_BUILD_RUSTC").map(str::to_owned),
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            }
            .to_owned(),
            processor: line("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            memory_bytes: line("/proc/meminfo", "MemTotal")
                .and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok())
                .map(|kibibytes| kibibytes << 10),
            kernel: nix::sys::utsname::uname().map_or_else(
                |_| std::env::consts::OS.to_owned(),
                |system| {
                    let text = |part: &OsStr| part.to_string_lossy().into_owned();
                    format!(
                        "{} {} {}",
                        text(system.sysname()),
                        series(&text(system.release())),
                        text(system.machine())
                    )
                },
            ),
            postgresql: settings.remove("server_version").unwrap_or_default(),
            settings,
            tables,
        })
    }
}

/// Returns the first two numbers of a kernel's release: the rest says who has built it.
fn series(release: &str) -> &str {
    let mut dots = 0;
    let end = release.find(|character: char| {
        dots += u8::from(character == '.');
        !(character.is_ascii_digit() || character == '.') || dots > 1
    });
    &release[..end.unwrap_or(release.len())]
}

/// Returns what follows `name` and a colon in one of the kernel's files.
pub(super) fn line(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::series;

    #[test]
    fn of_a_kernels_release_the_first_two_numbers_count() {
        for (release, shown) in [
            ("6.18.44-fc-v669", "6.18"),
            ("6.1.0-28-amd64", "6.1"),
            ("6.18-rc3", "6.18"),
            ("24.6.0", "24.6"),
            ("odd", ""),
            ("6", "6"),
        ] {
            assert_eq!(series(release), shown, "{release}");
        }
    }
}
