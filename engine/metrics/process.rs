//! What the system knows of the process, under the names that all programs give it. Where the
//! system says nothing, nothing is told.

use std::fs;

use super::families::Families;

/// In how many parts of a second Linux counts for programs, on every machine that it is built for
/// today.
const TICKS: f64 = 100.0;

/// Tells all of it.
pub fn tell(all: &mut Families, max_files: Option<usize>) {
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        let kilobytes = |key: &str| number(&status, key).map(|kilobytes| kilobytes * 1024.0);
        let name = "process_resident_memory_bytes";
        gauge(
            all,
            name,
            "Resident memory size in bytes.",
            kilobytes("VmRSS:"),
        );
        let name = "process_virtual_memory_bytes";
        gauge(
            all,
            name,
            "Virtual memory size in bytes.",
            kilobytes("VmSize:"),
        );
        let name = "process_threads";
        gauge(all, name, "Number of threads.", number(&status, "Threads:"));
    }
    if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
        if let Some(seconds) = cpu_seconds(&stat) {
            let help = "Total user and system CPU time spent in seconds.";
            all.seconds("process_cpu_seconds_total", help, &[], seconds);
        }
        let booted = fs::read_to_string("/proc/stat").ok();
        let booted = booted.and_then(|stat| number(&stat, "btime"));
        let started = started(&stat).zip(booted);
        let name = "process_start_time_seconds";
        let help = "Start time of the process since unix epoch in seconds.";
        gauge(
            all,
            name,
            help,
            started.map(|(after, booted)| booted + after),
        );
    }
    // The folder itself is open while it is read.
    let files = fs::read_dir("/proc/self/fd");
    let files = files.map(|files| files.count().saturating_sub(1) as f64);
    gauge(
        all,
        "process_open_fds",
        "Number of open file descriptors.",
        files.ok(),
    );
    let most = max_files.map(|files| files as f64);
    let help = "Maximum number of open file descriptors.";
    gauge(all, "process_max_fds", help, most);
}

fn gauge(all: &mut Families, name: &str, help: &str, value: Option<f64>) {
    if let Some(value) = value {
        all.gauge(name, help, &[], value);
    }
}

/// The first number of a line that begins so.
fn number(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The fields after the name, which may hold anything; the first is the third of proc(5).
fn fields(stat: &str) -> Option<Vec<&str>> {
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().collect())
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    let fields = fields(stat)?;
    let ticks = |place: usize| fields.get(place)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

/// Seconds from the start of the system until that of the process.
fn started(stat: &str) -> Option<f64> {
    Some(fields(stat)?.get(19)?.parse::<f64>().ok()? / TICKS)
}

#[cfg(test)]
mod tests {
    use super::super::families::Format;
    use super::*;

    #[test]
    fn the_line_of_a_process_is_read_whatever_its_name_is() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 4 0 1234 1 2 3";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(started(stat), Some(12.34));
        assert_eq!(cpu_seconds("7 (a) S 1"), None);
        assert_eq!(
            number("VmSize:\t  10 kB\nVmRSS:\t  4 kB\n", "VmRSS:"),
            Some(4.0)
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_known() {
        let mut all = Families::new();
        tell(&mut all, Some(1024));
        let text = all.text(Format::Prometheus).unwrap();
        for name in [
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_threads",
            "process_cpu_seconds_total",
            "process_start_time_seconds",
            "process_open_fds",
            "process_max_fds",
        ] {
            let value = text.lines().find_map(|line| line.strip_prefix(name));
            let value: f64 = value.unwrap().trim().parse().unwrap();
            assert!(value >= 0.0, "{name}: {value}");
        }
    }
}
