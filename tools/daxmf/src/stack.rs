// SPDX-License-Identifier: GPL-2.0

//! `daxmf stack`: which mapped devices are told of whose failures.
//!
//! The module `daxmf_stack` shows this as folders in configfs, and its counters in debugfs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use clap::Subcommand;
use serde_json::{json, Value};

use crate::block;

const CONFIG: &str = "/sys/kernel/config/daxmf_stack";
const COUNTERS: &str = "/sys/kernel/debug/daxmf_stack";

/// How long a module may take to start.
const START: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Subcommand)]
pub enum Action {
    /// Have mapped devices told of failures of the persistent memory below them.
    ///
    /// Devices that are below no longer, because the table was reloaded, are detached, and so are
    /// those that are gone and have left their names to others.
    Attach {
        /// Mapped devices, by path or by name.
        #[arg(required_unless_present = "all")]
        devices: Vec<String>,
        /// All mapped devices with DAX.
        #[arg(long, conflicts_with = "devices")]
        all: bool,
    },
    /// Have them told no longer.
    Detach {
        /// Mapped devices, by path or by name.
        #[arg(required_unless_present = "all")]
        devices: Vec<String>,
        /// All that are attached.
        #[arg(long, conflicts_with = "devices")]
        all: bool,
    },
    /// List what is attached, and what became of the failures.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// A device above one below.
struct Pair {
    lower: String,
    upper: String,
}

impl Pair {
    fn path(&self, root: &str) -> String {
        format!("{root}/{}/{}", self.lower, self.upper)
    }

    /// Whether one of the devices is gone. Another one may have its name.
    fn is_stale(&self) -> bool {
        fs::read_to_string(self.path(CONFIG) + "/state").is_ok_and(|state| state == "stale\n")
    }
}

/// Does what was asked for, and returns what failed, a line each.
pub fn act(action: Action) -> Vec<String> {
    if let Err(error) = wait_for_module() {
        return vec![error];
    }
    match action {
        Action::Attach { all: true, .. } => {
            let mut disks = block::mapped();

            disks.retain(|disk| block::has_dax(disk));
            attach_all(&disks)
        }
        Action::Attach { devices, .. } => attach_all(&devices),
        Action::Detach { all: true, .. } => errors(pairs().iter().map(detach)),
        Action::Detach { devices, .. } => {
            errors(devices.iter().map(|device| detach_device(device)))
        }
        Action::List { json } => {
            list(json);
            Vec::new()
        }
    }
}

fn errors(results: impl Iterator<Item = Result<(), String>>) -> Vec<String> {
    results.filter_map(Result::err).collect()
}

/// A module is announced before it has started.
fn wait_for_module() -> Result<(), String> {
    let end = Instant::now() + START;

    while !Path::new(CONFIG).exists() {
        if !Path::new("/sys/module/daxmf_stack").exists() {
            return Err("the module is not loaded: modprobe daxmf_stack".into());
        }
        if Instant::now() > end {
            return Err(format!("{CONFIG} is not there: is configfs mounted?"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// What is attached.
fn pairs() -> Vec<Pair> {
    block::names(CONFIG)
        .into_iter()
        .flat_map(|lower| {
            block::names(&format!("{CONFIG}/{lower}"))
                .into_iter()
                .map(move |upper| Pair {
                    lower: lower.clone(),
                    upper,
                })
        })
        .collect()
}

fn attach_all(devices: &[String]) -> Vec<String> {
    let mut done = BTreeSet::new();

    errors(devices.iter().map(|device| attach(device, &mut done)))
}

/// Attaches a device above those below it, and those above what is below them, unless that is
/// `done`.
fn attach(device: &str, done: &mut BTreeSet<String>) -> Result<(), String> {
    let upper = block::disk_of(device)?;
    let slaves = block::slaves(&upper);

    if slaves.is_empty() {
        return Err(format!(
            "{device}: not a mapped device, nothing is below it"
        ));
    }
    if !block::has_dax(&upper) {
        return Err(format!("{device}: has no DAX, so nobody maps its memory"));
    }
    if done.contains(&upper) {
        return Ok(());
    }
    for pair in pairs() {
        if pair.upper == upper && (!slaves.contains(&pair.lower) || pair.is_stale()) {
            detach(&pair)?;
        }
    }
    for lower in slaves {
        if !block::slaves(&lower).is_empty() {
            attach(&lower, done)?;
        }
        attach_pair(&Pair {
            lower,
            upper: upper.clone(),
        })?;
    }
    done.insert(upper);
    Ok(())
}

fn attach_pair(pair: &Pair) -> Result<(), String> {
    let lower = format!("{CONFIG}/{}", pair.lower);

    make_folder(&lower).map_err(|e| format!("{lower}: {e}"))?;
    make_folder(&pair.path(CONFIG)).map_err(|error| {
        // Nothing is above it then.
        let _ = fs::remove_dir(&lower);
        refusal(pair, &error)
    })
}

fn make_folder(path: &str) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn refusal(pair: &Pair, error: &io::Error) -> String {
    let Pair { lower, upper } = pair;

    match (error.raw_os_error(), block::mount_of(lower)) {
        (Some(16), Some(mount)) => {
            format!("{upper}: {lower} below it is in use: {mount}")
        }
        _ => format!("{upper} above {lower}: {error} (see the kernel's log)"),
    }
}

fn detach_device(device: &str) -> Result<(), String> {
    // It may be gone already.
    let upper = block::disk_of(device).unwrap_or_else(|_| device.into());
    let mut attached: Vec<_> = pairs();

    attached.retain(|pair| pair.upper == upper);
    if attached.is_empty() {
        return Err(format!("{device}: not attached"));
    }
    attached.iter().try_for_each(detach)
}

fn detach(pair: &Pair) -> Result<(), String> {
    let path = pair.path(CONFIG);

    match fs::remove_dir(&path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(format!("{path}: {e}")),
        _ => {}
    }
    // It stays if there are others above.
    let _ = fs::remove_dir(format!("{CONFIG}/{}", pair.lower));
    Ok(())
}

/// The counters of a device: received, delivered, declined and failed.
fn counters(folder: &str) -> Value {
    let read = |name: &str| -> Option<u64> {
        fs::read_to_string(format!("{folder}/{name}"))
            .ok()?
            .trim()
            .parse()
            .ok()
    };

    json!({
        "received": read("received"),
        "delivered": read("delivered"),
        "declined": read("declined"),
        "failed": read("failed"),
    })
}

fn list(as_json: bool) {
    let lowers: Vec<Value> = block::names(CONFIG)
        .iter()
        .map(|lower| {
            let uppers: Vec<Value> = block::names(&format!("{CONFIG}/{lower}"))
                .into_iter()
                .map(|upper| {
                    let lower = lower.clone();
                    let pair = Pair { lower, upper };

                    json!({
                        "device": pair.upper,
                        "memory_failures": counters(&pair.path(COUNTERS)),
                        "state": if pair.is_stale() { "stale" } else { "attached" },
                    })
                })
                .collect();

            json!({
                "device": lower,
                "memory_failures": counters(&format!("{COUNTERS}/{lower}")),
                "uppers": uppers,
            })
        })
        .collect();

    if as_json {
        println!("{}", Value::from(lowers));
    } else {
        table(&lowers);
    }
}

fn table(lowers: &[Value]) {
    println!(
        "{:<16} {:>9} {:>9} {:>9} {:>9}",
        "DEVICE", "RECEIVED", "DELIVERED", "DECLINED", "FAILED"
    );
    for lower in lowers {
        row("", lower);
        for upper in lower["uppers"].as_array().into_iter().flatten() {
            row("  ", upper);
        }
    }
}

fn row(indent: &str, device: &Value) {
    let count = |name: &str| match device["memory_failures"][name].as_u64() {
        Some(count) => count.to_string(),
        None => "-".into(),
    };

    let mut name = format!("{indent}{}", device["device"].as_str().unwrap_or("?"));
    if device["state"] == "stale" {
        name += " (stale)";
    }

    println!(
        "{name:<16} {:>9} {:>9} {:>9} {:>9}",
        count("received"),
        count("delivered"),
        count("declined"),
        count("failed"),
    );
}
