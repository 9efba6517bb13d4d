//! What the system grants this process, against what a server may ask of it: files, memory,
//! threads, cores.

use std::fs;
use std::path::Path;

use super::finding::Finding;
use super::{bytes, told};
use crate::cli::Common;
use crate::cli::config::services_config;
use crate::cli::serve::ServeArgs;

/// What the program takes beside its budgets: models, the index of pictures, threads.
const REST: u64 = 384 << 20;

/// Threads that a server has beside four for each core.
const THREADS: u64 = 64;

/// A version 1 control group without a limit tells a number near the largest.
const NO_LIMIT: u64 = 1 << 60;

pub(super) fn look(common: &Common, serve: &ServeArgs) -> Vec<Finding> {
    let limits = match serve.limits() {
        Ok(limits) => limits,
        Err(failure) => return vec![Finding::misconfigured(told(&failure).0, "lower it")],
    };
    let mut found = Vec::new();
    let granted = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let connections = limits.max_connections.saturating_add(limits.max_draining) as u64;
    found.push(files(soft_limit(&granted, "Max open files"), connections));
    let decoded = services_config(common).map(|config| config.picture_limits.max_decoded_bytes);
    let budgets = (limits.max_held_bytes as u64).saturating_add(decoded.unwrap_or_default());
    found.push(memory(memory_limit(), budgets));
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let threads = [
        soft_limit(&granted, "Max processes"),
        group_limit("pids.max"),
    ];
    found.push(of_threads(threads.into_iter().flatten().min(), cores));
    found
}

/// As the HTTP side divides them: three quarters are for connections.
fn files(open: Option<u64>, connections: u64) -> Finding {
    let Some(open) = open else {
        return Finding::fine(format!(
            "{connections} connections, open files without limit"
        ));
    };
    let most = open - open / 4;
    if connections <= most {
        return Finding::fine(format!("{connections} connections of {open} open files"));
    }
    let wanted = connections.saturating_mul(4) / 3 + 1;
    Finding::warning(
        format!("{open} open files leave room for {most} of {connections} connections"),
        format!("LimitNOFILE={wanted} in the unit, `ulimit -n {wanted}` in the shell"),
    )
}

fn memory(limit: Option<u64>, budgets: u64) -> Finding {
    let wanted = budgets.saturating_add(REST);
    let asked = format!(
        "{} for bodies and pictures and some {} beside",
        bytes(budgets),
        bytes(REST)
    );
    match limit {
        None => Finding::fine(format!("{asked}, memory is not told")),
        Some(limit) if limit >= wanted => {
            Finding::fine(format!("{asked}, of {} memory", bytes(limit)))
        }
        Some(limit) => Finding::warning(
            format!(
                "{asked} are more than the {} of memory: under load the system may end it",
                bytes(limit)
            ),
            "lower OMNIZAP_MAX_HELD_BYTES and OMNIZAP_MAX_DECODED_BYTES, or grant more memory",
        ),
    }
}

fn of_threads(limit: Option<u64>, cores: u64) -> Finding {
    let wanted = cores.saturating_mul(4).saturating_add(THREADS);
    match limit {
        Some(limit) if limit < wanted => Finding::warning(
            format!("{cores} cores, and at most {limit} threads and processes"),
            format!("grant {wanted}: TasksMax in the unit, `ulimit -u`, or the group's pids.max"),
        ),
        _ => Finding::fine(format!("{cores} cores, threads enough")),
    }
}

/// A limit of this process, where there is one.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    let values = limits.lines().find_map(|line| line.strip_prefix(name))?;
    values.split_whitespace().next()?.parse().ok()
}

/// The least of what the machine has and what the control groups allow.
fn memory_limit() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| soft_limit(&text, "MemTotal:"));
    let machine = machine.map(|kilobytes| kilobytes.saturating_mul(1024));
    let first = fs::read_to_string("/sys/fs/cgroup/memory/memory.limit_in_bytes").ok();
    let first = first.and_then(|text| text.trim().parse().ok());
    let groups = [group_limit("memory.max"), first].into_iter().flatten();
    groups
        .filter(|limit| *limit < NO_LIMIT)
        .chain(machine)
        .min()
}

/// The least of what this process's group, of version 2, and those above it allow.
fn group_limit(file: &str) -> Option<u64> {
    let root = Path::new("/sys/fs/cgroup");
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = root.join(own.trim());
    let above = own.ancestors().take_while(|group| group.starts_with(root));
    let limits = above.filter_map(|group| fs::read_to_string(group.join(file)).ok());
    limits.filter_map(|limit| limit.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_weighed_as_the_server_divides_them() {
        assert!(files(Some(1024), 768).shown().starts_with("ok: "));
        let few = files(Some(256), 768).shown();
        assert!(few.contains("leave room for 192 of 768"), "{few}");
        assert!(few.ends_with("`ulimit -n 1025` in the shell"), "{few}");
        assert!(files(None, 768).shown().contains("without limit"));
    }

    #[test]
    fn budgets_that_do_not_fit_are_a_warning() {
        assert!(memory(Some(4 << 30), 768 << 20).shown().starts_with("ok: "));
        let tight = memory(Some(512 << 20), 768 << 20).shown();
        assert!(tight.starts_with("warning: 768.0 MiB"), "{tight}");
        assert!(
            of_threads(Some(10), 2)
                .shown()
                .starts_with("warning: 2 cores")
        );
        assert!(of_threads(None, 2).shown().starts_with("ok: 2 cores"));
    }

    #[test]
    fn limits_are_read_from_what_the_system_says() {
        let limits = "Limit  Soft Limit Hard Limit Units\nMax open files   1024  524288  files\n\
                      Max processes    unlimited unlimited processes\n";
        assert_eq!(soft_limit(limits, "Max open files"), Some(1024));
        assert_eq!(soft_limit(limits, "Max processes"), None);
        assert_eq!(soft_limit("MemTotal:  16 kB\n", "MemTotal:"), Some(16));
    }
}
