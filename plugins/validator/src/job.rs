//! One check of one thing, and how that is spelt.

use std::fmt;

use crate::check::Check;
use crate::checks::{checks, find};
use crate::error::Error;
use crate::plan::Plan;

/// One check of one thing. It is spelt `CHECK:SEED`, or `CHECK:STAGE:SEED` for a stage's.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) check: &'static Check,
    pub(super) stage: Option<String>,
    /// Where random inputs begin.
    pub(super) seed: u64,
}

impl Job {
    /// What is to be run: the library's checks, then those of each stage.
    ///
    /// # Errors
    /// [`Error::UnknownCheck`]: the plan names one that there is not.
    pub(super) fn all(plan: &Plan, stages: &[&str]) -> Result<Vec<Self>, Error> {
        for id in plan.only.iter().chain(&plan.skip) {
            find(id)?;
        }
        let wanted = checks().iter().filter(|check| {
            let named = |list: &[String]| list.iter().any(|id| id == check.id);
            (plan.only.is_empty() || named(&plan.only)) && !named(&plan.skip)
        });
        let (of_stages, of_library): (Vec<&Check>, Vec<&Check>) =
            wanted.partition(|check| check.is_of_stages());
        let job = |check, stage| Self {
            check,
            stage,
            seed: plan.seed,
        };
        let library = of_library.into_iter().map(|check| job(check, None));
        let stages = stages.iter().flat_map(|stage| {
            let checks = of_stages.iter();
            checks.map(|check| job(check, Some((*stage).to_owned())))
        });
        Ok(library.chain(stages).collect())
    }

    /// The job that is spelt so.
    ///
    /// # Errors
    /// [`Error::Spec`], [`Error::Seed`]: what is wrong, and what was expected.
    pub(super) fn parse(spec: &str) -> Result<Self, Error> {
        let wrong = |why: String| Error::Spec {
            spec: spec.to_owned(),
            why,
        };
        let parts: Vec<&str> = spec.split(':').collect();
        let (id, stage, seed) = match parts[..] {
            [id, seed] => (id, None, seed),
            [id, stage, seed] => (id, Some(stage), seed),
            _ => return Err(wrong("expected CHECK:SEED or CHECK:STAGE:SEED".into())),
        };
        let check = find(id).map_err(|error| wrong(error.to_string()))?;
        match (check.is_of_stages(), stage) {
            (true, None) => return Err(wrong(format!("expected {id}:STAGE:SEED"))),
            (false, Some(_)) => {
                return Err(wrong(format!("expected {id}:SEED, it is of the library")));
            }
            _ => {}
        }
        let seed = seed.parse().map_err(|source| Error::Seed {
            spec: spec.to_owned(),
            source,
        })?;
        Ok(Self {
            check,
            stage: stage.map(str::to_owned),
            seed,
        })
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            Some(stage) => write!(f, "{}:{stage}:{}", self.check.id, self.seed),
            None => write!(f, "{}:{}", self.check.id, self.seed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_to_reproduce_is_found_or_the_way_out_is_told() {
        let job = Job::parse("run:acme/a:7").unwrap();
        assert_eq!(
            (job.check.id, job.stage.as_deref(), job.seed),
            ("run", Some("acme/a"), 7)
        );
        assert_eq!(job.to_string(), "run:acme/a:7");
        let job = Job::parse("exports:7").unwrap();
        assert_eq!(
            (job.stage.as_deref(), job.to_string()),
            (None, "exports:7".into())
        );
        for (wrong, told) in [
            ("borowed:acme/a:7", "did you mean `borrowed`?"),
            ("run:7", "run:STAGE:SEED"),
            ("exports:acme/a:7", "exports:SEED"),
            ("run:acme/a:x", "no number"),
            ("run", "expected CHECK"),
        ] {
            let said = Job::parse(wrong).unwrap_err().to_string();
            assert!(said.contains(told), "{wrong}: {said}");
        }
    }

    #[test]
    fn a_plan_names_its_checks_or_the_way_out_is_told() {
        let mut plan = Plan::new("libacme.so");
        plan.only = ["errors", "run", "open"].map(str::to_owned).into();
        plan.skip = vec!["run".into()];
        plan.seed = 7;
        let jobs = Job::all(&plan, &["acme/a", "acme/b"]).unwrap();
        let jobs: Vec<String> = jobs.iter().map(Job::to_string).collect();
        assert_eq!(jobs, ["open:7", "errors:acme/a:7", "errors:acme/b:7"]);

        plan.skip = vec!["leek".into()];
        let said = Job::all(&plan, &[]).unwrap_err().to_string();
        assert_eq!(said, "there is no check `leek`: did you mean `leak`?");
    }
}
