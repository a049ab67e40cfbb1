//! What the environment says beside the flags' own variables: credentials from systemd, and names that mean nothing.

use std::env;
use std::ffi::OsString;
use std::path::Path;

use clap::builder::ArgPredicate;
use clap::{Command, CommandFactory, FromArgMatches};

use super::Cli;

/// How all of our variables begin.
const PREFIX: &str = "CMMS_";

/// How alike two names must be for one to be taken for a misspelling of the other, as clap has it for flags.
const ALIKE: f64 = 0.7;

impl Cli {
    /// Reads the command line and the environment; ends the process if they are wrong.
    pub fn read() -> Self {
        let credentials = env::var_os("CREDENTIALS_DIRECTORY");
        let command = with_credentials(Self::command(), credentials);
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }
}

/// Makes the credentials that systemd has put into this directory (`LoadCredential=`) the defaults of the flags that name such files.
fn with_credentials(command: Command, directory: Option<OsString>) -> Command {
    let credential = |name: &str| {
        let path = Path::new(directory.as_ref()?).join(name);
        // One that cannot be looked at is an error when it is read, and not the same as none.
        path.try_exists().unwrap_or(true).then_some(path)
    };
    let with_default = |command: Command, flag: &'static str, value: &'static str, name: &str| {
        let Some(path) = credential(name) else {
            return command;
        };
        command.mut_arg(flag, |argument| {
            let argument = argument.default_value(path.into_os_string());
            argument.default_value_if(value, ArgPredicate::IsPresent, None)
        })
    };
    with_default(command, "database_url_file", "database_url", "database-url")
        .mut_subcommand("serve", |serve| {
            with_default(serve, "auth_token_file", "auth_token", "auth-token")
        })
}

/// A variable that begins as ours do, but is none.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownVariable {
    /// Its name.
    pub name: String,
    /// The one of ours that is most like it.
    pub meant: Option<String>,
}

/// Returns the variables of the environment that begin as ours do, but are none: misspelled, they would be ignored without a word.
pub fn unknown_variables() -> Vec<UnknownVariable> {
    unknown(env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()))
}

fn unknown(names: impl Iterator<Item = String>) -> Vec<UnknownVariable> {
    let known = variables(&Cli::command());
    let nearest = |name: &str| {
        let alike = |known: &str| strsim::jaro(&known[PREFIX.len()..], &name[PREFIX.len()..]);
        let ours = known.iter().filter(|known| known.starts_with(PREFIX));
        ours.map(|known| (alike(known), known))
            .filter(|(alike, _)| *alike > ALIKE)
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .map(|(_, known)| known.clone())
    };
    names
        .filter(|name| name.starts_with(PREFIX) && !known.contains(name))
        .map(|name| UnknownVariable {
            meant: nearest(&name),
            name,
        })
        .collect()
}

/// The variables of a command's flags and of its subcommands'.
fn variables(command: &Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(clap::Arg::get_env);
    let own = own.map(|name| name.to_string_lossy().into_owned());
    let all = own.chain(command.get_subcommands().flat_map(variables));
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_variable_is_told_with_the_right_name() {
        let names = [
            "CMMS_AUTH_TOKN",
            "CMMS_MAX_EXPORT",
            "CMMS_ZZZ",
            "CMMS_BIND",
            "CMMS_JSON",
            "PATH",
            "DATABASE_URL",
        ];
        let found = unknown(names.map(str::to_owned).into_iter());
        let found: Vec<_> = found
            .iter()
            .map(|unknown| (unknown.name.as_str(), unknown.meant.as_deref()))
            .collect();
        assert_eq!(
            found,
            [
                ("CMMS_AUTH_TOKN", Some("CMMS_AUTH_TOKEN")),
                ("CMMS_MAX_EXPORT", Some("CMMS_MAX_EXPORTS")),
                ("CMMS_ZZZ", None),
            ]
        );
    }
}
