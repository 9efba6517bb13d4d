//! One check in this very process: for people who reproduce it, or as the child of a validator.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use engine::pipeline::diagnostic::suggestion;
use engine::plugin::StageManifest;
use engine::plugin::probe::{Probe, process};

use super::check::{Check, Finding, Run, Verdict, ids};
use super::given::Given;
use super::report::{Line, Report};
use super::steps::{Steps, VERDICT};
use super::trial::{FileTrial, LibraryTrial, Setting, StageTrial};
use super::{ValidateArgs, again, child, file, limit};

/// Runs one check in this process: for people, or as the child of a validator.
pub(super) fn reproduce(args: &ValidateArgs, file: &Path, spec: &str) -> anyhow::Result<ExitCode> {
    let (check, stage, seed) = parse(spec)?;
    let steps = match &args.child {
        Some(word) => {
            process::bound(args.memory_mb << 20, std::os::unix::process::parent_id())
                .context("cannot bound the process of a check")?;
            Steps::Told(word.clone())
        }
        None => Steps::Shown,
    };
    let given = Given::read(&args.with)?;
    if let Ok(manifest) = FileTrial::read(file).manifest {
        given.check(&manifest.stages)?;
    }
    let setting = Setting {
        seed,
        given,
        limit: limit(args),
    };
    if args.child.is_none() {
        process::hold();
        if args.timeout_ms.is_some() {
            end_after(limit(args));
        }
    }
    let began = Instant::now();
    let verdict = perform(check, stage, file, setting, &steps);
    process::release();
    let verdict = verdict?;
    if let Steps::Told(_) = steps {
        steps.tell(VERDICT, &child::spell(&verdict));
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = Report::new(args.json, 1)?;
    report.end(Line {
        check,
        stage: stage.map(str::to_owned),
        verdict,
        took: began.elapsed(),
        again: again(args, file, spec),
    });
    let summary = report.finish(file, None, seed);
    Ok(if summary.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Ends this process after that time, in the middle of whatever the plugin does.
fn end_after(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        eprintln!("FAILED: it did not end within {} ms", limit.as_millis());
        process::release();
        std::process::exit(1);
    });
}

fn parse(spec: &str) -> anyhow::Result<(&'static Check, Option<&str>, u64)> {
    let parts: Vec<&str> = spec.split(':').collect();
    let (id, stage, seed) = match parts[..] {
        [id, seed] => (id, None, seed),
        [id, stage, seed] => (id, Some(stage), seed),
        _ => bail!("--reproduce {spec}: expected CHECK:SEED or CHECK:STAGE:SEED"),
    };
    let Some(check) = Check::find(id) else {
        let help = suggestion(id, ids()).unwrap_or_default();
        bail!("--reproduce {spec}: there is no check `{id}`: {help}");
    };
    match (check.is_of_stages(), stage) {
        (true, None) => bail!("--reproduce {spec}: expected {id}:STAGE:SEED"),
        (false, Some(_)) => bail!("--reproduce {spec}: expected {id}:SEED, it is of the library"),
        _ => {}
    }
    let seed = seed.parse();
    let seed = seed.with_context(|| format!("--reproduce {spec}: the seed is no number"))?;
    Ok((check, stage, seed))
}

fn perform(
    check: &Check,
    stage: Option<&str>,
    file: &Path,
    setting: Setting,
    steps: &Steps,
) -> anyhow::Result<Verdict> {
    match check.run {
        Run::Read => return Ok(file::read(&FileTrial::read(file), check.id)),
        Run::File(run) => return Ok(run(&FileTrial::read(file))),
        Run::Open(run) => {
            steps.step("open it and call init");
            return Ok(run(file));
        }
        Run::Described(_) | Run::Library(_) | Run::Stage(_) => {}
    }
    let find = |stages: &[StageManifest]| {
        let id = stage.unwrap_or_default();
        let found = stages.iter().find(|stage| stage.id == id).cloned();
        found.ok_or_else(|| {
            let ids = stages.iter().map(|stage| stage.id.as_str());
            anyhow!(
                "the plugin has no stage `{id}`: {}",
                suggestion(id, ids).unwrap_or_default()
            )
        })
    };
    if let Run::Described(run) = check.run {
        let manifest = FileTrial::read(file).manifest?;
        return Ok(run(&find(&manifest.stages)?));
    }
    steps.step("open it and call init");
    let probe = match Probe::open(file) {
        Ok(probe) => probe,
        Err(error) => return Ok(Err(Finding::new(error.to_string()))),
    };
    let library = LibraryTrial {
        probe,
        setting,
        steps: steps.clone(),
    };
    match check.run {
        Run::Library(run) => Ok(run(&library)),
        Run::Stage(run) => {
            let stage = Arc::new(find(&library.probe.manifest().stages)?);
            Ok(run(&mut StageTrial::new(&library, stage)))
        }
        _ => bail!("`{}` is a check of the file", check.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_to_reproduce_is_found_or_the_way_out_is_told() {
        let (check, stage, seed) = parse("run:acme/a:7").unwrap();
        assert_eq!((check.id, stage, seed), ("run", Some("acme/a"), 7));
        assert_eq!(parse("exports:7").unwrap().1, None);
        for (wrong, told) in [
            ("borowed:acme/a:7", "did you mean `borrowed`?"),
            ("run:7", "run:STAGE:SEED"),
            ("exports:acme/a:7", "exports:SEED"),
            ("run:acme/a:x", "no number"),
            ("run", "expected CHECK"),
        ] {
            let said = parse(wrong).err().unwrap().to_string();
            assert!(said.contains(told), "{wrong}: {said}");
        }
    }
}
