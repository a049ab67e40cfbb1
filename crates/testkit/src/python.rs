//! What the tests run from Python.

use std::path::Path;
use std::process::Command;

/// A program of the Python environment that `make setup-python` makes, without the settings of whoever runs the tests.
pub fn tool(name: &str) -> Command {
    let path = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../target/python/bin"
    ))
    .join(name);
    assert!(
        path.exists(),
        "{} is not there: run `make setup-python`",
        path.display()
    );
    let mut command = Command::new(path);
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if ["PYTHON", "SCHEMATHESIS_", "DJANGO_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            command.env_remove(&variable);
        }
    }
    command
}
