//! The tables of routes and problems in `docs/http.md`.

use diesel_export_actix::problem::Kind;
use diesel_export_actix::routes::{Route, routes};
use strum::IntoEnumIterator as _;

use crate::{benchmark, datasets};

/// Returns the table of routes. Those of a dataset stand there once, for the default one.
fn routes_table() -> String {
    let catalog = datasets::catalog();
    let name = catalog.default().name();
    let rows: String = routes(&catalog, benchmark::routes())
        .iter()
        .filter(|route| route.dataset().is_none_or(|dataset| dataset == name))
        .filter_map(row)
        .collect();
    let others: Vec<String> = catalog
        .all()
        .filter(|dataset| *dataset != catalog.default())
        .map(|dataset| format!("`{}`", dataset.name()))
        .collect();
    format!(
        "| methods | path | |\n|---|---|---|\n{rows}\nEach path with `{name}` is also there for {}.\n",
        others.join(", ")
    )
}

/// Returns the row of a route, unless it is a file that belongs to a page.
fn row(route: &Route) -> Option<String> {
    let summary = route.summary()?;
    let summary = summary.trim_end_matches('.');
    let methods = route.methods().join(", ");
    Some(format!("| {methods} | `{}` | {summary} |\n", route.path))
}

/// Returns the table of problems, by status and name.
fn problems_table() -> String {
    let own = benchmark::PROBLEMS.into_iter().map(Kind::Application);
    let mut kinds: Vec<Kind> = Kind::iter().chain(own).collect();
    kinds.sort_by_key(|kind| (kind.parts().0.as_u16(), kind.name()));
    kinds.dedup_by_key(|kind| kind.name());
    let rows: String = kinds
        .into_iter()
        .map(|kind| {
            let (status, title) = kind.parts();
            let status = status.as_u16();
            let retry = kind.retry_after().map_or("", |_| "yes ");
            format!("| {status} | `{}` | {title} | {retry}|\n", kind.name())
        })
        .collect();
    format!("| status | type | title | `Retry-After` |\n|---:|---|---|---|\n{rows}")
}

#[test]
fn the_documented_routes_are_those_of_the_service() {
    super::check("http.md", "routes", &routes_table());
}

#[test]
fn the_documented_problems_are_those_of_the_service() {
    super::check("http.md", "problems", &problems_table());
}
