//! How loads of pipelines ended.

use std::time::{SystemTime, UNIX_EPOCH};

use super::families::Families;

/// How often pipelines were loaded anew, and when that went well last.
#[derive(Clone, Copy, Debug)]
pub struct ReloadNumbers {
    /// Loads after the first that went live.
    pub fine: u64,
    /// Loads that changed nothing.
    pub failed: u64,
    /// Whether the last went live; the first did.
    pub is_fine: bool,
    /// When one went live last.
    pub last_fine: SystemTime,
    /// When one changed nothing last.
    pub last_failed: Option<SystemTime>,
}

impl ReloadNumbers {
    /// Tells all of it.
    pub fn tell(&self, all: &mut Families) {
        for (result, count) in [("success", self.fine), ("failure", self.failed)] {
            let name = "omnizap_reloads_total";
            let help = "Loads of the pipelines after the first, by how they ended.";
            all.total(name, help, &[("result", result)], count);
        }
        let name = "omnizap_reload_last_successful";
        let help = "1 where the last load of the pipelines went well, 0 where it changed nothing.";
        all.gauge(name, help, &[], f64::from(u8::from(self.is_fine)));
        let name = "omnizap_reload_last_success_timestamp_seconds";
        let help = "When a load of the pipelines went well last, the first included.";
        all.gauge(name, help, &[], seconds(self.last_fine));
        let name = "omnizap_reload_last_failure_timestamp_seconds";
        let help = "When a load of the pipelines failed last, 0 where none did.";
        all.gauge(name, help, &[], self.last_failed.map_or(0.0, seconds));
    }
}

/// Seconds since 1970, to the millisecond.
fn seconds(at: SystemTime) -> f64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::families::Format;
    use super::*;

    #[test]
    fn the_last_one_tells_how_it_is_now() {
        let mut numbers = ReloadNumbers {
            fine: 0,
            failed: 0,
            is_fine: true,
            last_fine: UNIX_EPOCH + std::time::Duration::from_millis(1_500),
            last_failed: None,
        };
        let text = |numbers: &ReloadNumbers| {
            let mut all = Families::new();
            numbers.tell(&mut all);
            all.text(Format::Prometheus).unwrap()
        };
        let first = text(&numbers);
        for wanted in [
            "omnizap_reload_last_successful 1",
            "omnizap_reload_last_success_timestamp_seconds 1.5",
            "omnizap_reload_last_failure_timestamp_seconds 0",
        ] {
            assert!(first.contains(wanted), "no {wanted} in\n{first}");
        }
        numbers = ReloadNumbers {
            fine: 1,
            failed: 2,
            is_fine: false,
            last_failed: Some(UNIX_EPOCH + std::time::Duration::from_secs(7)),
            ..numbers
        };
        let now = text(&numbers);
        for wanted in [
            "omnizap_reloads_total{result=\"success\"} 1\n",
            "omnizap_reloads_total{result=\"failure\"} 2\n",
            "omnizap_reload_last_successful 0",
            "omnizap_reload_last_failure_timestamp_seconds 7",
        ] {
            assert!(now.contains(wanted), "no {wanted} in\n{now}");
        }
    }
}
