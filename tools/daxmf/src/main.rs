// SPDX-License-Identifier: GPL-2.0

//! Administers the DAX memory-failure chain.

mod block;
mod stack;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cli::Unwritten;

/// Administer the DAX memory-failure chain.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    object: Object,
}

#[derive(Subcommand)]
enum Object {
    /// Take memory failures to mapped devices (module daxmf_stack).
    Stack {
        #[command(subcommand)]
        action: stack::Action,
    },
}

/// Exit codes.
const FAILURE: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    cli::run(FAILURE, USAGE, |cli: Cli| Ok(act(cli.object)?))
}

fn act(object: Object) -> Result<u8, Unwritten> {
    let Object::Stack { action } = object;
    let errors = stack::act(action)?;

    for error in &errors {
        cli::warn(format_args!("daxmf: {error}"));
    }
    Ok(match errors.len() {
        0 => 0,
        _ => FAILURE,
    })
}
