// SPDX-License-Identifier: GPL-2.0

//! Administers the DAX memory-failure chain.

mod block;
mod stack;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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

fn main() -> ExitCode {
    let Object::Stack { action } = Cli::parse().object;
    let errors = stack::act(action);

    for error in &errors {
        eprintln!("daxmf: {error}");
    }
    match errors.len() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
