//! Times, and the rows that are made of them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value as Json, json};

use super::Part;
use crate::cli::output::{Table, bar};

/// Fewest times of a row, however long they take.
const LEAST_RUNS: usize = 3;
/// Most times of a row that are kept: what takes less is measured for a shorter time.
const MOST_RUNS: usize = 1_000_000;
/// The share of a row's time that is its warm-up, and how long it is at most.
const WARM_UP: f64 = 0.1;
const LONGEST_WARM_UP: Duration = Duration::from_secs(1);

/// What is measured in a row.
#[derive(Clone, Debug)]
pub(super) struct What {
    pub(super) part: Part,
    /// What is done, such as `1 picture`.
    pub(super) name: String,
    /// What is counted in `per second`: `pictures`, `labels`, `searches`.
    pub(super) unit: &'static str,
    /// How many of it a run does.
    pub(super) items: usize,
    /// Runs at the same time.
    pub(super) at_once: usize,
    /// Operations on floating-point numbers of a run, where they are known.
    pub(super) operations: Option<f64>,
}

impl What {
    pub(super) fn new(part: Part, name: impl Into<String>, unit: &'static str) -> Self {
        Self {
            part,
            name: name.into(),
            unit,
            items: 1,
            at_once: 1,
            operations: None,
        }
    }
}

/// A row: what was measured, and how long each run took.
#[derive(Clone, Debug)]
struct Row {
    what: What,
    times: Vec<Duration>,
    /// From the first run's begin to the end of the last.
    took: Duration,
}

/// All rows. Shared with who prints them before the end.
pub(super) struct Measured {
    model: String,
    /// How long a row is measured.
    time: Duration,
    rows: Mutex<Vec<Row>>,
    bar: ProgressBar,
}

/// The runs of a row that is being measured.
pub(super) struct Runs<'m> {
    measured: &'m Measured,
    row: usize,
    begun: Instant,
}

/// A warm-up that has begun.
pub(super) struct WarmUp {
    time: Duration,
    begun: Instant,
}

impl WarmUp {
    pub(super) fn is_over(&self) -> bool {
        self.begun.elapsed() >= self.time
    }
}

impl Measured {
    pub(super) fn new(model: String, time: Duration) -> Self {
        let bar = bar(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Self {
            model,
            time,
            rows: Mutex::default(),
            bar,
        }
    }

    /// Says on a terminal what is done before a row can be measured.
    pub(super) fn tell(&self, message: impl Into<String>) {
        self.bar.set_message(message.into());
        self.bar.tick();
    }

    /// Takes the progress away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// Measures a row of what blocks.
    ///
    /// # Errors
    /// What the work says.
    pub(super) fn measure(
        &self,
        what: What,
        mut work: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.tell_of(&what);
        let warm_up = self.warm_up();
        loop {
            work()?;
            if warm_up.is_over() {
                break;
            }
        }
        let runs = self.begin(what);
        while runs.goes_on() {
            let begun = Instant::now();
            work()?;
            runs.add(begun.elapsed());
        }
        Ok(())
    }

    /// Measures a row of what waits.
    ///
    /// # Errors
    /// What the work says.
    pub(super) async fn measure_waiting(
        &self,
        what: What,
        mut work: impl AsyncFnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.tell_of(&what);
        let warm_up = self.warm_up();
        loop {
            work().await?;
            if warm_up.is_over() {
                break;
            }
        }
        let runs = self.begin(what);
        while runs.goes_on() {
            let begun = Instant::now();
            work().await?;
            runs.add(begun.elapsed());
        }
        Ok(())
    }

    /// What is done before a row is measured, once at least: it fills caches.
    pub(super) fn warm_up(&self) -> WarmUp {
        WarmUp {
            time: self.time.mul_f64(WARM_UP).min(LONGEST_WARM_UP),
            begun: Instant::now(),
        }
    }

    /// Begins a row.
    pub(super) fn begin(&self, what: What) -> Runs<'_> {
        self.tell_of(&what);
        let mut rows = self.rows();
        rows.push(Row {
            what,
            times: Vec::new(),
            took: Duration::ZERO,
        });
        Runs {
            measured: self,
            row: rows.len() - 1,
            begun: Instant::now(),
        }
    }

    fn tell_of(&self, what: &What) {
        self.tell(format!("{}: {}", what.part.name(), what.name));
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those rows that have a time, in the order of their coming.
    fn finished(&self) -> Vec<Row> {
        let rows = self.rows();
        let with_times = rows.iter().filter(|row| !row.times.is_empty());
        with_times.cloned().collect()
    }

    /// How many rows have a time.
    pub(super) fn count(&self) -> usize {
        let rows = self.rows();
        rows.iter().filter(|row| !row.times.is_empty()).count()
    }

    /// Prints a table.
    pub(super) fn print(&self) {
        let rows = self.finished();
        if rows.is_empty() {
            return;
        }
        outln!("{}, {} threads", self.model, threads());
        let mut table = Table::new([
            "PART",
            "WHAT",
            ">MEDIAN/MS",
            ">P99/MS",
            ">PER SECOND",
            ">GFLOP/S",
            ">RUNS",
        ]);
        for row in &rows {
            let gflops = row.gflops().map(|gflops| format!("{gflops:.1}"));
            table.add([
                row.what.part.name().to_owned(),
                row.what.name.clone(),
                digits(row.median_ms()),
                digits(row.p99_ms()),
                format!("{} {}", digits(row.per_second()), row.what.unit),
                gflops.unwrap_or_else(|| "-".to_owned()),
                row.times.len().to_string(),
            ]);
        }
        table.print(false);
    }

    /// All rows, and whether they are all that was asked for.
    pub(super) fn json(&self, is_complete: bool) -> Json {
        let rows: Vec<Json> = self.finished().iter().map(Row::json).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "model": self.model,
            "threads": threads(),
            "seconds": self.time.as_secs_f64(),
            "complete": is_complete,
            "rows": rows,
        })
    }
}

impl Runs<'_> {
    /// False once the row has what it needs.
    pub(super) fn goes_on(&self) -> bool {
        let runs = self.measured.rows()[self.row].times.len();
        let is_time = self.begun.elapsed() < self.measured.time || runs < LEAST_RUNS;
        is_time && runs < MOST_RUNS
    }

    /// Takes the time of a run that has just ended.
    pub(super) fn add(&self, time: Duration) {
        let row = &mut self.measured.rows()[self.row];
        row.times.push(time);
        row.took = self.begun.elapsed();
    }
}

impl Row {
    fn median_ms(&self) -> f64 {
        percentile(&self.times, 50)
    }

    fn p99_ms(&self) -> f64 {
        percentile(&self.times, 99)
    }

    /// What is counted, a second. Runs that are at it at the same time share the clock; of the others
    /// what lies between two runs does not count.
    fn per_second(&self) -> f64 {
        let items = (self.times.len() * self.what.items) as f64;
        let took = match self.what.at_once {
            1 => self.times.iter().sum(),
            _ => self.took,
        };
        items / took.as_secs_f64()
    }

    fn gflops(&self) -> Option<f64> {
        let operations = self.what.operations?;
        Some(operations / (self.median_ms() * 1e6))
    }

    fn json(&self) -> Json {
        json!({
            "part": self.what.part.name(),
            "what": self.what.name,
            "runs": self.times.len(),
            "at_once": self.what.at_once,
            "median_ms": self.median_ms(),
            "p99_ms": self.p99_ms(),
            "per_second": self.per_second(),
            "unit": self.what.unit,
            "gflop_per_second": self.gflops(),
        })
    }
}

/// The least of these times that so many of a hundred kept within, in milliseconds.
fn percentile(times: &[Duration], percent: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let rank = (times.len() * percent).div_ceil(100);
    let time = times.get(rank.saturating_sub(1)).copied();
    time.unwrap_or_default().as_secs_f64() * 1e3
}

/// A number with three digits or more, and not more than a person reads.
fn digits(number: f64) -> String {
    let decimals = match number {
        ..1.0 => 3,
        1.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}")
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: &[u64]) -> Vec<Duration> {
        let milliseconds = milliseconds.iter();
        milliseconds.map(|ms| Duration::from_millis(*ms)).collect()
    }

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times: Vec<u64> = (1..=200).rev().collect();
        assert_eq!(percentile(&ms(&times), 50), 100.0);
        assert_eq!(percentile(&ms(&times), 99), 198.0);
        assert_eq!(percentile(&ms(&[7, 3, 5]), 50), 5.0);
        assert_eq!(percentile(&ms(&[7, 3, 5]), 99), 7.0);
        assert_eq!(percentile(&[], 99), 0.0);
    }

    #[test]
    fn a_rate_counts_what_a_run_does_and_who_runs_beside_it() {
        let mut row = Row {
            what: What {
                items: 8,
                operations: Some(4e9),
                ..What::new(Part::Tower, "8 pictures", "pictures")
            },
            times: ms(&[100, 100, 200]),
            took: Duration::from_millis(600),
        };
        assert_eq!(row.per_second(), 60.0);
        assert_eq!(row.gflops(), Some(40.0));
        row.what.at_once = 8;
        assert_eq!(row.per_second(), 40.0);
    }

    #[test]
    fn a_row_has_runs_however_short_its_time_is() {
        let measured = Measured::new("mine".into(), Duration::ZERO);
        let mut calls = 0;
        let what = What::new(Part::Text, "1 label", "labels");
        let done = measured.measure(what, || {
            calls += 1;
            Ok(())
        });
        done.unwrap();
        assert_eq!(calls, LEAST_RUNS + 1);
        // One that was begun and has no time yet is none.
        measured.begin(What::new(Part::Text, "128 labels", "labels"));
        let json = measured.json(false);
        assert_eq!(json["rows"].as_array().unwrap().len(), 1);
        assert_eq!(json["rows"][0]["runs"], LEAST_RUNS);
        assert_eq!(json["complete"], false);
    }

    #[test]
    fn numbers_are_as_long_as_they_tell() {
        let told = [0.0312, 4.567, 45.67, 456.7, 4567.8].map(digits);
        assert_eq!(told, ["0.031", "4.57", "45.7", "457", "4568"]);
    }
}
