//! Imports a result. Anybody may have written it: what can be computed is computed anew, and all else is bounded.

use std::collections::HashSet;

use serde_json::Value;

use super::MAX_RUNS;
use super::environment::Environment;
use super::result::{Figures, Imported, Report, Spread, StrategyResult};
use crate::export::Strategy;

/// Bytes of a result: with the most runs that may be asked for it has less than one and a half million.
pub const MAX_BYTES: usize = 2 << 20;
/// Characters of the machine's name.
pub const MAX_NAME: usize = 60;
/// Characters of any other text.
const MAX_TEXT: usize = 300;
/// Settings, tables, plans of a strategy.
const MAX_LIST: usize = 100;
/// Samples of a run's memory; runs of today have a hundred.
const MAX_SAMPLES: usize = 1_000;
/// Beyond what anybody waits for, or has; and small enough that no computation overflows.
const MAX_SECONDS: f64 = 1e9;
const MAX_COUNT: u64 = 1 << 53;

/// Why it is not a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidReport(String);

/// The result in `json`, as `cmms-export bench --json` writes it, or as the service returns a benchmark. `date` is now;
/// `machine` is the name that the importing user gave to the machine.
pub fn read(json: &[u8], machine: Option<&str>, date: String) -> Result<Report, InvalidReport> {
    if json.len() > MAX_BYTES {
        return invalid(format!("more than {MAX_BYTES} bytes"));
    }
    let value: Value =
        serde_json::from_slice(json).or_else(|error| invalid(format!("no JSON: {error}")))?;
    // A benchmark of the service has its result in it.
    let value = match value {
        Value::Object(mut fields) if fields.contains_key("state") => {
            fields.remove("result").unwrap_or_default()
        }
        value => value,
    };
    if value.is_null() {
        return invalid("a benchmark that has no result");
    }
    let report: Report = serde_path_to_error::deserialize(value)
        .or_else(|error| invalid(format!("no benchmark's result: {error}")))?;
    let mut report = checked(report)?;
    let name = machine.map(str::trim).filter(|name| !name.is_empty());
    text("name", name.unwrap_or_default(), MAX_NAME)?;
    let machine = name.or(report.environment.processor.as_deref());
    report.imported = Some(Imported {
        date,
        machine: machine.unwrap_or("another machine").to_owned(),
    });
    Ok(report)
}

fn invalid<T>(reason: impl Into<String>) -> Result<T, InvalidReport> {
    Err(InvalidReport(reason.into()))
}

fn checked(report: Report) -> Result<Report, InvalidReport> {
    environment(&report.environment)?;
    if !(1..=MAX_RUNS).contains(&report.runs) {
        return invalid(format!("`runs`: not between 1 and {MAX_RUNS}"));
    }
    let is_size = |rows: u64| (1..=i64::MAX as u64).contains(&rows);
    if !report.rows_limit.is_none_or(is_size) {
        return invalid("`rows_limit`: 1 at least");
    }
    let known = Strategy::all().len();
    let is_round = |round: &Vec<Strategy>| round.len() <= known;
    if report.order.len() > MAX_RUNS as usize || !report.order.iter().all(is_round) {
        return invalid("`order`: more rounds or strategies than there can be");
    }
    let mut seen = HashSet::new();
    if !report
        .results
        .iter()
        .all(|result| seen.insert(result.strategy.name()))
    {
        return invalid("`results`: a strategy is there twice");
    }
    if report.figures().next().is_none() {
        return invalid("`results`: nothing was measured");
    }
    let results = report
        .results
        .into_iter()
        .map(|result| strategy_result(result, report.runs as usize))
        .collect::<Result<_, _>>()?;
    Ok(Report { results, ..report }.compared())
}

fn environment(environment: &Environment) -> Result<(), InvalidReport> {
    let Environment {
        date,
        version,
        commit,
        compiler,
        profile,
        processor,
        cores,
        memory_bytes,
        kernel,
        postgresql,
        settings,
        tables,
    } = environment;
    // Results are sorted by it.
    let is_date = date.len() == 20
        && date
            .bytes()
            .zip(*b"0000-00-00T00:00:00Z")
            .all(|(byte, pattern)| {
                if pattern == b'0' {
                    byte.is_ascii_digit()
                } else {
                    byte == pattern
                }
            });
    if !is_date {
        return invalid("`environment.date`: not as in 2026-11-22T14:16:26Z");
    }
    if settings.len() > MAX_LIST || tables.len() > MAX_LIST {
        return invalid(format!(
            "`environment`: more than {MAX_LIST} settings or tables"
        ));
    }
    let optional = [commit, compiler, processor].into_iter().flatten();
    let texts = [version, profile, kernel, postgresql].into_iter();
    let names = settings.iter().flat_map(|(name, value)| [name, value]);
    let tables = tables.iter().map(|table| &table.name);
    for given in texts.chain(optional).chain(names).chain(tables) {
        text("environment", given, MAX_TEXT)?;
    }
    counts("environment", [*cores as u64, memory_bytes.unwrap_or(0)])
}

fn strategy_result(result: StrategyResult, runs: usize) -> Result<StrategyResult, InvalidReport> {
    let name = result.strategy.name();
    let figures = match (&result.error, result.figures) {
        (Some(error), None) => {
            text(name, error, MAX_TEXT)?;
            None
        }
        (None, Some(figures)) => Some(self::figures(name, figures, runs)?),
        // Figures that are not understood are read as none.
        _ => {
            return invalid(format!(
                "`{name}`: not all figures are there, and no error is"
            ));
        }
    };
    Ok(StrategyResult { figures, ..result })
}

/// The same figures, of which each spread is computed anew from its single values.
fn figures(name: &str, given: Figures, runs: usize) -> Result<Figures, InvalidReport> {
    let seconds = |spread: Spread<f64>| {
        let are_times = |seconds: &f64| (0.0..=MAX_SECONDS).contains(seconds);
        if spread.runs.len() != runs || !spread.runs.iter().all(are_times) {
            return invalid(format!("`{name}`: not {runs} times in seconds"));
        }
        Spread::of(spread.runs, f64::midpoint).map_or_else(|| invalid("no runs"), Ok)
    };
    let bytes = |spread: Spread<u64>| {
        counts(name, spread.runs.iter().copied())?;
        if spread.runs.len() != runs {
            return invalid(format!("`{name}`: not {runs} sizes in bytes"));
        }
        Spread::of(spread.runs, u64::midpoint).map_or_else(|| invalid("no runs"), Ok)
    };
    counts(name, [given.rows, given.bytes])?;
    if given.sha256.len() != 64 || !given.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return invalid(format!("`{name}`: `sha256` is none"));
    }
    if given.plans.len() > MAX_LIST {
        return invalid(format!("`{name}`: more than {MAX_LIST} plans"));
    }
    for because in given
        .plans
        .iter()
        .filter_map(|plan| plan.because.as_deref())
    {
        text(name, because, MAX_TEXT)?;
    }
    let curves = &given.memory_curves;
    if curves.len() != runs || curves.iter().any(|curve| curve.len() > MAX_SAMPLES) {
        return invalid(format!(
            "`{name}`: not {runs} curves of {MAX_SAMPLES} samples at most"
        ));
    }
    for sample in curves.iter().flatten() {
        counts(name, [sample.1])?;
        if !(0.0..=MAX_SECONDS).contains(&sample.0) {
            return invalid(format!("`{name}`: a sample is of no time"));
        }
    }
    let total = seconds(given.seconds)?;
    if total.min <= 0.0 {
        return invalid(format!("`{name}`: a run took no time"));
    }
    Ok(Figures {
        rows_per_second: given.rows as f64 / total.median,
        seconds: total,
        first_byte_seconds: seconds(given.first_byte_seconds)?,
        peak_memory_bytes: bytes(given.peak_memory_bytes)?,
        memory_increase_bytes: bytes(given.memory_increase_bytes)?,
        cpu_seconds: seconds(given.cpu_seconds)?,
        database_cpu_seconds: given.database_cpu_seconds.map(seconds).transpose()?,
        ..given
    })
}

fn counts(name: &str, counts: impl IntoIterator<Item = u64>) -> Result<(), InvalidReport> {
    if counts.into_iter().all(|count| count <= MAX_COUNT) {
        Ok(())
    } else {
        invalid(format!("`{name}`: a number is larger than {MAX_COUNT}"))
    }
}

fn text(name: &str, text: &str, longest: usize) -> Result<(), InvalidReport> {
    if text.chars().count() > longest || text.chars().any(char::is_control) {
        return invalid(format!(
            "`{name}`: a text is longer than {longest} characters, or has a control character"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bench::result;

    fn given() -> Value {
        let mut report = result::report(&[
            (Strategy::Paged, &[4.0, 12.0]),
            (Strategy::Copy, &[1.0, 3.0]),
        ]);
        report.environment.date = "2026-11-22T14:16:26Z".to_owned();
        report.environment.processor = Some("A processor".to_owned());
        serde_json::to_value(report).unwrap_or_default()
    }

    fn import(value: &Value, machine: Option<&str>) -> Result<Report, String> {
        let json = value.to_string();
        read(json.as_bytes(), machine, "now".to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_result_is_read_by_itself_and_as_the_service_gives_it() {
        let alone = import(&given(), None);
        let machine = |report: &Result<Report, String>| {
            let report = report.as_ref().map_err(Clone::clone);
            report.map(|report| report.imported.as_ref().map(|from| from.machine.clone()))
        };
        assert_eq!(machine(&alone), Ok(Some("A processor".to_owned())));
        let benchmark = json!({"id": "x", "state": "complete", "error": null, "result": given()});
        assert_eq!(import(&benchmark, None), alone);
        let named = import(&given(), Some(" the old one "));
        assert_eq!(machine(&named), Ok(Some("the old one".to_owned())));
    }

    #[test]
    fn what_follows_from_the_single_values_is_not_believed() {
        let mut boasting = given();
        let copy = &mut boasting["results"][1];
        copy["seconds"]["median"] = json!(0.001);
        copy["ratio_to_fastest"] = json!(0.1);
        copy["rows_per_second"] = json!(1e9);
        boasting["same_bytes"] = json!(false);
        boasting["imported"] = json!({"date": "never", "machine": "mine"});
        assert_eq!(import(&boasting, None), import(&given(), None));
    }

    #[test]
    fn what_is_no_result_is_refused_with_a_reason() {
        let long = "x".repeat(MAX_TEXT + 1);
        for (path, value, reason) in [
            ("/runs", json!(0), "`runs`: not between 1 and 100"),
            ("/runs", json!(3), "not 3 "),
            ("/runs", json!("two"), "runs: invalid type"),
            ("/rows_limit", json!(0), "`rows_limit`"),
            ("/results", json!([]), "nothing was measured"),
            ("/results/0/strategy", json!("copy"), "twice"),
            (
                "/results/0/strategy",
                json!("fast"),
                "unknown variant `fast`",
            ),
            (
                "/results/0/seconds",
                json!("fast"),
                "`paged`: not all figures",
            ),
            (
                "/results/0/error",
                json!("and figures"),
                "`paged`: not all figures",
            ),
            (
                "/results/0/seconds/runs",
                json!([1.0]),
                "`paged`: not 2 times",
            ),
            (
                "/results/0/seconds/runs",
                json!([1.0, -1.0]),
                "`paged`: not 2 times",
            ),
            (
                "/results/0/seconds/runs",
                json!([1.0, 1e300]),
                "`paged`: not 2 times",
            ),
            ("/results/0/seconds/runs", json!([1.0, 0.0]), "took no time"),
            (
                "/results/0/peak_memory_bytes/runs",
                json!([1]),
                "not 2 sizes",
            ),
            ("/results/0/rows", json!(u64::MAX), "larger than"),
            ("/results/0/sha256", json!("<script>"), "`sha256`"),
            ("/results/0/memory_curves", json!([]), "not 2 curves"),
            (
                "/results/0/memory_curves/0/0",
                json!([-1.0, 1]),
                "of no time",
            ),
            (
                "/environment/date",
                json!("yesterday"),
                "`environment.date`",
            ),
            ("/environment/kernel", json!(long), "longer than 300"),
            ("/environment/kernel", json!("a\u{0}"), "control character"),
        ] {
            let mut bad = given();
            *bad.pointer_mut(path).unwrap_or(&mut Value::Null) = value;
            if path == "/results/0/error" {
                bad["results"][0]["error"] = json!("and figures");
            }
            let error = import(&bad, None).err().unwrap_or_default();
            assert!(error.contains(reason), "{path}: {error}");
        }
        for (json, reason) in [
            ("", "no JSON"),
            ("[1", "no JSON"),
            ("[]", "no benchmark's result"),
            ("{}", "no benchmark's result: missing field"),
            ("null", "has no result"),
            (r#"{"state": "cancelled", "result": null}"#, "has no result"),
        ] {
            let error = read(json.as_bytes(), None, String::new()).err();
            let error = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(reason), "{json}: {error}");
        }
        assert!(import(&given(), Some(&"x".repeat(61))).is_err());
        assert!(read(&vec![b' '; MAX_BYTES + 1], None, String::new()).is_err());
    }
}
