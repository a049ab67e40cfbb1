//! Ranges of ids, each of about as many rows as any other: as the data have it, not evenly between the first id and the last.

use std::ops::RangeInclusive;

use crate::db::libpq;
use crate::export::dataset::Table;

/// Rows of a range. Large enough that to begin its query (0.1 ms) costs little, small enough that the ranges that wait for
/// the one before them fit into memory, and that no connection is left alone with the last one for long.
const ROWS: f64 = 10_000.0;

/// Pages of a table that is small enough to be looked up in as well.
const FEW_PAGES: u32 = 1_000;

/// Asks about a table. The placeholders are its name, its key and the columns that are needed.
///
/// * `first`, `last`: the least and the greatest key.
/// * `index_only`: whether one index has all of these columns, and most pages are known to be visible to all, or it has few.
/// * `rows`: about how many rows there are.
/// * `bounds`: the bounds of the planner's histogram. Between any two neighbours the last ANALYZE has seen equally many rows.
///   Constants name the table, or the server would look at every table's histogram.
const FACTS: &str = "
    select (select min({key}) from {table}) as first, (select max({key}) from {table}) as last,
        (2 * relallvisible >= size or size < {few_pages}) and exists (
            select from pg_index where indrelid = class.oid and indisvalid and indpred is null and {count} = (
                select count(*) from pg_attribute where attrelid = class.oid and attnum = any (indkey::int2[])
                and attname in ({columns}))) as index_only,
        round(greatest(reltuples, 0) * size / greatest(relpages, 1)) as rows,
        (select array_to_string(histogram_bounds::text::bigint[], ' ') from pg_stats
            where schemaname = (select nspname from pg_namespace where oid = relnamespace)
                and tablename = relname and attname = {key_name} and not inherited) as bounds
    from (select oid, relname, relnamespace, reltuples, relpages, relallvisible,
            coalesce(pg_relation_size(oid), 0) / current_setting('block_size')::float8 as size
        from pg_class where oid = to_regclass({table_name})) as class";

/// How a table can be read.
pub(super) struct Facts {
    /// The ranges of all keys, in their order; none if there is no row.
    pub(super) ranges: Vec<RangeInclusive<i64>>,
    /// Whether there is an index that has all that is needed of a row, and most rows need no look at the table.
    pub(super) index_only: bool,
}

/// Asks about a dataset's own table, of which these columns are needed.
pub(super) fn facts(
    connection: &mut libpq::Connection,
    table: &Table,
    columns: &[&str],
) -> Result<Facts, libpq::Error> {
    let literals: Vec<String> = columns.iter().map(|name| quoted(name, '\'')).collect();
    let sql = FACTS
        .replace("{key}", &quoted(table.key, '"'))
        .replace("{key_name}", &quoted(table.key, '\''))
        .replace("{table}", &table.name)
        .replace("{table_name}", &quoted(&table.name, '\''))
        .replace("{columns}", &literals.join(", "))
        .replace("{count}", &columns.len().to_string())
        .replace("{few_pages}", &FEW_PAGES.to_string());
    let facts = connection.query_row(&sql)?.unwrap_or_default();
    let (Some(first), Some(last)) = (facts.read("first"), facts.read("last")) else {
        return Ok(Facts {
            ranges: Vec::new(),
            index_only: true,
        });
    };
    let bounds = facts.get("bounds").unwrap_or_default().split(' ');
    let bounds: Vec<i64> = bounds.filter_map(|bound| bound.parse().ok()).collect();
    Ok(Facts {
        ranges: divide(first, last, facts.read("rows").unwrap_or(0.0), &bounds),
        index_only: facts.is("index_only"),
    })
}

/// A name of the program's own in SQL: `'` makes a text of it, `"` an identifier.
fn quoted(name: &str, quote: char) -> String {
    let doubled = name.replace(quote, &format!("{quote}{quote}"));
    format!("{quote}{doubled}{quote}")
}

/// Divides the ids from `first` to `last`. Where `bounds` are old, some ranges have more rows and some have fewer, but
/// together the ranges always have every id once.
fn divide(first: i64, last: i64, rows: f64, bounds: &[i64]) -> Vec<RangeInclusive<i64>> {
    let end = i128::from(last) + 1;
    let inner = || {
        bounds
            .iter()
            .filter(|bound| (first..=last).contains(bound))
            .map(|bound| i128::from(*bound))
    };
    let edges: Vec<i128> = std::iter::once(i128::from(first))
        .chain(inner())
        .chain([end])
        .collect();
    let known = match bounds {
        [lowest, .., highest] => i128::from(*lowest)..i128::from(*highest),
        _ => 0..0,
    };
    let density = rows / (known.end - known.start).max(1) as f64;

    let mut starts = Vec::new();
    let mut filled = f64::INFINITY;
    for edge in edges.windows(2) {
        let (start, end) = (edge[0], edge[1]);
        let rows = if known.is_empty() {
            rows
        } else if known.contains(&start) {
            rows / (bounds.len() - 1) as f64
        } else {
            // Newer than the histogram: as dense as the rest, but how many there are at most is known.
            rows.min(density * (end - start) as f64)
        };
        let pieces = (rows / ROWS)
            .ceil()
            .clamp(1.0, 1e6)
            .min((end - start) as f64) as i128;
        for piece in 0..pieces {
            if filled >= ROWS {
                starts.push(start + (end - start) * piece / pieces);
                filled = 0.0;
            }
            filled += rows / pieces as f64;
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
        let ranges = divide(first, last, rows, bounds);
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
    fn without_a_histogram_ranges_are_equally_wide() {
        assert_eq!(check(1, 100_000, 1e5, &[]).len(), 10);
        assert_eq!(check(i64::MIN, i64::MAX, 1e5, &[]).len(), 10);
    }
}
