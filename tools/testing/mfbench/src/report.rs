// SPDX-License-Identifier: GPL-2.0

//! Counts and their bounds.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{json, Value};

/// The input and output of a report.
#[derive(Args)]
pub struct Options {
    /// The file of bounds: lines `NAME RATIO`, or `NAME -` for a benchmark without a bound.
    #[arg(long)]
    bounds: PathBuf,
    /// The release of the kernel.
    #[arg(long)]
    kernel: String,
    /// The commit of the modules.
    #[arg(long)]
    commit: String,
    /// The directory for `results.json`, and for `GROUP.dat` of the plots.
    #[arg(long)]
    out: PathBuf,
    /// The benchmarks that were run.
    #[arg(required = true)]
    names: Vec<String>,
}

/// A benchmark with its two counts.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    ours: u64,
    peer: u64,
    bound: Option<f64>,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.ours as f64 / self.peer as f64
    }

    /// Whether the ratio is within the bound. Both are rounded to two decimals.
    fn holds(&self) -> bool {
        let hundredths = |ratio: f64| (ratio * 100.0).round();

        self.bound
            .is_none_or(|bound| hundredths(self.ratio()) <= hundredths(bound))
    }

    fn to_json(&self, options: &Options) -> Value {
        json!({
            "name": self.name,
            "ours": self.ours,
            "peer": self.peer,
            "ratio": self.ratio(),
            "bound": self.bound,
            "unit": "instructions",
            "kernel": options.kernel,
            "commit": options.commit,
        })
    }
}

/// Names and bounds, in the order of the file.
fn parse_bounds(text: &str) -> Result<Vec<(String, Option<f64>)>, String> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(
            |line| match line.split_whitespace().collect::<Vec<_>>()[..] {
                [name, "-"] => Ok((name.into(), None)),
                [name, bound] => match bound.parse() {
                    Ok(bound) => Ok((name.into(), Some(bound))),
                    Err(_) => Err(format!(
                        "'{line}': expected NAME and a ratio, or NAME and -"
                    )),
                },
                _ => Err(format!(
                    "'{line}': expected NAME and a ratio, or NAME and -"
                )),
            },
        )
        .collect()
}

/// Counts by side and name.
fn parse_counts(text: &str) -> Result<BTreeMap<(String, String), u64>, String> {
    text.lines()
        .map(
            |line| match line.split_whitespace().collect::<Vec<_>>()[..] {
                [side @ ("ours" | "peer"), name, count] => match count.parse() {
                    Ok(count) => Ok(((side.into(), name.into()), count)),
                    Err(_) => Err(format!("'{line}': {count} is not a count")),
                },
                _ => Err(format!("'{line}': expected ours or peer, NAME and a count")),
            },
        )
        .collect()
}

/// Returns the benchmarks of these names, and the names without counts. A count of 0 is no count,
/// because every operation takes instructions.
fn join(
    bounds: Vec<(String, Option<f64>)>,
    counts: &BTreeMap<(String, String), u64>,
    names: &[String],
) -> (Vec<Row>, Vec<String>) {
    let count = |side: &str, name: &str| counts.get(&(side.into(), name.into())).copied();
    let (mut rows, mut missing) = (Vec::new(), Vec::new());

    for (name, bound) in bounds {
        if !names.contains(&name) {
            continue;
        }
        match (count("ours", &name), count("peer", &name)) {
            (Some(ours), Some(peer)) if ours > 0 && peer > 0 => rows.push(Row {
                name,
                ours,
                peer,
                bound,
            }),
            _ => missing.push(name),
        }
    }
    (rows, missing)
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<24} {:>12} {:>12} {:>8} {:>6}\n",
        "instructions", "ours", "peer", "ratio", "bound"
    );
    for row in rows {
        let bound = row.bound.map_or("-".into(), |bound| format!("{bound:.2}"));
        let mark = if row.holds() { "" } else { "  over" };

        let _ = writeln!(
            text,
            "{:<24} {:>12} {:>12} {:>8.4} {bound:>6}{mark}",
            row.name,
            row.ours,
            row.peer,
            row.ratio()
        );
    }
    text
}

/// The data for gnuplot: for each group of names that end in a number, the number and both counts.
fn plot_data(rows: &[Row]) -> BTreeMap<&str, String> {
    let mut groups = BTreeMap::<&str, String>::new();

    for row in rows {
        if let Some((group, number)) = row.name.rsplit_once('-') {
            if number.parse::<u64>().is_ok() {
                let data = groups.entry(group).or_default();
                let _ = writeln!(data, "{number} {} {}", row.ours, row.peer);
            }
        }
    }
    groups
}

fn write(out: &Path, rows: &[Row], options: &Options) -> io::Result<()> {
    let results: Vec<_> = rows.iter().map(|row| row.to_json(options)).collect();

    fs::write(
        out.join("results.json"),
        format!("{:#}\n", Value::from(results)),
    )?;
    for (group, data) in plot_data(rows) {
        fs::write(out.join(format!("{group}.dat")), data)?;
    }
    Ok(())
}

/// Compares the counts, prints a table and writes the results. Returns false if a ratio is over its
/// bound, or a count is missing.
pub fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let bounds = parse_bounds(&fs::read_to_string(&options.bounds)?)?;
    let counts = parse_counts(&io::read_to_string(io::stdin())?)?;
    let (rows, missing) = join(bounds, &counts, &options.names);
    let held = rows.iter().filter(|row| row.holds()).count();
    let failed = rows.len() - held + missing.len();

    cli::print(table(&rows).trim_end())?;
    for name in missing {
        cli::print(format_args!("{name}: no count"))?;
    }
    write(&options.out, &rows, options)?;
    cli::print(format_args!("{held} passed, {failed} failed"))?;
    Ok(failed == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> (Vec<Row>, Vec<String>) {
        let bounds = "# name, bound\nread 1.00\nwrite 1.00\nwalk-1 -\nwalk-2 1.5\nnone 1.0\n";
        let counts = "ours read 101\npeer read 100\nours walk-1 7\npeer walk-1 7\n\
            ours none 0\npeer none 7\n";

        join(
            parse_bounds(bounds).unwrap(),
            &parse_counts(counts).unwrap(),
            &["read", "walk-1", "walk-2", "none"].map(String::from),
        )
    }

    #[test]
    fn a_ratio_is_over_its_bound() {
        let (rows, missing) = rows();

        assert!(!rows[0].holds());
        assert!(rows[1].holds());
        assert_eq!(missing, ["walk-2", "none"]);
        assert!(table(&rows).contains("1.0100   1.00  over\n"));
    }

    #[test]
    fn numbers_are_plotted() {
        let (rows, _) = rows();

        assert_eq!(
            plot_data(&rows),
            BTreeMap::from([("walk", "1 7 7\n".into())])
        );
    }

    #[test]
    fn bad_lines_are_rejected() {
        assert!(parse_bounds("read").is_err());
        assert!(parse_bounds("read fast").is_err());
        assert!(parse_counts("theirs read 1").is_err());
        assert!(parse_counts("ours read -1").is_err());
    }
}
