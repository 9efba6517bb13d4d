//! Many files: several at a time, a row each, in the order of their paths.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use engine::pipeline::Pipeline;
use engine::pipeline::build::AdmissionLimits;
use engine::pipeline::graph::Graph;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use omnizap_contract::common::backoff::Backoff;
use omnizap_contract::{Error, ErrorKind};
use serde_json::Value as Json;

use super::results::Results;
use super::row::Row;
use super::settings;
use super::sink::Sink;
use super::sorting::{Sorter, Way};
use super::walk::{self, Found, Picture};
use super::{ClassifyArgs, classify_file, started};
use crate::cli::picture;
use crate::cli::pipelines::{self, Done, Named};
use crate::cli::request::{Request, is_standard_input};
use crate::cli::{Common, Failure, output};

/// Most pictures that are worked on at the same time.
pub(super) const MAX_JOBS: u64 = 256;

/// Most pictures that are begun and have no row yet: one that takes long holds up no more.
const MAX_AHEAD: usize = 1024;

/// How often a picture is tried that there was no place for, and the pauses between.
const MAX_TRIES: usize = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// True where more is asked for than the answers to some files, one after the other.
pub(super) fn is_meant(args: &ClassifyArgs) -> bool {
    let has_folder = || args.files.iter().any(|path| path.is_dir());
    args.out.is_some() || args.sort_into.is_some() || args.recursive || has_folder()
}

/// Classifies all pictures that were named.
///
/// # Errors
/// Files that could not be classified and folders that could not be read, at the end of the others;
/// what cannot be written, at once.
pub(super) async fn run(common: &Common, args: &ClassifyArgs) -> Result<ExitCode, Failure> {
    check(args)?;
    let except = args.sort_into.as_deref();
    let found = walk::find(&args.files, args.recursive, except)?;
    tell(&found);
    if found.pictures.is_empty() && !args.resume {
        return Err(Failure::Work(nothing(&found, args)));
    }
    let named = pipelines::named(common, &args.pipeline)?;
    let request = Request::new(&named.graph.file, &args.given(), true)?;
    let unreadable = found.unreadable.len();
    let mut bulk = Bulk::new(args, found, &named.graph, &request)?;
    let done = bulk.finish_all(named, &request).await;
    bulk.bar.finish_and_clear();
    match done {
        Ok(Done::All(())) => bulk.end(unreadable),
        Ok(Done::Interrupted(code)) => {
            bulk.pause()?;
            errln!("interrupted{}", bulk.how_to_go_on());
            Ok(ExitCode::from(code))
        }
        Err(failure) => {
            // What went wrong may hinder this too, and is what is told.
            let _ = bulk.pause();
            if bulk.has_rows() {
                errln!("not finished{}", bulk.how_to_go_on());
            }
            Err(failure)
        }
    }
}

/// Refuses what contradicts itself.
fn check(args: &ClassifyArgs) -> Result<(), Failure> {
    let usage = |message: &str| Err(Failure::Usage(anyhow!("{message}")));
    if args.files.is_empty() {
        return usage("--out, --sort-into and --recursive need files or folders to classify");
    }
    if args.files.iter().any(|path| is_standard_input(path)) {
        return usage("- is one picture and has no name: classify it by itself");
    }
    // One of several may be gone, and all of them where they were moved.
    let is_gone = |path: &PathBuf| path.symlink_metadata().is_err();
    if args.files.iter().all(is_gone) && !args.resume {
        let gone = anyhow!("there is no file or folder {}", listed(args));
        return Err(Failure::Work(gone));
    }
    let Some(sorted) = &args.sort_into else {
        return Ok(());
    };
    let Ok(sorted) = sorted.canonicalize() else {
        return Ok(());
    };
    let within = |path: &&PathBuf| {
        let folder = path.canonicalize().ok().filter(|path| path.is_dir());
        folder.is_some_and(|folder| folder.starts_with(&sorted))
    };
    match args.files.iter().find(within) {
        Some(folder) => {
            let folder = folder.display();
            usage(&format!(
                "--sort-into must not hold {folder}, which is sorted: name another folder"
            ))
        }
        None => Ok(()),
    }
}

/// Tells what was left out.
fn tell(found: &Found) {
    for folder in &found.unreadable {
        errln!("warning: cannot read the folder {folder}");
    }
    if found.links > 0 {
        let (links, verb) = counted(found.links, "link to a folder", "links to folders");
        errln!("warning: {links} {verb} not followed");
    }
}

/// What was named.
fn listed(args: &ClassifyArgs) -> String {
    let paths = args.files.iter().map(|path| path.display().to_string());
    paths.collect::<Vec<_>>().join(", ")
}

fn nothing(found: &Found, args: &ClassifyArgs) -> anyhow::Error {
    let deeper = if found.has_deeper {
        "; --recursive looks into the folders there too"
    } else {
        ""
    };
    anyhow!(
        "no pictures in {}: expected files that end in one of {}{deeper}",
        listed(args),
        picture::kinds()
    )
}

/// `1 file` and `was`, `2 files` and `were`.
fn counted(number: usize, one: &str, many: &str) -> (String, &'static str) {
    match number {
        1 => (format!("1 {one}"), "was"),
        _ => (format!("{number} {many}"), "were"),
    }
}

/// A picture, and its row where that is there from a run before.
struct Task {
    picture: Picture,
    known: Option<Known>,
}

struct Known {
    label: Option<String>,
}

/// Pictures on the way to their rows.
struct Bulk<'a> {
    args: &'a ClassifyArgs,
    settings: String,
    omitted: Vec<String>,
    jobs: usize,
    tasks: Vec<Task>,
    /// The first of them whose row is not written.
    at: usize,
    /// Rows that wait for one before them.
    waiting: BTreeMap<usize, Row>,
    /// Pictures of this run that have a row, and those of them that could not be classified.
    written: usize,
    failed: usize,
    sink: Sink,
    sorter: Option<Sorter>,
    bar: ProgressBar,
}

impl<'a> Bulk<'a> {
    fn new(
        args: &'a ClassifyArgs,
        found: Found,
        graph: &Graph,
        request: &Request,
    ) -> Result<Self, Failure> {
        let omitted = args.omit.as_deref().unwrap_or(settings::OMITTED).split(',');
        let omitted = omitted.map(str::trim).filter(|field| !field.is_empty());
        let omitted: Vec<String> = omitted.map(str::to_owned).collect();
        let settings = settings::digest(graph, request, &omitted);
        let sink = Sink::of(args, &settings)?;
        let tasks = match &sink {
            Sink::File(results) if found.pictures.is_empty() && results.entries().is_empty() => {
                return Err(Failure::Work(nothing(&found, args)));
            }
            Sink::File(results) => tasks(found.pictures, results),
            Sink::Rows(_) | Sink::Answers => {
                let new = |picture| Task {
                    picture,
                    known: None,
                };
                found.pictures.into_iter().map(new).collect()
            }
        };
        sink.begin()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = args.jobs.and_then(|jobs| usize::try_from(jobs).ok());
        let bar = match sink {
            Sink::File(_) if !args.trace => progress(&tasks),
            _ => ProgressBar::hidden(),
        };
        Ok(Self {
            args,
            settings,
            omitted,
            // A few more than are computed at once, so that reading files holds up nothing.
            jobs: jobs.unwrap_or(cores + 2),
            tasks,
            at: 0,
            waiting: BTreeMap::new(),
            written: 0,
            failed: 0,
            sink,
            sorter: sorter(args)?,
            bar,
        })
    }

    /// Does what is left to do.
    async fn finish_all(&mut self, named: Named, request: &Request) -> Result<Done<()>, Failure> {
        if self.tasks.iter().all(|task| task.known.is_some()) {
            self.write_ready()?;
            return Ok(Done::All(()));
        }
        let done = named.with(async |pipeline: Arc<Pipeline>| {
            started(&pipeline).await;
            // As many as are begun at once are never refused.
            pipeline.admit_within(AdmissionLimits {
                always: self.jobs,
                ..AdmissionLimits::default()
            });
            self.classify(&pipeline, request).await?;
            Ok(())
        });
        Box::pin(done).await
    }

    async fn classify(&mut self, pipeline: &Pipeline, request: &Request) -> anyhow::Result<()> {
        let trace = self.args.trace;
        let mut in_flight = FuturesUnordered::new();
        let mut next = 0;
        loop {
            self.write_ready()?;
            // Files are sorted also where nobody reads the answers.
            let changes = self.sorter.is_some() || matches!(self.sink, Sink::File(_));
            let is_for_nobody = output::is_closed() && !changes;
            while in_flight.len() < self.jobs
                && in_flight.len() + self.waiting.len() < MAX_AHEAD
                && !is_for_nobody
            {
                let mut left = self.tasks.iter().enumerate().skip(next);
                let Some((at, task)) = left.find(|(_, task)| task.known.is_none()) else {
                    break;
                };
                next = at + 1;
                let path = task.picture.path.clone();
                in_flight.push(async move {
                    let answered = answer(pipeline, &path, request, trace).await;
                    (at, answered)
                });
            }
            let Some((at, answered)) = in_flight.next().await else {
                return Ok(());
            };
            let row = self.row(at, answered);
            self.waiting.insert(at, row);
            self.bar.inc(1);
        }
    }

    /// What is kept of an answer until its turn.
    fn row(&self, at: usize, answered: anyhow::Result<Json>) -> Row {
        let name = &self.tasks[at].picture.name;
        let mut row = Row::new(name, &self.settings, answered);
        if let Sink::Answers = self.sink {
            return row;
        }
        if !self.sink.keeps_answers() {
            row.answer = None;
        } else if let Some(Json::Object(fields)) = &mut row.answer {
            fields.retain(|field, _| !self.omitted.contains(field));
        }
        row
    }

    /// Writes all rows whose turn it is, and sorts their files.
    fn write_ready(&mut self) -> anyhow::Result<()> {
        while let Some(task) = self.tasks.get(self.at) {
            let (label, again) = if let Some(known) = &task.known {
                (known.label.clone(), true)
            } else if let Some(row) = self.waiting.remove(&self.at) {
                self.written += 1;
                self.failed += usize::from(row.fault.is_some());
                self.sink.write(&row, self.args)?;
                (row.label, false)
            } else {
                return Ok(());
            };
            if let (Some(sorter), Some(label)) = (&mut self.sorter, label) {
                sorter.put(&task.picture.path, &label, again)?;
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Keeps what is finished, also where it is not its turn: whoever goes on puts it in order.
    fn pause(&mut self) -> anyhow::Result<()> {
        let Sink::File(results) = &mut self.sink else {
            return Ok(());
        };
        for row in std::mem::take(&mut self.waiting).values() {
            results.add(row)?;
        }
        results.pause()
    }

    /// True where there is something to go on with.
    fn has_rows(&self) -> bool {
        matches!(&self.sink, Sink::File(results) if !results.entries().is_empty())
    }

    fn how_to_go_on(&self) -> String {
        let (Sink::File(results), Some(out)) = (&self.sink, &self.args.out) else {
            return String::new();
        };
        let done = results.entries().len();
        format!(
            ": {done} rows are kept for {}; the same command with --resume goes on from there",
            out.display()
        )
    }

    /// Leaves the results as they are to be.
    fn end(self, unreadable: usize) -> Result<ExitCode, Failure> {
        let (mut total, mut failed) = (self.written, self.failed);
        let mut place = String::new();
        if let (Sink::File(results), Some(out)) = (self.sink, &self.args.out) {
            total = results.entries().len();
            failed = results.entries().iter().filter(|it| !it.is_ok).count();
            results.finish().context(
                "the rows are kept, and the same command with --resume goes on from there",
            )?;
            place = format!(": their rows in {} say why", out.display());
            if failed == 0 {
                let (files, verb) = counted(total, "file", "files");
                errln!("{files} {verb} classified: {}", out.display());
            }
        }
        let mut faults = Vec::new();
        if unreadable > 0 {
            let (folders, _) = counted(unreadable, "folder", "folders");
            faults.push(format!("{folders} could not be read"));
        }
        if failed > 0 {
            faults.push(format!(
                "{failed} of {total} files were not classified{place}"
            ));
        }
        if !faults.is_empty() {
            return Err(Failure::Work(anyhow!(faults.join(", and "))));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn sorter(args: &ClassifyArgs) -> anyhow::Result<Option<Sorter>> {
    let way = match (args.moves, args.link) {
        (true, _) => Way::Move,
        (false, true) => Way::Link,
        (false, false) => Way::Copy,
    };
    // That of the results, which one process writes at a time.
    let name = args.out.as_deref().and_then(Path::file_name);
    let name = name.map_or_else(
        || std::process::id().to_string(),
        |name| name.to_string_lossy().into_owned(),
    );
    let folder = args.sort_into.as_deref();
    folder
        .map(|folder| Sorter::new(folder, way, &name))
        .transpose()
}

/// What there is to do where some rows are there.
fn tasks(pictures: Vec<Picture>, results: &Results) -> Vec<Task> {
    let entries = results.entries().iter();
    let mut known: HashMap<&str, &Option<String>> =
        entries.map(|entry| (&*entry.path, &entry.label)).collect();
    let tasks = pictures.into_iter().map(|picture| {
        let known = known.remove(&*picture.name);
        let known = known.map(|label| Known {
            label: label.clone(),
        });
        Task { picture, known }
    });
    tasks.collect()
}

/// On standard error, where that is a terminal.
fn progress(tasks: &[Task]) -> ProgressBar {
    let known = tasks.iter().filter(|task| task.known.is_some()).count();
    let bar = output::bar(ProgressBar::new(tasks.len() as u64));
    bar.set_position(known as u64);
    let style =
        ProgressStyle::with_template("{bar:30} {pos}/{len} pictures, {per_sec}, {eta} left");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.reset_eta();
    bar
}

/// What a pipeline says of a picture. Where it has no place for one, it is asked again.
async fn answer(
    pipeline: &Pipeline,
    path: &Path,
    request: &Request,
    trace: bool,
) -> anyhow::Result<Json> {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    for _ in 1..MAX_TRIES {
        let answered = classify_file(pipeline, path, request, trace).await;
        let is_busy = answered.as_ref().is_err_and(|error| {
            let error = error.downcast_ref::<Error>();
            error.is_some_and(|error| error.kind() == ErrorKind::Busy)
        });
        if !is_busy {
            return answered;
        }
        tokio::time::sleep(backoff.pause()).await;
    }
    classify_file(pipeline, path, request, trace).await
}
