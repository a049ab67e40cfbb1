//! `cmms-export access`: who may see what.

use std::path::Path;
use std::sync::Arc;

use cmms_export::cli::{Access, AccessCheck, AccessCommand, Global};
use cmms_export::database::datasets_file;
use cmms_export::datasets;
use diesel_export::dataset::Catalog;
use diesel_export_actix::AccessRules;

use super::{Outcome, print_line, require_own_database};

pub(crate) fn access(global: &Global, options: &Access) -> Outcome {
    match &options.command {
        AccessCommand::Check(options) => check(global, options),
    }
}

/// Reads the rules of an access file; the error names it.
pub(super) fn read_rules(path: &Path, catalog: &Catalog) -> Result<AccessRules, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    AccessRules::parse(&text, catalog).map_err(|error| failed(&error))
}

fn check(global: &Global, options: &AccessCheck) -> Outcome {
    let catalog = match &options.datasets.datasets {
        Some(file) => {
            require_own_database(global, "--datasets (CMMS_DATASETS)");
            datasets_file::open(file, global, 1)?.1.catalog().clone()
        }
        None => datasets::catalog(),
    };
    let rules = read_rules(&options.access_file, &catalog)?;
    let groups: Vec<&str> = options.group.iter().map(String::as_str).collect();
    let scope = rules.scope(&options.user, &groups).map(Arc::new);
    let seen = scope
        .as_ref()
        .map(|scope| catalog.scoped(scope))
        .transpose()?;
    let Some((scope, seen)) = scope.zip(seen.flatten()) else {
        return Err(format!("no rule is for {}: every request is refused", options.user).into());
    };
    print_line(&match scope.role() {
        Some(role) => format!("{} reads as the role {role}:", options.user),
        None => format!("{} reads as the role of DATABASE_URL:", options.user),
    })?;
    for dataset in seen.all() {
        let columns = dataset.columns().iter().map(|column| column.name());
        let columns: Vec<&str> = columns.collect();
        print_line(&format!("{}: {}", dataset.name(), columns.join(", ")))?;
    }
    Ok(())
}
