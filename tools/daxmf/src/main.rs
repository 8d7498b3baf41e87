// SPDX-License-Identifier: GPL-2.0

//! Administers the DAX memory-failure chain.

mod bad;
mod block;
mod counters;
mod events;
mod files;
mod inject;
mod monitor;
mod mounts;
mod owners;
mod physical;
mod privilege;
mod repair;
mod reverse_map;
mod stack;
mod status;
mod sys;
mod table;
mod text;
mod tree;

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
    /// Show all disks with DAX: their drivers, holders and bad memory, and what to do next.
    ///
    /// Needs root.
    Status(status::Options),
    /// Forward memory failures to mapped devices (module daxmf_stack).
    Stack {
        #[command(subcommand)]
        action: stack::Action,
    },
    /// List the events of memory failures, from the oldest event that the kernel still has.
    ///
    /// Needs root.
    Events(events::Options),
    /// Report events as they happen: to the journal, a command and Prometheus. Runs as a service.
    ///
    /// Needs root.
    Monitor(monitor::Options),
    /// List the files, directories and metadata that own ranges of a device, and the processes
    /// that map them.
    ///
    /// Without a range, lists the owners of all bad ranges of the device. Needs root.
    Owners(owners::Options),
    /// Make memory of a disk fail, or list it as bad, for tests.
    ///
    /// Asks for confirmation first. Needs root.
    Inject(inject::Options),
    /// Write cached pages of files back over bad blocks.
    ///
    /// Lists the ranges that the page cache does not have: they are lost. Needs root.
    Repair(repair::Options),
}

/// Exit codes.
const FAILURE: u8 = 1;
const USAGE: u8 = 2;
const LOSS: u8 = 3;

fn main() -> ExitCode {
    cli::run(FAILURE, USAGE, |cli: Cli| Ok(act(cli.object)?))
}

fn act(object: Object) -> Result<u8, Unwritten> {
    let (errors, is_lossy) = match object {
        Object::Stack { action } => (stack::act(action)?, false),
        Object::Status(options) => (status::act(&options)?, false),
        Object::Events(options) => (events::act(&options)?, false),
        Object::Monitor(options) => (monitor::act(&options)?, false),
        Object::Owners(options) => (owners::act(&options)?, false),
        Object::Inject(options) => (inject::act(&options)?, false),
        Object::Repair(options) => repair::act(&options)?,
    };

    for error in &errors {
        cli::warn(format_args!("daxmf: {error}"));
    }
    Ok(match (errors.len(), is_lossy) {
        (0, false) => 0,
        (0, true) => LOSS,
        _ => FAILURE,
    })
}
