//! What is counted of each route.

use std::sync::OnceLock;
use std::time::Duration;

use super::families::Families;
use super::histogram::{HTTP, Histogram};

/// The methods that are told apart; others have one name in common.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// The same of statuses.
const CODES: [(u16, &str); 22] = [
    (200, "200"),
    (204, "204"),
    (304, "304"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (406, "406"),
    (408, "408"),
    (409, "409"),
    (411, "411"),
    (413, "413"),
    (414, "414"),
    (415, "415"),
    (421, "421"),
    (422, "422"),
    (429, "429"),
    (431, "431"),
    (500, "500"),
    (503, "503"),
    (504, "504"),
];
const OTHER: &str = "other";

/// Durations by method and status; what never happens takes next to no room.
type ByCode = [OnceLock<Box<Histogram>>; CODES.len() + 1];

/// The requests of one route.
#[derive(Debug)]
pub struct RouteMeters(Box<[ByCode]>);

impl Default for RouteMeters {
    fn default() -> Self {
        Self(
            (0..=METHODS.len())
                .map(|_| std::array::from_fn(|_| OnceLock::new()))
                .collect(),
        )
    }
}

impl RouteMeters {
    /// Counts an answer. Nothing is locked but where the first of a method and a status comes.
    pub fn answered(&self, method: &str, code: u16, took: Duration) {
        self.took(method, code).observe(took);
    }

    /// Tells a method from now on, also where no request has come: Prometheus had better see the
    /// first one as a rise.
    pub fn expect(&self, method: &str) {
        self.took(method, 200);
    }

    fn took(&self, method: &str, code: u16) -> &Histogram {
        let known = METHODS.iter().position(|known| *known == method);
        let method = &self.0[known.unwrap_or(METHODS.len())];
        let known = CODES.iter().position(|(known, _)| *known == code);
        let took = &method[known.unwrap_or(CODES.len())];
        took.get_or_init(|| Box::new(Histogram::new(HTTP)))
    }

    /// Tells all of it under the route's pattern.
    pub fn tell(&self, all: &mut Families, route: &str) {
        let methods = METHODS.into_iter().chain([OTHER]);
        for (method, by_code) in methods.zip(&self.0) {
            let codes = CODES.iter().map(|(_, name)| *name).chain([OTHER]);
            for (code, took) in codes.zip(by_code) {
                if let Some(took) = took.get() {
                    let name = "omnizap_http_request_duration_seconds";
                    let help = "From the head of a request until its answer was made, the time \
                                that its body took to come included.";
                    let labels = [("route", route), ("method", method), ("code", code)];
                    all.histogram(name, help, &labels, took);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::families::Format;
    use super::*;

    #[test]
    fn whatever_comes_the_names_are_few() {
        let meters = RouteMeters::default();
        meters.expect("POST");
        for code in 100..700 {
            for method in ["GET", "BREW", "get", "X-1", ""] {
                meters.answered(method, code, Duration::from_millis(1));
            }
        }
        let mut all = Families::new();
        meters.tell(&mut all, "/a/{b}");
        let text = all.text(Format::Prometheus).unwrap();
        let count = |method: &str, code: &str| {
            let start = format!(
                "omnizap_http_request_duration_seconds_count{{route=\"/a/{{b}}\",\
                 method=\"{method}\",code=\"{code}\"}} "
            );
            let line = text.lines().find_map(|line| line.strip_prefix(&start));
            line.map(|count| count.parse::<u64>().unwrap())
        };
        assert_eq!(count("POST", "200"), Some(0));
        assert_eq!(count("GET", "404"), Some(1));
        assert_eq!(count("GET", OTHER), Some(600 - CODES.len() as u64));
        assert_eq!(count(OTHER, "404"), Some(4));
        let series = text.lines().filter(|line| line.contains("_count{")).count();
        assert_eq!(series, 2 * (CODES.len() + 1) + 1);
    }
}
