use super::*;

/// Divides, and checks that the ranges follow one another from the first id to the last.
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

fn estimate(rows: f64, cost: f64) -> Estimate {
    Estimate {
        rows,
        width: 44.0,
        cost,
        ..Estimate::read("")
    }
}

#[test]
fn the_planners_rows_or_its_cost_say_how_many_ranges_there_are_at_least() {
    assert_eq!(fewest(&estimate(100_000.0, 0.0)), 10);
    assert_eq!(fewest(&estimate(100_001.0, 10_000.0)), 11);
    assert_eq!(fewest(&estimate(10.0, 12_001.0)), 13);
}

#[test]
fn dense_keys_are_divided_without_a_histogram() {
    let dense = |first: i64, keys: i64, rows| {
        let ends = (first, first + keys - 1);
        divide_dense(ends, &estimate(rows, 0.0)).map(|ranges| ranges.len())
    };
    for first in [1, -1_000_000] {
        assert_eq!(dense(first, 100_000, 80_000.0), Some(10));
        assert_eq!(dense(first, 100_000, 79_999.9), None);
    }
}

#[test]
fn facts_say_which_keys_there_are_and_how_many() {
    let of = |facts: &[(&str, &str)], rows| {
        let facts = facts.iter().copied().collect();
        let ranges = of_facts(&facts, &estimate(rows, 0.0));
        ranges
            .map(|ranges| (ranges.keys.len(), ranges.may_be_long))
            .ok()
    };
    let ends = [("first", "1"), ("last", "100000")];
    assert_eq!(of(&[], 7.0), Some((0, false)));
    assert_eq!(of(&[("first", "1"), ("last", "x")], 7.0), None);
    assert_eq!(of(&ends, 100_000.0), Some((10, false)));
    let facts = [&ends[..], &[("rows", "100000"), ("toast", "0")]].concat();
    assert_eq!(of(&facts, 7.0), Some((10, false)));
    // So many bytes beside the row's own 44 that half as many rows as usual make a range.
    let toast = (BYTES / 5_000.0 - 44.0).to_string();
    let facts = [&ends[..], &[("toast", &toast)]].concat();
    assert_eq!(of(&facts, 100_000.0), Some((20, true)));
}

#[test]
fn ids_beyond_the_histogram_count_as_equally_dense() {
    let old: Vec<i64> = (0..=100).map(|n| 1_000_000 + n * 100).collect();
    let ranges = check(1_000_000, 1_019_999, 1e5, &old);
    assert!((19..=21).contains(&ranges.len()), "{ranges:?}");
    assert_eq!(bounds("100 1 2"), [(1, 100.0), (2, 0.0)]);
    assert_eq!(bounds("100 1 11"), [(1, 10.0), (11, 0.0)]);
}

#[test]
fn few_rows_are_one_range() {
    assert_eq!(check(5, 5, 1.0, &[]), [5..=5]);
    assert_eq!(check(1, 10_500, 10_500.0, &[]).len(), 1);
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
    // There are new rows before and after it; then all of its rows are gone.
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
    for first in [0, 1] {
        assert_eq!(check(first, 99_999 + first, 1e5, &[]).len(), 10);
    }
    assert_eq!(check(i64::MIN, i64::MAX, 1e5, &[]).len(), 10);
}
