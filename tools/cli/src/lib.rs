// SPDX-License-Identifier: GPL-2.0

//! How the programs begin, write to standard output, and end.
//!
//! `println!` panics if standard output cannot be written. Here that is an error like any other. It
//! is not reported to a user who has closed the pipe: `daxmf stack list | head -n 1`.

use std::env;
use std::error::Error;
use std::fmt::{self, Display};
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;
use clap_complete::Shell;

/// The variable of the environment that names a shell: the program prints the completion of its
/// arguments for that shell, and does nothing else. clap_complete uses the same name.
const COMPLETE: &str = "COMPLETE";

/// Standard output cannot be written.
#[derive(Debug)]
pub struct Unwritten(io::Error);

impl Unwritten {
    /// Whether nobody reads it any more.
    fn is_unread(&self) -> bool {
        self.0.kind() == ErrorKind::BrokenPipe
    }
}

impl Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "standard output: {}", self.0)
    }
}

impl Error for Unwritten {}

/// Writes a line to standard output.
///
/// # Errors
///
/// - [`Unwritten`] if that is not possible.
pub fn print(line: impl Display) -> Result<(), Unwritten> {
    writeln!(io::stdout(), "{line}").map_err(Unwritten)
}

/// Writes a line to standard error. Where that is not possible, nothing else is left to write to.
pub fn warn(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Parses the arguments, and calls `act` with them, which returns the exit code.
///
/// Errors are reported on standard error. The exit code is `failure` then, and `usage` if the
/// arguments are wrong.
pub fn run<A: Parser>(
    failure: u8,
    usage: u8,
    act: impl FnOnce(A) -> Result<u8, Box<dyn Error>>,
) -> ExitCode {
    if let Ok(shell) = env::var(COMPLETE) {
        return match shell.parse() {
            Ok(shell) => print_completion::<A>(shell).map_or(failure, |()| 0).into(),
            Err(error) => {
                warn(format_args!("{COMPLETE}={shell}: {error}"));
                usage.into()
            }
        };
    }
    let result = match A::try_parse() {
        Ok(arguments) => act(arguments),
        Err(error) if error.use_stderr() => {
            let _ = error.print();
            return usage.into();
        }
        // The help, or the version.
        Err(text) => text
            .print()
            .map(|()| 0)
            .map_err(|error| Unwritten(error).into()),
    };

    result
        .unwrap_or_else(|error| {
            if !error.downcast_ref().is_some_and(Unwritten::is_unread) {
                warn(format_args!("{}: {error}", A::command().get_name()));
            }
            failure
        })
        .into()
}

fn print_completion<A: Parser>(shell: Shell) -> io::Result<()> {
    let mut command = A::command();
    let name = command.get_name().to_owned();
    let mut completion = Vec::new();

    clap_complete::generate(shell, &mut command, name, &mut completion);
    io::stdout().write_all(&completion)
}
