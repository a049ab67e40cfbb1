//! What the server's planner expects of a query.

use serde::Deserialize;

use super::ranges::identifier;
use crate::db::libpq;

/// What the server's planner expects of a query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) rows: f64,
    /// Bytes of a row.
    pub(super) width: f64,
    /// The planner's cost of all rows.
    pub(super) cost: f64,
    /// Whether it joins anything.
    pub(super) joins: bool,
    /// The scan, if the rows come in the order of an index, without a sort.
    pub(super) scan: Option<Scan>,
}

/// Index scans that return the rows in order: of one table, or of each partition of one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scan {
    /// The tables that are read, as SQL names them. For a view, these are the tables behind it.
    pub(super) tables: Vec<String>,
    /// Whether the indexes have all that is needed of a row.
    pub(super) index_only: bool,
}

/// The planner's cost up to which the rows are found so fast that dividing the work does not pay: for a scan in the order of an
/// index, which can be divided, and for anything else, whose cost is mostly for reading from the disk what is in memory.
const CHEAP_SCAN: f64 = 2_500.0;
const CHEAP: f64 = 4_000.0;

/// A node of a plan, as `EXPLAIN (FORMAT JSON)` describes it.
#[derive(Deserialize)]
struct Node {
    #[serde(rename = "Node Type")]
    kind: String,
    #[serde(rename = "Schema")]
    schema: Option<String>,
    #[serde(rename = "Relation Name")]
    relation: Option<String>,
    #[serde(rename = "Total Cost")]
    cost: f64,
    #[serde(rename = "Plan Rows")]
    rows: f64,
    #[serde(rename = "Plan Width")]
    width: f64,
    #[serde(rename = "Plans", default)]
    nodes: Vec<Node>,
}

impl Node {
    /// Returns whether it is a join, or has one below it.
    fn joins(&self) -> bool {
        self.kind == "Nested Loop"
            || self.kind.ends_with("Join")
            || self.nodes.iter().any(Self::joins)
    }
}

#[derive(Deserialize)]
struct Plan {
    #[serde(rename = "Plan")]
    node: Node,
}

impl Estimate {
    pub(super) fn of(
        connection: &mut libpq::CopyConnection,
        sql: &str,
    ) -> Result<Self, libpq::Error> {
        let plan = connection.query_row(&format!("explain (verbose, format json) {sql}"))?;
        let plan = plan.unwrap_or_default();
        Ok(Self::read(
            plan.get("QUERY PLAN").flatten().unwrap_or_default(),
        ))
    }

    /// Returns whether the rows are found so fast that dividing the work does not pay.
    pub(super) fn is_cheap(&self) -> bool {
        let most = if self.scan.is_some() {
            CHEAP_SCAN
        } else {
            CHEAP
        };
        self.cost <= most
    }

    /// Reads a plan. One that it cannot read counts as infinitely many rows.
    pub(crate) fn read(plan: &str) -> Self {
        let plans: Option<Vec<Plan>> = serde_json::from_str(plan).ok();
        match plans.and_then(|mut plans| plans.pop()) {
            Some(Plan { node }) => Self {
                rows: node.rows,
                width: node.width,
                cost: node.cost,
                joins: node.joins(),
                scan: Scan::of(&node),
            },
            None => Self {
                rows: f64::INFINITY,
                width: f64::INFINITY,
                cost: f64::INFINITY,
                joins: true,
                scan: None,
            },
        }
    }
}

impl Scan {
    /// Returns the scan, if the plan is nothing else: its order can then only be that of the indexes.
    fn of(node: &Node) -> Option<Self> {
        match node.kind.as_str() {
            "Index Scan" | "Index Only Scan" => {
                let schema = identifier(node.schema.as_deref()?);
                Some(Self {
                    tables: vec![format!(
                        "{schema}.{}",
                        identifier(node.relation.as_deref()?)
                    )],
                    index_only: node.kind == "Index Only Scan",
                })
            }
            "Append" | "Merge Append" => {
                let parts: Option<Vec<Self>> = node.nodes.iter().map(Self::of).collect();
                let parts = parts.filter(|parts| !parts.is_empty())?;
                Some(Self {
                    index_only: parts.iter().all(|part| part.index_only),
                    tables: parts.into_iter().flat_map(|part| part.tables).collect(),
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(kind: &str, table: &str) -> String {
        format!(
            r#"{{"Node Type": "{kind}", "Schema": "public", "Relation Name": "{table}",
                "Total Cost": 2.5, "Plan Rows": 7, "Plan Width": 44, "Output": ["id"]}}"#
        )
    }

    fn over(kind: &str, nodes: &[String]) -> String {
        format!(
            r#"{{"Node Type": "{kind}", "Total Cost": 9, "Plan Rows": 14, "Plan Width": 44, "Plans": [{}]}}"#,
            nodes.join(", ")
        )
    }

    fn read(node: &str) -> Estimate {
        Estimate::read(&format!(r#"[{{"Plan": {node}}}]"#))
    }

    #[test]
    fn a_scan_of_an_index_is_in_its_order() {
        let estimate = read(&scan("Index Only Scan", "ta\\\"sks"));
        assert_eq!(
            (estimate.rows, estimate.width, estimate.cost),
            (7.0, 44.0, 2.5)
        );
        let expected = Scan {
            tables: vec![r#""public"."ta""sks""#.into()],
            index_only: true,
        };
        assert_eq!(estimate.scan, Some(expected));
    }

    #[test]
    fn scans_of_all_partitions_are_in_order_and_a_sort_is_none() {
        let one = scan("Index Only Scan", "one");
        let two = scan("Index Scan", "two");
        for kind in ["Append", "Merge Append"] {
            let expected = Scan {
                tables: vec![r#""public"."one""#.into(), r#""public"."two""#.into()],
                index_only: false,
            };
            let estimate = read(&over(kind, &[one.clone(), two.clone()]));
            assert_eq!(estimate.scan, Some(expected), "{kind}");
        }
        let sort = over("Sort", std::slice::from_ref(&one));
        assert_eq!(read(&sort).scan, None);
        assert_eq!(read(&over("Append", &[one, sort])).scan, None);
        assert_eq!(read(&over("Append", &[])).scan, None);
    }

    #[test]
    fn a_join_is_found_wherever_it_is() {
        let books = scan("Seq Scan", "books");
        assert!(!read(&books).joins);
        for kind in ["Hash Join", "Merge Join", "Nested Loop"] {
            let join = over(kind, std::slice::from_ref(&books));
            assert!(read(&over("Sort", &[join])).joins, "{kind}");
        }
    }

    #[test]
    fn what_is_no_plan_has_too_many_rows() {
        let estimate = Estimate::read("");
        assert!(estimate.joins && !estimate.is_cheap());
        assert_eq!((estimate.rows, estimate.scan), (f64::INFINITY, None));
    }

    #[test]
    fn a_scan_in_order_is_cheap_up_to_less_than_another_plan() {
        let is_cheap = |kind: &str, cost: f64| {
            let estimate = read(&scan(kind, "books"));
            Estimate { cost, ..estimate }.is_cheap()
        };
        for (kind, most) in [("Index Scan", CHEAP_SCAN), ("Seq Scan", CHEAP)] {
            assert!(
                is_cheap(kind, most) && !is_cheap(kind, most + 1.0),
                "{kind}"
            );
        }
    }
}
