// SPDX-License-Identifier: GPL-2.0

//! `daxmf status`: shows all disks with DAX: their drivers, holders, bad memory and failures, and
//! what to do next.

use std::fs;

use clap::Args;
use cli::Unwritten;
use serde_json::{json, Value};

use crate::bad::{self, BadRanges};
use crate::block;
use crate::counters::{self, Counts};
use crate::privilege;
use crate::stack;

/// How to print the status.
#[derive(Args)]
pub struct Options {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A disk with DAX.
struct Disk {
    name: String,
    /// Names of the disks directly below it.
    below: Vec<String>,
    /// Its driver. A mapped device has none.
    driver: Option<String>,
    /// What is mounted from it or from a partition of it, as "TYPE on MOUNT-POINT".
    mount: Option<String>,
    /// Names of the mapped devices directly above it or a partition of it.
    above: Vec<String>,
    /// The devices of `above` that are attached: `daxmf_stack` notifies their holders.
    attached: Vec<String>,
    bad: BadRanges,
    /// Its memory failures by outcome. [`None`] if no module counts them.
    counts: Option<Counts>,
}

/// Shows the status. Returns a line for each error.
pub fn act(options: &Options) -> Result<Vec<String>, Unwritten> {
    let mut errors = Vec::new();
    let disks =
        match privilege::check("it reads device-mapper tables and debugfs").and_then(|()| all()) {
            Err(error) => return Ok(vec![error]),
            Ok(names) => names
                .into_iter()
                .filter_map(|name| Disk::new(name, &mut errors))
                .collect::<Vec<_>>(),
        };
    let next: Vec<_> = disks.iter().flat_map(|disk| disk.next(&disks)).collect();

    if options.json {
        let disks: Value = disks.iter().map(Disk::to_json).collect();

        cli::print(json!({"devices": disks, "next": next}))?;
        return Ok(errors);
    }
    if disks.is_empty() {
        cli::print("No disk has DAX: 'ndctl list -RNi' lists regions and namespaces.")?;
        return Ok(errors);
    }
    cli::print(row(
        ["DEVICE", "DRIVER", "HOLDER", "BAD"],
        &counters::NAMES.map(str::to_uppercase),
    ))?;
    for disk in &disks {
        cli::print(disk.row())?;
    }
    if !next.is_empty() {
        cli::print("")?;
    }
    for line in next {
        cli::print(line)?;
    }
    Ok(errors)
}

/// The number of bad bytes of each disk with DAX. Leaves out a disk whose list cannot be read,
/// because 0 bytes would mean good memory. Adds a line to `errors` for each of these.
pub fn bad_bytes(errors: &mut Vec<String>) -> Vec<(String, u64)> {
    let names = all().unwrap_or_else(|error| {
        errors.push(error);
        Vec::new()
    });
    let mut bytes = Vec::new();

    for name in names {
        match block::number_of(&name).and_then(BadRanges::of_device) {
            Ok(bad) => bytes.push((name, bad::length(&bad.ranges))),
            Err(error) if block::has_dax(&name) => errors.push(format!("{name}: {error}")),
            // The disk is gone.
            Err(_) => {}
        }
    }
    bytes
}

/// The names of all disks with DAX, mapped devices last.
fn all() -> Result<Vec<String>, String> {
    let mut names = block::names("/sys/block")?;

    names.retain(|name| block::has_dax(name));
    names.sort_by_key(|name| block::is_mapped(name));
    Ok(names)
}

impl Disk {
    /// Reads the status of a disk. [`None`] if it is gone.
    fn new(name: String, errors: &mut Vec<String>) -> Option<Self> {
        let mut report = |error: String| errors.push(format!("{name}: {error}"));
        let bad = block::number_of(&name).and_then(BadRanges::of_device);
        let above = block::above(&name);
        let below = block::slaves(&name);
        let mount = block::mount_of(&name);
        let counts = counts_of(&name, below.as_deref().unwrap_or_default());

        if !block::has_dax(&name) {
            return None;
        }
        Some(Self {
            driver: driver_of(&name),
            mount: mount.map_err(&mut report).unwrap_or_default(),
            attached: stack::above(&name),
            bad: bad.map_err(&mut report).unwrap_or_default(),
            above: above.map_err(&mut report).unwrap_or_default(),
            below: below.map_err(&mut report).unwrap_or_default(),
            counts,
            name,
        })
    }

    fn bad_bytes(&self) -> u64 {
        bad::length(&self.bad.ranges)
    }

    /// What is mounted from the disk, or the devices above it.
    fn holder(&self) -> Option<String> {
        if let Some(mount) = &self.mount {
            return Some(mount.clone());
        }
        match (self.attached.as_slice(), self.above.as_slice()) {
            ([], []) => None,
            ([], above) => Some(format!("{} (not attached)", above.join(", "))),
            (attached, _) => Some(attached.join(", ")),
        }
    }

    /// Lines that say what to do about the disk.
    fn next(&self, disks: &[Self]) -> Vec<String> {
        let name = &self.name;
        let mut next = Vec::new();

        if let Some(driver) = self.driver.as_deref().filter(|driver| *driver == "nd_pmem") {
            next.push(format!(
                "{name} has the driver {driver}: install daxmf_pmem.conf to use daxmf_pmem instead"
            ));
        }
        for above in self.above.iter().filter(|above| {
            !self.attached.contains(above) && disks.iter().any(|disk| disk.name == **above)
        }) {
            next.push(format!(
                "{above} is not attached to {name}, so its holder is not notified of failures: \
                 'daxmf stack attach {above}' attaches it"
            ));
        }
        if self.is_lowest() && !self.bad.ranges.is_empty() {
            next.push(format!(
                "{name} has bad memory: 'daxmf owners {name}' lists the affected files"
            ));
        }
        match self.counts {
            Some([_, _, declined, failed]) if declined != 0 || failed != 0 => next.push(format!(
                "{name}: not all failures were handled: 'daxmf events {name}' shows why"
            )),
            _ => {}
        }
        next
    }

    fn is_lowest(&self) -> bool {
        self.below.is_empty()
    }

    fn row(&self) -> String {
        let bad = match (self.bad.is_cut, self.bad_bytes()) {
            (false, 0) => "-".into(),
            (false, bytes) => format!("{bytes:#x}"),
            (true, bytes) => format!(">{bytes:#x}"),
        };
        let driver = match &self.driver {
            Some(driver) => driver.clone(),
            None => format!("on {}", self.below.join(", ")),
        };
        let holder = self.holder();
        let counts = match self.counts {
            Some(counts) => counts.map(|count| count.to_string()),
            None => [const { String::new() }; counters::NAMES.len()].map(|_| "-".into()),
        };

        row(
            [&self.name, &driver, holder.as_deref().unwrap_or("-"), &bad],
            &counts,
        )
    }

    fn to_json(&self) -> Value {
        let mut disk = json!({
            "device": self.name,
            "driver": self.driver,
            "below": self.below,
            "above": self.above,
            "attached": self.attached,
            "mount": self.mount,
            "bad": {
                "bytes": self.bad_bytes(),
                "ranges": self.bad.ranges.len(),
                "is_all": !self.bad.is_cut,
            },
        });

        if let Some(counts) = self.counts {
            disk["memory_failures"] = counters::to_json(&counts);
        }
        disk
    }
}

/// The driver of a disk.
fn driver_of(name: &str) -> Option<String> {
    let driver = fs::read_link(format!("/sys/block/{name}/device/driver")).ok()?;

    Some(driver.file_name()?.to_string_lossy().into_owned())
}

/// The memory failures of a disk, as its driver counts them. For a mapped device, the sum of the
/// counters that `daxmf_stack` has for each disk below.
fn counts_of(name: &str, below: &[String]) -> Option<Counts> {
    if below.is_empty() {
        return counters::read(&format!("/sys/block/{name}/memory_failure")).ok();
    }
    below
        .iter()
        .filter_map(|lower| counters::read(&format!("{}/{lower}/{name}", counters::STACK)).ok())
        .reduce(|sum, counts| std::array::from_fn(|i| sum[i].saturating_add(counts[i])))
}

fn row(
    [device, driver, holder, bad]: [&str; 4],
    counts: &[String; counters::NAMES.len()],
) -> String {
    let [received, delivered, declined, failed] = counts;

    format!(
        "{device:<10} {driver:<14} {holder:<28} {bad:>12} \
         {received:>9} {delivered:>9} {declined:>9} {failed:>9}"
    )
}
