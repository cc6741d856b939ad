//! `mailroom man`: the manual page on stdout, one page for all commands.

use std::io::Write;

use clap::Args;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::Exit;

/// `man`
#[derive(Debug, Args)]
pub struct Arguments {}

/// Runs it.
pub fn run(_: Arguments) -> anyhow::Result<Exit> {
    std::io::stdout().write_all(&page()?)?;
    Ok(Exit::Done)
}

/// The page: the program, then each command with its options, then the files.
fn page() -> std::io::Result<Vec<u8>> {
    let mut line = super::command_line();
    line.build();
    let mut page = Vec::new();
    let main = Man::new(line.clone());
    main.render_title(&mut page)?;
    main.render_name_section(&mut page)?;
    main.render_synopsis_section(&mut page)?;
    main.render_description_section(&mut page)?;
    main.render_options_section(&mut page)?;
    for command in line.get_subcommands().filter(|command| command.get_name() != "help") {
        commands(command, &mut page)?;
    }
    let mut files = Roff::default();
    files.control("SH", ["FILES"]);
    for (file, what) in [
        ("mailroom.toml", "where mail comes from and where it leaves; found by --config, $MAILROOM_CONFIG, here, or in /etc/mailroom"),
        ("mappings/*.toml", "beside it: whose mail is whose"),
        ("/var/lib/mailroom", "the store, unless storage.path says otherwise"),
    ] {
        files.control("TP", []).text([roman(file)]).text([roman(what)]);
    }
    files.control("SH", ["EXIT STATUS"]);
    files.text([roman("0: done. 1: something failed, and was said on stderr. 2: usage or configuration.")]);
    files.to_writer(&mut page)?;
    Ok(page)
}

/// A section for a command, with its own commands below it.
fn commands(command: &clap::Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    let mut head = Roff::default();
    let name = command.get_bin_name().unwrap_or(command.get_name());
    head.control("SH", [name.to_uppercase().as_str()]);
    head.to_writer(page)?;
    // The options of all commands stand at the head of the page.
    let own = command.clone().mut_args(|argument| {
        let said = matches!(argument.get_id().as_str(), "config" | "verbose" | "help" | "version");
        argument.hide(said)
    });
    let man = Man::new(own);
    let mut body = Vec::new();
    man.render_synopsis_section(&mut body)?;
    man.render_description_section(&mut body)?;
    man.render_options_section(&mut body)?;
    // A command's sections become parts of its own.
    page.extend(String::from_utf8_lossy(&body).replace(".SH ", ".SS ").into_bytes());
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        commands(inner, page)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_command() {
        let page = String::from_utf8(page().unwrap()).unwrap();
        for command in super::super::command_line().get_subcommands() {
            assert!(page.contains(&format!("MAILROOM {}", command.get_name().to_uppercase())), "{}", command.get_name());
        }
    }
}
