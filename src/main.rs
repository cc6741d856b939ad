//! The `mailroom` program: everything is in the library, see [`mailroom::cli`].

fn main() -> std::process::ExitCode {
    mailroom::cli::main()
}
