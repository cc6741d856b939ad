//! The command line: one file a command, each an `Arguments` for clap and a `run`.
//!
//! What a command prints on stdout is its result (with `--json` one document and nothing else); logs, warnings and errors go to stderr.
//! Exit codes: 0 done, 1 something failed and was said on stderr, 2 usage or configuration.

mod absence;
mod always;
mod ask;
mod backup;
mod check;
mod completions;
mod demo;
mod explain;
mod fetch;
mod give;
mod init;
mod log;
mod man;
mod mapping;
mod oauth;
mod office;
mod planned;
mod queue;
mod remap;
mod rename;
mod run;
mod secret;
mod service;
pub mod show;
mod status;
mod trace;
mod tray;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::service::platform;

pub use office::{Office, config_file, configuration, store, store_of};

/// Fetches an office's mail from its ISP mailboxes, works out whom each message is for, serves it on the LAN and relays what people send.
#[derive(Debug, Parser)]
#[command(name = "mailroom", version, propagate_version = true, arg_required_else_help = true, max_term_width = 110)]
pub struct Mailroom {
    /// mailroom.toml; else $MAILROOM_CONFIG, ./mailroom.toml, /etc/mailroom/mailroom.toml (Windows: %ProgramData%\Mailroom\mailroom.toml)
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// More of the log on stderr (-vv: everything)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
enum Command {
    /// See it all work: a stand-in ISP, a small office and the real gateway between them, on loopback; leaves nothing behind
    Demo(demo::Arguments),
    /// Ask for the ISP mailbox, find its settings, test the log-in and write the files
    Init(init::Arguments),
    /// The gateway in the foreground; what the service runs
    Run(run::Arguments),
    /// Load every file and say what is wrong, shadowed, unreachable or dangerous
    Check(check::Arguments),
    /// Fetch now, and end
    Fetch(fetch::Arguments),
    /// Who would get this message and why, stage by stage; changes nothing
    Explain(explain::Arguments),
    /// Test the mapping, or compare it with another one
    Mapping(mapping::Arguments),
    /// Everything that ever happened to a message, in or out
    Trace(trace::Arguments),
    /// Mail that no mapping claims, and quarantine
    Tray(tray::Arguments),
    /// Hand a delivered mail to a colleague
    Give(give::Arguments),
    /// Run today's mapping over journaled mail and move what is in the wrong place
    Remap(remap::Arguments),
    /// Add, list and change users
    User(user::Arguments),
    /// A user's auto-reply
    Vacation(absence::Vacation),
    /// Copies of a user's mail for somebody else
    Copy(absence::Copy),
    /// Outgoing mail
    Queue(queue::Arguments),
    /// Encrypted passwords for collectors and smarthosts; never shown again
    Secret(secret::Arguments),
    /// Log in at a provider that wants OAuth
    Oauth(oauth::Arguments),
    /// Collectors, queue, tray, users and disk at a glance
    Status(status::Arguments),
    /// Bring mail or settings in from elsewhere
    Import(planned::Import),
    /// Take a user's mail out
    Export(planned::Export),
    /// A consistent copy of the store, while it runs
    Backup(backup::Backup),
    /// Bring a backup back into an empty store
    Restore(backup::Restore),
    /// Run at system start
    Service(service::Arguments),
    /// Completions for a shell, on stdout
    Completions(completions::Arguments),
    /// The manual page, on stdout
    Man(man::Arguments),
}

/// How a command ended that could say so itself; anything else is an `Err`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Done,
    /// 1; why was said on stderr.
    Failed,
    /// 2: usage or configuration; said on stderr.
    Configuration,
}

/// What every command gets: the global options.
#[derive(Debug, Clone)]
pub struct Global {
    /// `--config`
    pub config: Option<PathBuf>,
    /// How many `-v`.
    pub verbose: u8,
}

/// Parses the arguments, runs one command, returns its exit code.
pub fn main() -> ExitCode {
    let mut arguments = Mailroom::parse();
    let global = Global { config: arguments.config, verbose: arguments.verbose };
    if let Command::Run(run) = &mut arguments.command {
        run.confine(&global);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mailroom: the runtime does not start: {error}");
            return ExitCode::from(1);
        }
    };
    let result = runtime.block_on(perform(arguments.command, &global));
    // Reading a terminal or resolving a name may still block a thread; the process ends without waiting for it.
    runtime.shutdown_background();
    let code = match result {
        Ok(Exit::Done) => 0,
        Ok(Exit::Failed) => 1,
        Ok(Exit::Configuration) => 2,
        Err(error) => {
            let of_files = error.is::<crate::gateway::LoadError>();
            // Problems with files stand on lines of their own, so that editors can jump to their places.
            eprintln!("mailroom:{}{error:#}", if of_files { "\n" } else { " " });
            if of_files { 2 } else { 1 }
        }
    };
    platform::announce_end(code);
    ExitCode::from(code)
}

/// The whole command line as clap sees it, for completions and the manual page.
pub fn command_line() -> clap::Command {
    Mailroom::command()
}

async fn perform(command: Command, global: &Global) -> anyhow::Result<Exit> {
    match command {
        Command::Demo(arguments) => demo::run(arguments, global).await,
        Command::Init(arguments) => init::run(arguments, global).await,
        Command::Run(arguments) => run::run(arguments, global).await,
        Command::Check(arguments) => check::run(arguments, global).await,
        Command::Fetch(arguments) => fetch::run(arguments, global).await,
        Command::Explain(arguments) => explain::run(arguments, global).await,
        Command::Mapping(arguments) => mapping::run(arguments, global).await,
        Command::Trace(arguments) => trace::run(arguments, global).await,
        Command::Tray(arguments) => tray::run(arguments, global).await,
        Command::User(arguments) => user::run(arguments, global).await,
        Command::Queue(arguments) => queue::run(arguments, global).await,
        Command::Secret(arguments) => secret::run(arguments, global).await,
        Command::Oauth(arguments) => oauth::run(arguments, global).await,
        Command::Status(arguments) => status::run(arguments, global).await,
        Command::Service(arguments) => service::run(arguments, global).await,
        Command::Completions(arguments) => completions::run(arguments),
        Command::Man(arguments) => man::run(arguments),
        Command::Give(arguments) => give::run(arguments, global).await,
        Command::Remap(arguments) => remap::run(arguments, global).await,
        Command::Vacation(arguments) => absence::vacation(arguments, global).await,
        Command::Copy(arguments) => absence::copy(arguments, global).await,
        Command::Import(_) => planned::refuse("import"),
        Command::Export(_) => planned::refuse("export"),
        Command::Backup(arguments) => backup::run(arguments, global).await,
        Command::Restore(arguments) => backup::restore(arguments, global).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command_line().debug_assert();
    }

    /// The product page's table.
    #[test]
    fn every_promised_command_is_there() {
        let promised = "demo init run check fetch explain mapping trace tray give remap user vacation copy queue secret oauth status import \
                        export backup restore service completions man";
        let line = command_line();
        for name in promised.split_whitespace() {
            assert!(line.find_subcommand(name).is_some(), "{name}");
        }
    }
}
