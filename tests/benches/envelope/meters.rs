//! What the kernel tells of a process.

use anyhow::{Context as _, Result};
use std::time::Duration;

/// Ticks of the processor time in `/proc/PID/stat`: 100 a second on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of all threads, those that have ended too.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let stat = read(pid, "stat")?;
    // The name in parentheses may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |place: usize| -> Result<u32> { Ok(fields.get(place).context("a short line")?.parse()?) };
    Ok(TICK * (ticks(11)? + ticks(12)?))
}

/// Memory, with its share of what several processes map.
pub(crate) fn memory(pid: u32) -> Result<u64> {
    Ok(field(&read(pid, "smaps_rollup")?, "Pss:")? * 1_024)
}

/// Bytes that went to a disk.
pub(crate) fn written(pid: u32) -> Result<u64> {
    field(&read(pid, "io")?, "write_bytes:")
}

/// The most memory that it has had in use since the start, or since [`forget_peak`].
pub(crate) fn peak(pid: u32) -> Result<u64> {
    Ok(field(&read(pid, "status")?, "VmHWM:")? * 1_024)
}

/// The peak begins anew.
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    Ok(std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

/// Whether a TCP connection of the process holds something that it has not read.
pub(crate) fn has_unread(pid: u32) -> Result<bool> {
    let mut sockets = Vec::new();
    for descriptor in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        // It may be closed by now.
        let Ok(target) = std::fs::read_link(descriptor?.path()) else { continue };
        let target = target.to_string_lossy();
        sockets.extend(target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')).map(str::to_owned));
    }
    let table = read(pid, "net/tcp")?;
    Ok(table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let unread = fields.get(4).and_then(|queues| queues.split_once(':')).map(|(_, unread)| unread);
        let is_ours = fields.get(9).is_some_and(|inode| sockets.iter().any(|socket| socket == inode));
        is_ours && unread.is_some_and(|unread| !unread.trim_start_matches('0').is_empty())
    }))
}

fn read(pid: u32, name: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{name}");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}: has it ended?"))
}

fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}
