// SPDX-License-Identifier: GPL-2.0

//! `daxmf stack`: which mapped devices are told of whose failures.
//!
//! The module `daxmf_stack` shows this as folders in configfs, and its counters in debugfs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::iter;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use clap::Subcommand;
use cli::Unwritten;
use serde_json::{json, Value};

use crate::block;
use crate::counters::{self, Counts, NAMES};

const CONFIG: &str = "/sys/kernel/config/daxmf_stack";

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
        read(&(self.path(CONFIG) + "/state")).is_ok_and(|state| state == "stale")
    }
}

/// Does what was asked for, and returns what failed, a line each.
pub fn act(action: Action) -> Result<Vec<String>, Unwritten> {
    if let Err(error) = wait_for_module() {
        return Ok(vec![error]);
    }
    Ok(match action {
        Action::Attach { all: true, .. } => match block::mapped() {
            Ok(mut disks) => {
                disks.retain(|disk| block::has_dax(disk));
                attach_all(&disks)
            }
            Err(error) => vec![error],
        },
        Action::Attach { devices, .. } => attach_all(&devices),
        Action::Detach { all: true, .. } => match pairs() {
            Ok(pairs) => errors(pairs.iter().map(detach)),
            Err(error) => vec![error],
        },
        Action::Detach { devices, .. } => {
            errors(devices.iter().map(|device| detach_device(device)))
        }
        Action::List { json } => list(json)?,
    })
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
fn pairs() -> Result<Vec<Pair>, String> {
    let mut pairs = Vec::new();

    for lower in block::names(CONFIG)? {
        for upper in block::names(&format!("{CONFIG}/{lower}"))? {
            let lower = lower.clone();

            pairs.push(Pair { lower, upper });
        }
    }
    Ok(pairs)
}

fn attach_all(devices: &[String]) -> Vec<String> {
    let mut done = BTreeSet::new();

    errors(devices.iter().map(|device| attach(device, &mut done)))
}

/// Attaches a device above those below it, and those above what is below them, unless that is
/// `done`.
fn attach(device: &str, done: &mut BTreeSet<String>) -> Result<(), String> {
    let upper = block::disk_of(device)?;
    let slaves = block::slaves(&upper)?;

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
    for pair in pairs()? {
        if pair.upper == upper && (!slaves.contains(&pair.lower) || pair.is_stale()) {
            detach(&pair)?;
        }
    }
    for lower in slaves {
        if !block::slaves(&lower)?.is_empty() {
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

    loop {
        make_folder(&lower).map_err(|e| format!("{lower}: {e}"))?;

        let Err(error) = make_folder(&pair.path(CONFIG)) else {
            return Ok(());
        };

        // Somebody else has detached the last device above it meanwhile.
        if error.kind() == ErrorKind::NotFound && !Path::new(&lower).exists() {
            continue;
        }
        // Nothing is above it then.
        let _ = fs::remove_dir(&lower);
        return Err(refusal(pair, &error));
    }
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
    let mut attached = pairs()?;

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

/// A device with its counters and its state, or why they cannot be read. Disks have no state.
struct Listed {
    device: String,
    found: Result<(Counts, Option<String>), String>,
}

impl Listed {
    fn disk(lower: &str) -> Option<Self> {
        Self::new(lower, lower, || Ok(None))
    }

    fn above(lower: &str, upper: &str) -> Option<Self> {
        let folder = format!("{lower}/{upper}");

        Self::new(upper, &folder, || {
            read(&format!("{CONFIG}/{folder}/state")).map(Some)
        })
    }

    /// Reads a folder, which has the same path in configfs and in debugfs; [`None`] if it has gone
    /// meanwhile.
    fn new(
        device: &str,
        folder: &str,
        state: impl FnOnce() -> Result<Option<String>, String>,
    ) -> Option<Self> {
        let found = counters::read(&format!("{}/{folder}", counters::STACK))
            .and_then(|counts| state().map(|state| (counts, state)));

        if found.is_err() && !Path::new(&format!("{CONFIG}/{folder}")).exists() {
            return None;
        }
        Some(Self {
            device: device.into(),
            found,
        })
    }

    fn to_json(&self) -> Value {
        let mut device = json!({ "device": self.device });

        if let Ok((counts, state)) = &self.found {
            device["memory_failures"] = counters::to_json(counts);
            if let Some(state) = state {
                device["state"] = json!(state);
            }
        }
        device
    }

    fn row(&self, indent: &str) -> String {
        let name = format!("{indent}{}", self.device);

        match &self.found {
            Ok((counts, Some(state))) if state == "stale" => {
                row(&(name + " (stale)"), &counts.map(|count| count.to_string()))
            }
            Ok((counts, _)) => row(&name, &counts.map(|count| count.to_string())),
            Err(_) => row(&name, &["-"; NAMES.len()].map(String::from)),
        }
    }
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path)
        .map(|text| text.trim().into())
        .map_err(|e| format!("{path}: {e}"))
}

fn row(device: &str, cells: &[String; NAMES.len()]) -> String {
    let [received, delivered, declined, failed] = cells;

    format!("{device:<16} {received:>9} {delivered:>9} {declined:>9} {failed:>9}")
}

/// The devices that are attached right above one.
pub fn above(lower: &str) -> Vec<String> {
    block::names(&format!("{CONFIG}/{lower}")).unwrap_or_default()
}

/// Lists what is attached, and returns what could not be read. There is no JSON then: who reads it
/// expects numbers.
fn list(as_json: bool) -> Result<Vec<String>, Unwritten> {
    let mut errors = Vec::new();
    let mut names = |folder: &str| {
        block::names(folder).unwrap_or_else(|error| {
            errors.push(error);
            Vec::new()
        })
    };
    let lowers: Vec<(Listed, Vec<Listed>)> = names(CONFIG)
        .iter()
        .filter_map(|lower| {
            let uppers = names(&format!("{CONFIG}/{lower}"))
                .iter()
                .filter_map(|upper| Listed::above(lower, upper))
                .collect();

            Some((Listed::disk(lower)?, uppers))
        })
        .collect();

    errors.extend(
        lowers
            .iter()
            .flat_map(|(lower, uppers)| iter::once(lower).chain(uppers))
            .filter_map(|device| device.found.as_ref().err().cloned()),
    );
    if !as_json {
        cli::print(row("DEVICE", &NAMES.map(str::to_uppercase)))?;
        for (lower, uppers) in &lowers {
            cli::print(lower.row(""))?;
            for upper in uppers {
                cli::print(upper.row("  "))?;
            }
        }
    } else if errors.is_empty() {
        cli::print(json(&lowers))?;
    }
    Ok(errors)
}

fn json(lowers: &[(Listed, Vec<Listed>)]) -> Value {
    lowers
        .iter()
        .map(|(lower, uppers)| {
            let mut device = lower.to_json();

            device["uppers"] = uppers.iter().map(Listed::to_json).collect();
            device
        })
        .collect()
}
