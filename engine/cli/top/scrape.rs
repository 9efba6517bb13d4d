//! What a server says of itself in the text format of Prometheus, read as far as this program
//! needs.

use std::collections::BTreeMap;

/// Most numbers of one answer that are kept.
const MAX_SAMPLES: usize = 200_000;

/// Numbers by the name of their family.
#[derive(Clone, Debug, Default)]
pub(super) struct Scrape(BTreeMap<String, Vec<Sample>>);

/// A number, and what tells it from others of its family.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    labels: Vec<(String, String)>,
    pub(super) value: f64,
}

impl Sample {
    /// The value of a label; empty where it has none.
    pub(super) fn label(&self, name: &str) -> &str {
        let mut labels = self.labels.iter();
        let found = labels.find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// True where it has these labels with these values.
    pub(super) fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels
            .iter()
            .all(|(name, value)| self.label(name) == *value)
    }
}

impl Scrape {
    /// Reads the text; lines that cannot be read are passed over.
    pub(super) fn of(text: &str) -> Self {
        let mut families: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        for (name, sample) in lines.take(MAX_SAMPLES).filter_map(sample) {
            families.entry(name.to_owned()).or_default().push(sample);
        }
        Self(families)
    }

    /// The numbers of a family.
    pub(super) fn all(&self, name: &str) -> &[Sample] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The sum of those with these labels.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let samples = self.all(name).iter();
        let samples = samples.filter(|sample| sample.has(labels));
        samples.map(|sample| sample.value).sum()
    }

    /// The buckets of a histogram, all with these labels together: each bound, and how many were at
    /// most so long.
    pub(super) fn buckets(&self, name: &str, labels: &[(&str, &str)]) -> Buckets {
        let mut buckets = Buckets::default();
        let samples = self.all(&format!("{name}_bucket")).iter();
        for sample in samples.filter(|sample| sample.has(labels)) {
            let bound = match sample.label("le") {
                "+Inf" => f64::INFINITY,
                bound => match bound.parse() {
                    Ok(bound) => bound,
                    Err(_) => continue,
                },
            };
            buckets.add(bound, sample.value);
        }
        buckets
    }
}

/// A line: `name{label="value",..} number`.
fn sample(line: &str) -> Option<(&str, Sample)> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inner) => labels(inner)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name, Sample { labels, value }))
}

/// The labels up to the brace, and what stands behind it.
fn labels(mut text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.push((name.to_owned(), value));
        text = &rest[end + 1..];
    }
}

/// How many took at most so long.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    fn add(&mut self, bound: f64, count: f64) {
        match self
            .0
            .binary_search_by(|(known, _)| known.total_cmp(&bound))
        {
            Ok(place) => self.0[place].1 += count,
            Err(place) => self.0.insert(place, (bound, count)),
        }
    }

    /// What came since then. Counts that fell began anew.
    pub(super) fn since(&self, before: &Self) -> Self {
        let earlier = |bound: f64| {
            let found = before.0.iter().find(|(known, _)| *known == bound);
            found.map_or(0.0, |(_, count)| *count)
        };
        if self.count() < before.count() {
            return self.clone();
        }
        let buckets = self.0.iter();
        let buckets = buckets.map(|(bound, count)| (*bound, (count - earlier(*bound)).max(0.0)));
        Self(buckets.collect())
    }

    /// How many there are.
    pub(super) fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// The time that so large a share of them took at most, as between the bounds of its bucket by
    /// a straight line; none where there are none.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = share * self.count();
        if self.count() <= 0.0 {
            return None;
        }
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= wanted && *count > below {
                if bound.is_infinite() {
                    return Some(low);
                }
                return Some(low + (bound - low) * (wanted - below) / (count - below));
            }
            (low, below) = (*bound, *count);
        }
        Some(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a_seconds Of a.\n# TYPE a_seconds histogram\n\
        a_seconds_bucket{stage=\"x\",le=\"0.1\"} 5\na_seconds_bucket{stage=\"x\",le=\"0.2\"} 10\n\
        a_seconds_bucket{stage=\"x\",le=\"+Inf\"} 10\na_seconds_count{stage=\"x\"} 10\n\
        b_total{name=\"q\\\"\\n\\\\z\"} 3\nb_total{name=\"r\"} 4.0\nc 1e3\nno number\n{} 1\n";

    #[test]
    fn numbers_are_found_by_their_labels() {
        let scrape = Scrape::of(TEXT);
        assert_eq!(scrape.sum("b_total", &[]), 7.0);
        assert_eq!(scrape.sum("b_total", &[("name", "q\"\n\\z")]), 3.0);
        assert_eq!(scrape.sum("c", &[]), 1000.0);
        assert_eq!(scrape.sum("d", &[]), 0.0);
        assert_eq!(scrape.sum("a_seconds_count", &[("stage", "y")]), 0.0);
    }

    #[test]
    fn a_quantile_lies_between_the_bounds_of_its_bucket() {
        let buckets = Scrape::of(TEXT).buckets("a_seconds", &[("stage", "x")]);
        assert_eq!(buckets.quantile(0.25), Some(0.05));
        assert_eq!(buckets.quantile(0.5), Some(0.1));
        let p95 = buckets.quantile(0.95).unwrap();
        assert!((p95 - 0.19).abs() < 1e-9, "{p95}");
        assert_eq!(Buckets::default().quantile(0.5), None);
        assert_eq!(buckets.since(&buckets).quantile(0.5), None);
        assert_eq!(buckets.since(&Buckets::default()), buckets);
        // After a restart all is new.
        let mut more = buckets.clone();
        more.add(f64::INFINITY, 100.0);
        assert_eq!(buckets.since(&more), buckets);
        let mut slow = Buckets::default();
        slow.add(0.1, 0.0);
        slow.add(f64::INFINITY, 2.0);
        assert_eq!(slow.quantile(0.5), Some(0.1));
    }

    #[test]
    fn what_cannot_be_read_is_passed_over() {
        for text in [
            "a{",
            "a{b",
            "a{b=\"",
            "a{b=\"\\",
            "a",
            "a{} x",
            "",
            "a{b=\"c\"}",
        ] {
            assert!(Scrape::of(text).0.is_empty(), "{text}");
        }
    }
}
