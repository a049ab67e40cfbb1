//! Writes the man pages and the shell completions of the package into a directory: `package-files DIR`.
#![expect(clippy::print_stdout, reason = "a program to run by hand")]

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;
use cmms_export::cli::Cli;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(
        std::env::args_os()
            .nth(1)
            .ok_or("usage: package-files DIR")?,
    );
    let man = directory.join("man");
    let completions = directory.join("completions");
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(Cli::command(), &man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "cmms-export", &completions)?;
    }
    println!("{}", directory.display());
    Ok(())
}
