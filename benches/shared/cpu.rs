//! The processor time of processes.

use std::fs;
use std::path::Path;

/// The user and system CPU seconds of a process, its ended and reaped children's too.
pub(crate) fn cpu(process: u32) -> f64 {
    stat(process).map_or(0.0, |(_, seconds)| seconds)
}

/// The CPU seconds of the postmaster and all of its children.
pub(crate) fn postgres_cpu(postmaster: u32) -> f64 {
    let processes = fs::read_dir("/proc").expect("Linux");
    let children = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .filter(|(parent, _)| *parent == postmaster);
    cpu(postmaster) + children.map(|(_, seconds)| seconds).sum::<f64>()
}

/// The parent and the CPU seconds of a process.
fn stat(process: u32) -> Option<(u32, f64)> {
    let stat =
        fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks: f64 = fields
        .get(11..15)?
        .iter()
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum();
    // Linux gives them in hundredths of a second, whatever the kernel's own clock.
    Some((fields.get(1)?.parse().ok()?, ticks / 100.0))
}
