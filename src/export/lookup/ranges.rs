//! Ranges of ids, each of about as many rows as any other: as the data have it, not evenly between the first id and the last.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use diesel::sql_types::{Array, Text};

use super::estimate::{Estimate, Scan};
use super::work::{PIECE, PIECES};
use crate::db::libpq::{self, CopyOutDsl};
use crate::export::dataset::Table;

/// Rows of a range: large enough that to begin its query (0.1 to 0.2 ms) costs little, small enough that the ranges that wait for the
/// one before them fit into memory, and that no connection is left alone with the last one for long. So a table that has more than
/// so many ranges has larger ones, up to the second number.
const ROWS: f64 = 10_000.0;
const MOST_ROWS: f64 = 20_000.0;
const RANGES: f64 = 40.0;
/// What the planner takes a range of so many rows to cost, at most.
const COST: f64 = 1_000.0;
/// Rows of a range, at least, however wide they are.
const FEWEST_ROWS: f64 = 16.0;
/// Bytes of a range: what may wait of it for those before. Of a larger one, its connection could not read the rest ahead.
const BYTES: f64 = (PIECE * PIECES) as f64;

/// Keys for each row, up to which they count as dense.
const MOST_KEYS: f64 = 1.25;

/// About the tables that are read, `$3`, with the dataset's own table, its key, whose name is `$1`, and the columns that are needed,
/// `$2`: `first` and `last`, the keys' ends; `rows`, how many there are about; `toast`, the bytes of a row that are kept
/// outside of it, which the planner's width leaves out, if a column is needed that may be so long; `bounds`, for each table its rows
/// and the bounds of the planner's histogram, between any two of which the last ANALYZE has seen equally many.
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

/// The ranges of all keys, in their order; none if there is no row. `estimate` is the planner's of what `scan` reads of the dataset's
/// own table: these columns.
pub(super) fn of(
    connection: &mut libpq::Connection,
    table: &Table,
    columns: &[&str],
    (estimate, scan): (&Estimate, &Scan),
) -> Result<Vec<RangeInclusive<i64>>, libpq::Error> {
    if scan.index_only
        && let Some(ranges) = of_dense(connection, table, estimate)?
    {
        return Ok(ranges);
    }
    let sql = FACTS
        .replace("{key}", &identifier(table.key))
        .replace("{table}", &table.name);
    let facts = diesel::sql_query(sql)
        .bind::<Text, _>(table.key)
        .bind::<Array<Text>, _>(columns)
        .bind::<Array<Text>, _>(&scan.tables)
        .literal_sql()?;
    let facts = connection.query_row(&facts)?.unwrap_or_default();
    let (Some(first), Some(last)) = (facts.read("first"), facts.read("last")) else {
        return Ok(Vec::new());
    };
    // A table that was never looked at has no rows by the catalog, but some by the planner.
    let rows: f64 = facts.read("rows").unwrap_or(0.0);
    let rows = rows.max(estimate.rows);
    let width = estimate.width + facts.read("toast").unwrap_or(0.0);
    let bounds = bounds(facts.get("bounds").unwrap_or_default());
    let rows_of_range = rows_of_range(width, rows);
    Ok(divide((first, last), rows, rows_of_range, &bounds))
}

/// The ranges, if the keys have few gaps: so many keys in a row are no more rows than that, whatever the histogram says, and it need not
/// be read, which takes a millisecond or two. Off an index alone: no row is wider than the planner thinks.
fn of_dense(
    connection: &mut libpq::Connection,
    table: &Table,
    estimate: &Estimate,
) -> Result<Option<Vec<RangeInclusive<i64>>>, libpq::Error> {
    let key = identifier(table.key);
    let sql = format!(
        "select min({key}) as first, max({key}) as last from {}",
        table.name
    );
    let ends = connection.query_row(&sql)?.unwrap_or_default();
    let (Some(first), Some(last)) = (ends.read("first"), ends.read("last")) else {
        return Ok(Some(Vec::new()));
    };
    let keys = (i128::from(last) - i128::from(first) + 1) as f64;
    let is_dense = keys <= estimate.rows * MOST_KEYS;
    Ok(is_dense.then(|| {
        divide(
            (first, last),
            keys,
            rows_of_range(estimate.width, keys),
            &[],
        )
    }))
}

/// How many ranges there will be at least, by what the planner expects: of rows, or of those that a filter leaves out.
pub(super) fn fewest(estimate: &Estimate) -> usize {
    let ranges = estimate.rows / rows_of_range(estimate.width, estimate.rows);
    ranges.max(estimate.cost / COST).ceil() as usize
}

/// How many rows of so many bytes make a range, if there are so many rows in all.
fn rows_of_range(width: f64, rows: f64) -> f64 {
    let most = (rows / RANGES).clamp(ROWS, MOST_ROWS);
    (BYTES / width.max(1.0)).clamp(FEWEST_ROWS, most)
}

/// The bounds of the histograms, in their order, each with the rows per id from it to the next one.
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

/// Rows per id.
fn density_of(rows: f64, start: i64, end: i64) -> f64 {
    rows / (i128::from(end) - i128::from(start)).max(1) as f64
}

/// A name in SQL.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Divides the ids from `first` to `last` into ranges of so many rows. Where `bounds` are old, some ranges have more rows and some
/// have fewer, but together the ranges always have every id once.
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
            // Newer than the histogram: as dense as the rest, but how many there are at most is known.
            rows.min(density * (end - start) as f64)
        };
        let pieces = (rows / rows_of_range)
            .ceil()
            .clamp(1.0, 1e6)
            .min((end - start) as f64) as i128;
        for piece in 0..pieces {
            let more = rows / pieces as f64;
            // A range that lacks a row or two is full: it must not be doubled.
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
mod tests {
    use super::*;

    /// Divides, and demands that the ranges follow one another from the first id to the last.
    fn check(first: i64, last: i64, rows: f64, bounds: &[i64]) -> Vec<RangeInclusive<i64>> {
        let written: Vec<String> = bounds.iter().map(i64::to_string).collect();
        let bounds = super::bounds(&format!("{rows} {}", written.join(" ")));
        let ranges = divide((first, last), rows, ROWS, &bounds);
        assert_eq!(ranges.first().map(|range| *range.start()), Some(first));
        assert_eq!(ranges.last().map(|range| *range.end()), Some(last));
        for pair in ranges.windows(2) {
            assert_eq!(pair[0].end() + 1, *pair[1].start());
        }
        for range in &ranges {
            assert!(range.start() <= range.end(), "{range:?}");
        }
        ranges
    }

    #[test]
    fn few_rows_are_one_range() {
        assert_eq!(check(5, 5, 1.0, &[]), [5..=5]);
        assert_eq!(check(1, 9_000, 9_000.0, &[1, 4_000, 9_000]).len(), 1);
        assert_eq!(check(i64::MIN, i64::MAX, 0.0, &[]).len(), 1);
        assert_eq!(
            check(i64::MIN, i64::MAX, 40.0, &[i64::MIN, 0, i64::MAX]).len(),
            1
        );
    }

    #[test]
    fn ranges_follow_the_histogram() {
        let even: Vec<i64> = (0..=100).map(|n| 1 + n * 10_000).collect();
        assert!((95..=101).contains(&check(1, 1_000_001, 1e6, &even).len()));
        assert!((995..=1_001).contains(&check(1, 1_000_001, 1e7, &even).len()));
        assert!((9..=11).contains(&check(1, 1_000_001, 1e5, &even).len()));
        // Half of the rows have ids below 1,000,000, the others are far apart.
        let skewed: Vec<i64> = (0..=50)
            .map(|n| 1 + n * 20_000)
            .chain((1..=50).map(|n| 1_000_000 + n * (i64::MAX / 51)))
            .collect();
        let last = skewed[skewed.len() - 1];
        let ranges = check(1, last, 1e6, &skewed);
        let low = ranges.iter().filter(|range| *range.end() <= 1_000_001);
        assert!((45..=55).contains(&low.count()), "{ranges:?}");
    }

    #[test]
    fn an_old_histogram_loses_nothing() {
        let old: Vec<i64> = (0..=100).map(|n| 1_000 + n * 100).collect();
        // New rows before and after it; and all of it deleted since.
        assert!(check(-50_000, 1_000_000, 1e5, &old).len() > 10);
        check(20_000, 30_000, 1e4, &old);
        check(i64::MIN, i64::MAX, 1e5, &old);
        check(5_000, 5_000, 1e7, &old);
        check(1_000, 1_001, 1e7, &[1_000, 1_001]);
    }

    #[test]
    fn partitions_of_unlike_sizes_are_divided_alike() {
        let bounds = bounds("900000 1 450000 900000;10000 900001 905000 910000; ;90000 7 8");
        let ranges = divide((1, 1_000_000), 1e6, ROWS, &bounds);
        assert!((90..=115).contains(&ranges.len()), "{}", ranges.len());
        for pair in ranges.windows(2) {
            assert_eq!(pair[0].end() + 1, *pair[1].start());
        }
        assert_eq!(
            (ranges[0].start(), ranges[ranges.len() - 1].end()),
            (&1, &1_000_000)
        );
    }

    #[test]
    fn wide_rows_make_ranges_of_few() {
        assert_eq!(rows_of_range(0.0, 1e5), ROWS);
        assert_eq!(rows_of_range(44.0, 1e5), ROWS);
        assert_eq!(rows_of_range(44.0, 6e5), 15_000.0);
        assert_eq!(rows_of_range(44.0, 1e9), MOST_ROWS);
        assert!((10.0..20.0).contains(&rows_of_range(100_000.0, 1e6)));
        assert_eq!(rows_of_range(f64::INFINITY, f64::INFINITY), FEWEST_ROWS);
    }

    #[test]
    fn without_a_histogram_ranges_are_equally_wide() {
        assert_eq!(check(1, 100_000, 1e5, &[]).len(), 10);
        assert_eq!(check(i64::MIN, i64::MAX, 1e5, &[]).len(), 10);
    }
}
