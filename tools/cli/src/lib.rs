// SPDX-License-Identifier: GPL-2.0

//! Start, output and exit codes of the programs.
//!
//! `println!` panics if standard output cannot be written. [`print`] returns an error instead.
//! [`run`] does not report this error if the reader has closed the pipe, as in
//! `daxmf stack list | head -n 1`.

use std::env;
use std::error::Error;
use std::fmt::{self, Display};
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;
use clap_complete::Shell;

/// An environment variable with the name of a shell. If it is set, the program only prints the
/// completion script for that shell. clap_complete uses the same variable.
const COMPLETE: &str = "COMPLETE";

/// Standard output could not be written.
#[derive(Debug)]
pub struct Unwritten(io::Error);

impl Unwritten {
    /// Whether the reader has closed the pipe.
    fn is_closed_pipe(&self) -> bool {
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
/// - [`Unwritten`] if the write fails.
pub fn print(line: impl Display) -> Result<(), Unwritten> {
    writeln!(io::stdout(), "{line}").map_err(Unwritten)
}

/// Writes a line to standard error. An error is ignored, because there is nowhere to report it.
pub fn warn(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Parses the arguments and passes them to `act`, which returns the exit code.
///
/// Reports errors on standard error. The exit code is `usage` if the arguments are wrong, and
/// `failure` after any other error.
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
        // clap returns the text of --help and --version as an error.
        Err(text) => text
            .print()
            .map(|()| 0)
            .map_err(|error| Unwritten(error).into()),
    };

    result
        .unwrap_or_else(|error| {
            if !error.downcast_ref().is_some_and(Unwritten::is_closed_pipe) {
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
