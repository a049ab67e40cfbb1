//! The tables of flags in `docs/command-line.md`.

use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory};

use crate::cli::Cli;

/// Returns a section for each command, with a table of its flags.
fn reference() -> String {
    let mut cli = Cli::command();
    cli.build();
    let every = format!("### Every command\n\n{}", table(&cli, true));
    [every].into_iter().chain(sections(&cli, "")).collect()
}

/// Returns a section for each subcommand that has none itself.
fn sections(cli: &Command, before: &str) -> Vec<String> {
    let commands = cli
        .get_subcommands()
        .filter(|command| !command.is_hide_set() && command.get_name() != "help");
    let sections = commands.flat_map(|command| {
        let name = format!("{before}{}", command.get_name());
        if command.has_subcommands() {
            return sections(command, &format!("{name} "));
        }
        let operands: String = command
            .get_positionals()
            .map(|operand| format!(" {operand}"))
            .collect();
        vec![format!(
            "### `{name}{operands}`\n\n{}.\n\n{}",
            text(command.get_about()),
            table(command, false)
        )]
    });
    sections.collect()
}

/// Returns a table of the flags and operands: the command's own, or those of every command. It is empty if there are none.
fn table(command: &Command, of_every_command: bool) -> String {
    let rows: String = command
        .get_arguments()
        .filter(|argument| argument.is_global_set() == of_every_command)
        .filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
        .map(row)
        .collect();
    if rows.is_empty() {
        return rows;
    }
    format!("| flag | variable | default | |\n|---|---|---|---|\n{rows}\n")
}

fn row(argument: &Arg) -> String {
    let flag = code(&argument.to_string());
    let short = argument
        .get_short()
        .map(|short| format!(", `-{short}`"))
        .unwrap_or_default();
    let variable = argument
        .get_env()
        .map(|name| code(&name.to_string_lossy()))
        .unwrap_or_default();

    // The help ends with a default that clap cannot know, as in `[default: all]`.
    let help = text(argument.get_help());
    let (help, told) = match help.split_once(" [default: ") {
        Some((help, default)) => (help.to_owned(), default.trim_end_matches(']').to_owned()),
        None => (help, String::new()),
    };
    let known: Vec<String> = argument
        .get_default_values()
        .iter()
        .map(|value| code(&value.to_string_lossy()))
        .collect();
    let takes_value = argument.get_action().takes_values();
    let default = if takes_value && !known.is_empty() {
        known.join(", ")
    } else {
        told
    };

    let values = argument.get_possible_values();
    let values: Vec<String> = values
        .iter()
        .filter(|_| takes_value)
        .map(|value| match value.get_help() {
            Some(help) => format!("{}: {}", code(value.get_name()), text(Some(help))),
            None => code(value.get_name()),
        })
        .collect();
    let help = match values.is_empty() {
        true => help,
        false => format!("{help}. {}", values.join("; ")),
    };
    let cells = [format!("{flag}{short}"), variable, default, help];
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | "))
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn text(text: Option<&StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.trim_end_matches('.').to_owned()
}

#[test]
fn the_documented_flags_are_those_of_the_program() {
    super::check("command-line.md", "flags", &reference());
}
