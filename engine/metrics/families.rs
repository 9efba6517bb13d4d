//! Numbers by the name of their family, and the texts that Prometheus reads.

use std::collections::{HashMap, HashSet};
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::{Distribution, Histogram};

/// What tells the numbers of a family apart.
pub type Labels<'l> = &'l [(&'static str, &'l str)];

/// Most numbers of one family; further ones are left out.
const MAX_OF_FAMILY: usize = 10_000;

/// The form of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus, version 0.0.4, which everything reads.
    Prometheus,
    /// `OpenMetrics` 1.0, which Prometheus asks for first.
    OpenMetrics,
}

impl Format {
    /// The media type of the text.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What is told at one scrape. A name says its unit, and of a counter it ends in `_total`.
#[derive(Debug, Default)]
pub struct Families {
    list: Vec<Family>,
    by_name: HashMap<String, usize>,
}

#[derive(Debug)]
struct Family {
    name: String,
    help: String,
    kind: MetricType,
    keys: Vec<&'static str>,
    samples: Vec<Sample>,
    /// The labels of all of them.
    told: HashSet<Vec<(&'static str, String)>>,
}

#[derive(Debug)]
struct Sample {
    labels: Vec<(&'static str, String)>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Total(u64),
    Seconds(f64),
    Gauge(f64),
    Histogram(Distribution),
}

impl Families {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A number that only counts up.
    pub fn total(&mut self, name: &str, help: &str, labels: Labels<'_>, total: u64) {
        self.add(name, help, labels, Value::Total(total));
    }

    /// Seconds that only add up.
    pub fn seconds(&mut self, name: &str, help: &str, labels: Labels<'_>, seconds: f64) {
        self.add(name, help, labels, Value::Seconds(seconds));
    }

    /// A number that may fall.
    pub fn gauge(&mut self, name: &str, help: &str, labels: Labels<'_>, value: f64) {
        self.add(name, help, labels, Value::Gauge(value));
    }

    /// Durations.
    pub fn histogram(&mut self, name: &str, help: &str, labels: Labels<'_>, of: &Histogram) {
        self.add(name, help, labels, Value::Histogram(of.read()));
    }

    /// A name that is taken by something of another kind or with other labels keeps its meaning:
    /// what comes later is left out, and so is what was told already.
    fn add(&mut self, name: &str, help: &str, labels: Labels<'_>, value: Value) {
        let kind = value.kind();
        let known = self.by_name.get(name).copied();
        let place = known.unwrap_or_else(|| {
            let place = self.list.len();
            self.by_name.insert(name.to_owned(), place);
            self.list.push(Family {
                name: name.to_owned(),
                help: help.to_owned(),
                kind,
                keys: labels.iter().map(|(key, _)| *key).collect(),
                samples: Vec::new(),
                told: HashSet::new(),
            });
            place
        });
        let family = &mut self.list[place];
        let keys = labels.iter().map(|(key, _)| key);
        let is_other = family.kind != kind || !keys.eq(&family.keys);
        if is_other || family.samples.len() >= MAX_OF_FAMILY {
            return;
        }
        let labels: Vec<_> = labels
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()))
            .collect();
        if family.told.insert(labels.clone()) {
            family.samples.push(Sample { labels, value });
        }
    }

    /// The text of all of it.
    ///
    /// # Errors
    /// None, as long as a text has room in memory.
    pub fn text(self, format: Format) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut all = String::new();
        match format {
            Format::Prometheus => prometheus_text::encode(&mut all, &registry)?,
            Format::OpenMetrics => text::encode(&mut all, &registry)?,
        }
        Ok(all)
    }
}

impl Value {
    fn kind(&self) -> MetricType {
        match self {
            Self::Total(_) | Self::Seconds(_) => MetricType::Counter,
            Self::Gauge(_) => MetricType::Gauge,
            Self::Histogram(_) => MetricType::Histogram,
        }
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.list {
            // The encoder puts unit and ending behind the name.
            let name = family.name.as_str();
            let name = match family.kind {
                MetricType::Counter => name.strip_suffix("_total").unwrap_or(name),
                _ => name,
            };
            let (name, unit) = match (name.strip_suffix("_seconds"), name.strip_suffix("_bytes")) {
                (Some(name), _) => (name, Some(Unit::Seconds)),
                (_, Some(name)) => (name, Some(Unit::Bytes)),
                _ => (name, None),
            };
            let mut of_family =
                encoder.encode_descriptor(name, &family.help, unit.as_ref(), family.kind)?;
            for sample in &family.samples {
                let mut one = of_family.encode_family(&sample.labels)?;
                match &sample.value {
                    Value::Total(total) => {
                        one.encode_counter::<NoLabelSet, u64, u64>(total, None)?
                    }
                    Value::Seconds(sum) => one.encode_counter::<NoLabelSet, f64, u64>(sum, None)?,
                    Value::Gauge(value) => one.encode_gauge(value)?,
                    Value::Histogram(of) => {
                        one.encode_histogram::<NoLabelSet>(of.sum, of.count, &of.buckets, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::histogram::HTTP;
    use super::*;

    fn families() -> Families {
        let took = Histogram::new(&HTTP[..2]);
        took.observe(Duration::from_millis(7));
        let mut all = Families::new();
        all.total("a_total", "Of a.", &[("b", "x\"\n\\y")], 3);
        all.gauge("c_bytes", "Of c.", &[], 1.5);
        all.histogram("d_seconds", "Of d.", &[("e", "f")], &took);
        all.total("a_total", "Of a.", &[("b", "z")], 4);
        all.seconds("g_seconds_total", "Of g.", &[], 0.25);
        all
    }

    #[test]
    fn numbers_of_a_family_stand_together_and_are_escaped() {
        let text = families().text(Format::Prometheus).unwrap();
        let expected = "# HELP a_total Of a.\n# TYPE a_total counter\n\
                        a_total{b=\"x\\\"\\n\\\\y\"} 3\na_total{b=\"z\"} 4\n\
                        # HELP c_bytes Of c.\n# TYPE c_bytes gauge\nc_bytes 1.5\n\
                        # HELP d_seconds Of d.\n# TYPE d_seconds histogram\n\
                        d_seconds_bucket{e=\"f\",le=\"0.005\"} 0\n\
                        d_seconds_bucket{e=\"f\",le=\"0.01\"} 1\n\
                        d_seconds_bucket{e=\"f\",le=\"+Inf\"} 1\n\
                        d_seconds_sum{e=\"f\"} 0.007\nd_seconds_count{e=\"f\"} 1\n\
                        # HELP g_seconds_total Of g.\n# TYPE g_seconds_total counter\n\
                        g_seconds_total 0.25\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_same_as_open_metrics_says_units_and_ends() {
        let text = families().text(Format::OpenMetrics).unwrap();
        for wanted in [
            "# TYPE a counter\n",
            "a_total{b=\"z\"} 4\n",
            "# TYPE d_seconds histogram\n",
            "# UNIT d_seconds seconds\n",
            "d_seconds_bucket{le=\"+Inf\",e=\"f\"} 1\n",
            "# UNIT g_seconds seconds\n",
            "g_seconds_total 0.25\n",
        ] {
            assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn a_name_keeps_its_first_meaning() {
        let mut all = families();
        all.gauge("a_total", "Another.", &[("b", "q")], 1.0);
        all.total("a_total", "Another.", &[("other", "q")], 1);
        all.total("a_total", "Again.", &[("b", "z")], 9);
        let text = all.text(Format::Prometheus).unwrap();
        assert_eq!(text, families().text(Format::Prometheus).unwrap());
    }
}
