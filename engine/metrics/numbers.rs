//! What stages count themselves, under names that say what they are.
//!
//! The name that a stage gives a number is the end of the metric's name: `decoded_bytes` of a stage
//! is `omnizap_stage_decoded_bytes`, with the pipeline and the stage as labels, and a total ends in
//! `_total`. A name that ends in `_ms` or `_us` is told in seconds. Numbers in a group have the
//! group's name before their own. Names that come from a plugin are values of a label instead, so
//! that nobody else makes names of metrics.

use omnizap_contract::Counters;
use omnizap_contract::facts::Number;

use super::families::{Families, Labels};

/// Most numbers of one stage that are told.
const MAX_NUMBERS: usize = 64;
/// Longest name, in bytes.
const MAX_NAME: usize = 64;

/// Endings that mean something else to Prometheus.
const TAKEN: [&str; 6] = ["_total", "_count", "_sum", "_bucket", "_info", "_created"];

/// Tells numbers under a prefix. Where `names_are_foreign`, those of groups are values of a label.
pub fn tell(
    all: &mut Families,
    prefix: &str,
    labels: Labels<'_>,
    counters: &Counters,
    names_are_foreign: bool,
) {
    let mut left = MAX_NUMBERS;
    for (name, number) in counters.iter() {
        let Number::Group(group) = number else {
            one(all, prefix, labels, name, number, &mut left);
            continue;
        };
        for (own, number) in group.iter() {
            if names_are_foreign {
                let own: String = own.chars().take(MAX_NAME).collect();
                let mut with_name = labels.to_vec();
                with_name.push(("name", &own));
                one(all, prefix, &with_name, name, number, &mut left);
            } else {
                let name = format!("{name}_{own}");
                one(all, prefix, labels, &name, number, &mut left);
            }
        }
    }
}

fn one(
    all: &mut Families,
    prefix: &str,
    labels: Labels<'_>,
    name: &str,
    number: &Number,
    left: &mut usize,
) {
    let (Some(rest), Some((name, scale))) = (left.checked_sub(1), conventional(name)) else {
        return;
    };
    *left = rest;
    let help = |name: &str| format!("{name}, as a stage or the engine counts it.");
    match number {
        Number::Total(total) if scale < 1.0 => {
            let seconds = *total as f64 * scale;
            let full = format!("{prefix}{name}_total");
            all.seconds(&full, &help(&name), labels, seconds);
        }
        Number::Total(total) => {
            let name = name.trim_end_matches("_total");
            all.total(
                &format!("{prefix}{name}_total"),
                &help(name),
                labels,
                *total,
            );
        }
        Number::Gauge(value) => {
            let is_taken = TAKEN.iter().any(|taken| name.ends_with(taken));
            let end = if is_taken { "_now" } else { "" };
            let full = format!("{prefix}{name}{end}");
            all.gauge(&full, &help(&name), labels, value * scale);
        }
        // Groups have one level.
        Number::Group(_) => {}
    }
}

/// A name as metrics have it, and what its numbers are to be multiplied by.
fn conventional(name: &str) -> Option<(String, f64)> {
    let plain = |c: char| match c {
        'a'..='z' | '0'..='9' | '_' => c,
        'A'..='Z' => c.to_ascii_lowercase(),
        _ => '_',
    };
    let name: String = name.chars().take(MAX_NAME).map(plain).collect();
    let in_seconds = [("_ms", 1e-3), ("_us", 1e-6), ("_ns", 1e-9)];
    let found = in_seconds
        .iter()
        .find_map(|(end, scale)| Some((format!("{}_seconds", name.strip_suffix(end)?), *scale)));
    (!name.is_empty()).then(|| found.unwrap_or((name, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::super::families::Format;
    use super::*;

    fn text(counters: &Counters, names_are_foreign: bool) -> String {
        let mut all = Families::new();
        let labels = [("stage", "s")];
        tell(&mut all, "x_", &labels, counters, names_are_foreign);
        let text = all.text(Format::Prometheus).unwrap();
        let numbers = text.lines().filter(|line| !line.starts_with('#'));
        numbers.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn names_say_the_unit_and_the_kind() {
        let queue = Counters::new().gauge("waiting", 2.0);
        let counters = Counters::new()
            .total("refused", 3)
            .total("hits_total", 4)
            .gauge("decoded_bytes", 5.0)
            .gauge("pace_us", 1500.0)
            .total("spent_ms", 250)
            .gauge("Odd-Name", 6.0)
            .gauge("page_count", 7.0)
            .gauge("", 8.0)
            .group("queue", queue);
        let expected = "x_refused_total{stage=\"s\"} 3\n\
                        x_hits_total{stage=\"s\"} 4\n\
                        x_decoded_bytes{stage=\"s\"} 5.0\n\
                        x_pace_seconds{stage=\"s\"} 0.0015\n\
                        x_spent_seconds_total{stage=\"s\"} 0.25\n\
                        x_odd_name{stage=\"s\"} 6.0\n\
                        x_page_count_now{stage=\"s\"} 7.0\n\
                        x_queue_waiting{stage=\"s\"} 2.0";
        assert_eq!(text(&counters, false), expected);
    }

    #[test]
    fn names_of_others_are_labels_and_few() {
        let many = (0..200).fold(Counters::new(), |all, n| all.gauge(format!("n{n}"), 1.0));
        let counters = Counters::new().total("faults", 1).group("plugin", many);
        let text = text(&counters, true);
        assert!(
            text.starts_with("x_faults_total{stage=\"s\"} 1\nx_plugin{stage=\"s\",name=\"n0\"} ")
        );
        assert_eq!(text.lines().count(), MAX_NUMBERS);
    }
}
