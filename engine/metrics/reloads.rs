//! How loads of pipelines ended.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::families::Families;

/// How often pipelines were loaded anew, and when that went well last.
#[derive(Debug)]
pub struct ReloadMeters {
    good: AtomicU64,
    failed: AtomicU64,
    is_good: AtomicBool,
    /// Milliseconds since 1970.
    last_good: AtomicU64,
    last_failed: AtomicU64,
}

impl Default for ReloadMeters {
    /// The first load has just gone well.
    fn default() -> Self {
        Self {
            good: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            is_good: AtomicBool::new(true),
            last_good: AtomicU64::new(now()),
            last_failed: AtomicU64::new(0),
        }
    }
}

impl ReloadMeters {
    /// Counts one.
    pub fn ended(&self, is_good: bool) {
        let (count, last) = if is_good {
            (&self.good, &self.last_good)
        } else {
            (&self.failed, &self.last_failed)
        };
        count.fetch_add(1, Ordering::Relaxed);
        last.store(now(), Ordering::Relaxed);
        self.is_good.store(is_good, Ordering::Relaxed);
    }

    /// Tells all of it.
    pub fn tell(&self, all: &mut Families) {
        let seconds = |last: &AtomicU64| last.load(Ordering::Relaxed) as f64 / 1000.0;
        for (result, count) in [("success", &self.good), ("failure", &self.failed)] {
            let name = "omnizap_reloads_total";
            let help = "Loads of the pipelines after the first, by how they ended.";
            let count = count.load(Ordering::Relaxed);
            all.total(name, help, &[("result", result)], count);
        }
        let name = "omnizap_reload_last_successful";
        let help = "1 where the last load of the pipelines went well, 0 where it changed nothing.";
        let is_good = self.is_good.load(Ordering::Relaxed);
        all.gauge(name, help, &[], f64::from(u8::from(is_good)));
        let name = "omnizap_reload_last_success_timestamp_seconds";
        let help = "When a load of the pipelines went well last, the first included.";
        all.gauge(name, help, &[], seconds(&self.last_good));
        let name = "omnizap_reload_last_failure_timestamp_seconds";
        let help = "When a load of the pipelines failed last, 0 where none did.";
        all.gauge(name, help, &[], seconds(&self.last_failed));
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::super::families::Format;
    use super::*;

    #[test]
    fn the_last_one_tells_how_it_is_now() {
        let reloads = ReloadMeters::default();
        let text = || {
            let mut all = Families::new();
            reloads.tell(&mut all);
            all.text(Format::Prometheus).unwrap()
        };
        let first = text();
        assert!(
            first.contains("omnizap_reload_last_successful 1"),
            "{first}"
        );
        assert!(first.contains("omnizap_reload_last_failure_timestamp_seconds 0"));
        reloads.ended(true);
        reloads.ended(false);
        let now = text();
        for wanted in [
            "omnizap_reloads_total{result=\"success\"} 1\n",
            "omnizap_reloads_total{result=\"failure\"} 1\n",
            "omnizap_reload_last_successful 0",
        ] {
            assert!(now.contains(wanted), "no {wanted} in\n{now}");
        }
        reloads.ended(true);
        assert!(text().contains("omnizap_reload_last_successful 1"));
    }
}
