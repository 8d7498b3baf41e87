// SPDX-License-Identifier: GPL-2.0

//! `daxmf stack`: attaches mapped devices to the disks below them.
//!
//! The module `daxmf_stack` has a directory in configfs for each attached device, and counters in
//! debugfs.

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

/// How long to wait for the module to start.
const START: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Subcommand)]
pub enum Action {
    /// Attach mapped devices to the disks below them, so that failures of the disks are forwarded.
    ///
    /// Detaches disks that are no longer below a device, because its table was reloaded, and stale
    /// devices: they are gone, and other devices can have their names.
    Attach {
        /// Mapped devices, by path or by name.
        #[arg(required_unless_present = "all")]
        devices: Vec<String>,
        /// All mapped devices with DAX.
        #[arg(long, conflicts_with = "devices")]
        all: bool,
    },
    /// Detach mapped devices from all disks below them.
    Detach {
        /// Mapped devices, by path or by name.
        #[arg(required_unless_present = "all")]
        devices: Vec<String>,
        /// All attached devices.
        #[arg(long, conflicts_with = "devices")]
        all: bool,
    },
    /// List the attached devices, with their numbers of memory failures.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// A device, and a device directly below it.
struct Pair {
    lower: String,
    upper: String,
}

impl Pair {
    fn path(&self, root: &str) -> String {
        format!("{root}/{}/{}", self.lower, self.upper)
    }

    /// Whether one of the devices is gone. Another device can have its name now.
    fn is_stale(&self) -> bool {
        read(&(self.path(CONFIG) + "/state")).is_ok_and(|state| state == "stale")
    }
}

/// Runs a subcommand. Returns a line for each error.
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

/// Waits until the module has started. udev announces a module before the module has started.
fn wait_for_module() -> Result<(), String> {
    let end = Instant::now() + START;

    while !Path::new(CONFIG).exists() {
        if !Path::new("/sys/module/daxmf_stack").exists() {
            return Err(
                "the module daxmf_stack is not loaded: load it (modprobe daxmf_stack)".into(),
            );
        }
        if Instant::now() > end {
            return Err(format!("{CONFIG}: no such directory: mount configfs"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// All attached devices.
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

/// Attaches a device to the disks below it, and each of these disks to the disks below. Skips
/// devices that are in `done`.
fn attach(device: &str, done: &mut BTreeSet<String>) -> Result<(), String> {
    let upper = block::disk_of(device)?;
    let slaves = block::slaves(&upper)?;

    if slaves.is_empty() {
        return Err(format!(
            "{device}: not a mapped device: no disk is below it"
        ));
    }
    if !block::has_dax(&upper) {
        return Err(format!(
            "{device}: no DAX: memory failures cannot be forwarded to it"
        ));
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

        // Another process detached the last device above, and removed the directory.
        if error.kind() == ErrorKind::NotFound && !Path::new(&lower).exists() {
            continue;
        }
        // remove_dir() removes the directory only if no device is attached above the disk.
        let _ = fs::remove_dir(&lower);
        return Err(describe_attach_error(pair, &error));
    }
}

fn make_folder(path: &str) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn describe_attach_error(pair: &Pair, error: &io::Error) -> String {
    let Pair { lower, upper } = pair;
    let mount = match error.kind() {
        ErrorKind::ResourceBusy => block::mount_of(lower),
        _ => Ok(None),
    };

    match mount {
        Ok(Some(mount)) => format!("{upper}: {lower} below it is in use: {mount}"),
        Ok(None) => format!("{upper} above {lower}: {error} (see the kernel log)"),
        Err(why) => format!("{upper} above {lower}: {error}; its mount is unknown: {why}"),
    }
}

fn detach_device(device: &str) -> Result<(), String> {
    // A device that is gone cannot be looked up, so use the name that the user gave.
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
    // remove_dir() fails if other devices are attached above the disk. Ignore that.
    let _ = fs::remove_dir(format!("{CONFIG}/{}", pair.lower));
    Ok(())
}

/// A device with its counters and its state, or with the errors of reading them. Disks have no
/// state.
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

    /// Reads the counters and the state of `folder`, which has the same path in configfs and in
    /// debugfs. [`None`] if the device was detached in the meantime.
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

/// The devices that are attached directly above a disk.
pub fn above(lower: &str) -> Vec<String> {
    block::names(&format!("{CONFIG}/{lower}")).unwrap_or_default()
}

/// Lists the attached devices. Returns a line for each error. After an error it prints no JSON,
/// because the schema requires all numbers.
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
