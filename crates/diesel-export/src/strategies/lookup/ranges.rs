//! Ranges of ids with about equally many rows each, however unevenly the ids lie between the first and the last.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use diesel::sql_types::{Array, Text};

use super::estimate::{Estimate, Scan};
use super::work::WAITING;
use crate::dataset::{Key, Table};
use crate::db::libpq::{self, CopyOutDsl};

/// Rows of a range: enough that beginning its query (0.1 to 0.2 ms) costs little, and few enough that the ranges that wait for an
/// earlier one fit into memory, and that no connection works on the last one alone for long. So a table that would have more than
/// `RANGES` has larger ones, up to `MOST_ROWS`.
const ROWS: f64 = 10_000.0;
const MOST_ROWS: f64 = 20_000.0;
const RANGES: f64 = 40.0;
/// The most that the planner expects such a range to cost.
const COST: f64 = 1_000.0;
/// The fewest rows of a range, however wide they are.
const FEWEST_ROWS: f64 = 16.0;
/// Bytes of a range: as many as may wait for earlier ranges. Its connection could not read the rest of a larger one ahead.
const BYTES: f64 = WAITING as f64;

/// The most keys per row, with the gaps, that count as dense.
const MOST_KEYS: f64 = 1.25;

/// Facts about the tables that are read, `$3`. The key's name is `$1`, and `$2` are the columns that are needed. `first` and `last`
/// are the first and the last key of the dataset's own table. `rows` is about how many rows there are. `toast` is the bytes of a row
/// that are kept outside of it, which the planner's width leaves out; it is 0 if no needed column can be so long. `bounds` are, for
/// each table, its rows and the bounds of the planner's histogram: the last ANALYZE saw equally many between each two.
const FACTS: &str = "
    select (select min({key}) from {table}) as first, (select max({key}) from {table}) as last,
        sum(rows) as rows, sum(toast) / greatest(sum(rows), 1) as toast,
        string_agg(concat_ws(' ', rows, (select array_to_string(histogram_bounds::text::bigint[], ' ') from pg_stats
            where schemaname = (select nspname from pg_namespace where oid = relnamespace)
                and tablename = relname and attname = $1 and not inherited)), ';') as bounds
    from (select relname, relnamespace,
            round(greatest(reltuples, 0) * (coalesce(pg_relation_size(oid), 0) / current_setting('block_size')::float8)
                / greatest(relpages, 1)) as rows,
            case when exists (select from pg_attribute where attrelid = oid and attname = any ($2) and attlen = -1
                and atttypmod = -1) then coalesce(pg_relation_size(reltoastrelid), 0) else 0 end as toast
        from pg_class where oid = any ($3::regclass[]::oid[])) as class";

/// Ranges of keys.
#[derive(Default)]
pub(super) struct Ranges {
    /// The ranges, in order.
    pub(super) keys: Vec<RangeInclusive<i64>>,
    /// Whether a value may be stored outside of its row, because it is too long for it: its length is then unknown.
    pub(super) may_be_long: bool,
}

impl Ranges {
    fn of_short(keys: Vec<RangeInclusive<i64>>) -> Self {
        Self {
            keys,
            may_be_long: false,
        }
    }
}

/// Returns the ranges of all keys; none if there is no row. `estimate` is what the planner expects if `scan` reads these
/// columns of the dataset's own table.
pub(super) fn of(
    connection: &mut libpq::CopyConnection,
    (table, key): (&Table, &Key),
    columns: &[&str],
    (estimate, scan): (&Estimate, &Scan),
) -> Result<Ranges, libpq::Error> {
    if scan.index_only
        && let Some(ranges) = of_dense(connection, (table, key), estimate)?
    {
        return Ok(Ranges::of_short(ranges));
    }
    let sql = FACTS
        .replace("{key}", &identifier(&key.column))
        .replace("{table}", &table.name);
    let facts = diesel::sql_query(sql)
        .bind::<Text, _>(&key.column)
        .bind::<Array<Text>, _>(columns)
        .bind::<Array<Text>, _>(&scan.tables)
        .literal_sql()?;
    let facts = connection.query_row(&facts)?.unwrap_or_default();
    of_facts(&facts, estimate)
}

/// Returns the ranges by what `FACTS` says.
fn of_facts(facts: &libpq::Row, estimate: &Estimate) -> Result<Ranges, libpq::Error> {
    let Some((first, last)) = ends(facts)? else {
        return Ok(Ranges::default());
    };
    // By the catalog, a table that was never analyzed has no rows; by the planner, it has some.
    let rows: f64 = facts.read("rows").unwrap_or(0.0);
    let rows = rows.max(estimate.rows);
    let toast = facts.read("toast").unwrap_or(0.0);
    let width = estimate.width + toast;
    let bounds = bounds(facts.get("bounds").flatten().unwrap_or_default());
    let rows_of_range = rows_of_range(width, rows);
    Ok(Ranges {
        keys: divide((first, last), rows, rows_of_range, &bounds),
        may_be_long: toast > 0.0,
    })
}

/// Returns the ranges if the keys have few gaps: a range then has no more rows than keys, so the histogram need not be read, which
/// takes a millisecond or two. Only for index-only scans: there, no row is wider than the planner expects.
fn of_dense(
    connection: &mut libpq::CopyConnection,
    (table, key): (&Table, &Key),
    estimate: &Estimate,
) -> Result<Option<Vec<RangeInclusive<i64>>>, libpq::Error> {
    let key = identifier(&key.column);
    let sql = format!(
        "select min({key}) as first, max({key}) as last from {}",
        table.name
    );
    let ends = connection.query_row(&sql)?.unwrap_or_default();
    Ok(match self::ends(&ends)? {
        Some(ends) => divide_dense(ends, estimate),
        None => Some(Vec::new()),
    })
}

/// Returns ranges of equally many keys from `first` to `last`, if these have few gaps.
fn divide_dense(
    (first, last): (i64, i64),
    estimate: &Estimate,
) -> Option<Vec<RangeInclusive<i64>>> {
    let keys = (i128::from(last) - i128::from(first) + 1) as f64;
    let rows_of_range = rows_of_range(estimate.width, keys);
    (keys <= estimate.rows * MOST_KEYS).then(|| divide((first, last), keys, rows_of_range, &[]))
}

/// Reads the first and the last key; none if no row has a key.
fn ends(row: &libpq::Row) -> Result<Option<(i64, i64)>, libpq::Error> {
    let (Some(Some(first)), Some(Some(last))) = (row.get("first"), row.get("last")) else {
        return Ok(None);
    };
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) => Ok(Some((first, last))),
        _ => Err(libpq::Error::new(
            libpq::ErrorKind::Other,
            "a key is no integer",
        )),
    }
}

/// Returns how many ranges the planner's estimate makes at least: by its rows, or by its cost, which includes rows that a filter
/// leaves out.
pub(super) fn fewest(estimate: &Estimate) -> usize {
    let ranges = estimate.rows / rows_of_range(estimate.width, estimate.rows);
    ranges.max(estimate.cost / COST).ceil() as usize
}

/// Returns how many rows of `width` bytes make a range, if there are `rows` in all.
fn rows_of_range(width: f64, rows: f64) -> f64 {
    let most = (rows / RANGES).clamp(ROWS, MOST_ROWS);
    (BYTES / width.max(1.0)).clamp(FEWEST_ROWS, most)
}

/// Returns the bounds of the histograms, in order, each with the rows per id from it to the next one.
fn bounds(tables: &str) -> Vec<(i64, f64)> {
    let mut changes: BTreeMap<i64, f64> = BTreeMap::new();
    for table in tables.split(';') {
        let (rows, bounds) = table.split_once(' ').unwrap_or_default();
        let rows: f64 = rows.parse().unwrap_or(0.0);
        let bounds = bounds.split(' ').filter_map(|bound| bound.parse().ok());
        let bounds: Vec<i64> = bounds.collect();
        let each = rows / bounds.len().saturating_sub(1).max(1) as f64;
        for pair in bounds.windows(2) {
            let density = density_of(each, pair[0], pair[1]);
            *changes.entry(pair[0]).or_default() += density;
            *changes.entry(pair[1]).or_default() -= density;
        }
    }
    let mut density = 0.0;
    let summed = changes.into_iter().map(|(bound, change)| {
        density += change;
        (bound, f64::max(density, 0.0))
    });
    summed.collect()
}

/// Returns the rows per id.
fn density_of(rows: f64, start: i64, end: i64) -> f64 {
    rows / (i128::from(end) - i128::from(start)).max(1) as f64
}

/// Returns the name, quoted for SQL.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Divides the ids from `first` to `last` into ranges of this many rows. If `bounds` are old, some ranges have more rows and some have
/// fewer, but together the ranges always have every id once.
fn divide(
    (first, last): (i64, i64),
    rows: f64,
    rows_of_range: f64,
    bounds: &[(i64, f64)],
) -> Vec<RangeInclusive<i64>> {
    let end = i128::from(last) + 1;
    let inner = || {
        bounds
            .iter()
            .filter(|(bound, _)| (first..=last).contains(bound))
            .map(|(bound, _)| i128::from(*bound))
    };
    let edges: Vec<i128> = std::iter::once(i128::from(first))
        .chain(inner())
        .chain([end])
        .collect();
    let known = match bounds {
        [(lowest, _), .., (highest, _)] => i128::from(*lowest)..i128::from(*highest),
        _ => 0..0,
    };
    let density = rows / (known.end - known.start).max(1) as f64;

    let mut starts = Vec::new();
    let mut filled = f64::INFINITY;
    for edge in edges.windows(2) {
        let (start, end) = (edge[0], edge[1]);
        if start == end {
            continue;
        }
        let rows = if known.is_empty() {
            rows
        } else if known.contains(&start) {
            let next = bounds.partition_point(|(bound, _)| i128::from(*bound) <= start);
            bounds[next.max(1) - 1].1 * (end - start) as f64
        } else {
            // The histogram does not cover these ids: they count as equally dense, but have no more than all rows.
            rows.min(density * (end - start) as f64)
        };
        let pieces = (rows / rows_of_range)
            .ceil()
            .clamp(1.0, 1e6)
            .min((end - start) as f64) as i128;
        for piece in 0..pieces {
            let more = rows / pieces as f64;
            // A range that lacks a row or two counts as full: the next piece would double it.
            if filled + more > 1.1 * rows_of_range {
                starts.push(start + (end - start) * piece / pieces);
                filled = 0.0;
            }
            filled += more;
        }
    }
    starts.push(end);
    starts
        .windows(2)
        .map(|edge| edge[0] as i64..=(edge[1] - 1) as i64)
        .collect()
}

#[cfg(test)]
mod tests;
