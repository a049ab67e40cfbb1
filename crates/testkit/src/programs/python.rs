//! Programs of the tests' Python environment.

use std::path::Path;
use std::process::Command;

/// A program of the environment that `make setup-python` creates, without the settings of the user who runs the tests.
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
