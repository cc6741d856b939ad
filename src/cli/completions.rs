//! `mailroom completions SHELL`: a script on stdout that the shell reads.

use clap::Args;
use clap_complete::Shell;

use super::Exit;

/// `completions SHELL`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Whose completions
    shell: Shell,
}

/// Runs it.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    // Collected first: a shell that closes the pipe early is no reason to panic in the generator.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::command_line(), "mailroom", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(Exit::Done)
}
