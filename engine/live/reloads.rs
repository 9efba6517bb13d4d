//! Reloads that are asked for, and what came of the last ones.
//!
//! Whoever asks waits for a reload that begins after that. Those that ask while one is under way
//! share the next: nothing queues, however many ask.

use std::sync::Arc;
use std::time::SystemTime;

use omnizap_contract::common::chain::chain;
use tokio::sync::watch;

use super::source::LoadError;
use crate::metrics::ReloadNumbers;
use crate::pipeline::diagnostic::Diagnostics;

/// Why nothing was reloaded.
#[derive(Clone, Debug)]
pub struct NotReloaded {
    /// When it was known.
    pub at: SystemTime,
    /// In the words of the log.
    pub text: String,
    /// What is wrong with the files, where it is known by its places.
    pub mistakes: Diagnostics,
    /// True where it says nothing of the files: the same ones may be fine later.
    pub may_pass: bool,
    /// True where the service ends.
    pub is_over: bool,
}

impl NotReloaded {
    fn of(error: &LoadError) -> Self {
        Self {
            at: SystemTime::now(),
            text: chain(error),
            mistakes: match error {
                LoadError::Mistakes(mistakes) => mistakes.clone(),
                _ => Diagnostics::default(),
            },
            may_pass: error.may_pass(),
            is_over: false,
        }
    }

    fn over() -> Self {
        Self {
            at: SystemTime::now(),
            text: "the service is shutting down".to_owned(),
            mistakes: Diagnostics::default(),
            may_pass: true,
            is_over: true,
        }
    }
}

/// What came of reloads so far.
#[derive(Clone, Debug)]
pub struct Record {
    /// How many went live.
    pub fine: u64,
    /// How many did not.
    pub failed: u64,
    /// Whether the last went live, and when one did last. The first load did.
    is_fine: bool,
    last_fine: SystemTime,
    /// The last that did not.
    pub last_failed: Option<Arc<NotReloaded>>,
}

impl Record {
    /// The numbers of it.
    #[must_use]
    pub fn numbers(&self) -> ReloadNumbers {
        ReloadNumbers {
            fine: self.fine,
            failed: self.failed,
            is_fine: self.is_fine,
            last_fine: self.last_fine,
            last_failed: self.last_failed.as_ref().map(|failed| failed.at),
        }
    }
}

/// What was done last.
struct Done {
    /// How many of those that asked are answered.
    answered: u64,
    /// What the last of them are told.
    failure: Option<Arc<NotReloaded>>,
    record: Record,
}

/// Where reloads are asked for.
pub struct Reloads {
    /// How many have asked.
    asked: watch::Sender<u64>,
    done: watch::Sender<Done>,
}

impl Default for Reloads {
    fn default() -> Self {
        Self {
            asked: watch::Sender::new(0),
            done: watch::Sender::new(Done {
                answered: 0,
                failure: None,
                record: Record {
                    fine: 0,
                    failed: 0,
                    is_fine: true,
                    last_fine: SystemTime::now(),
                    last_failed: None,
                },
            }),
        }
    }
}

impl Reloads {
    /// Asks for a reload and waits until it is done, for as long as anybody reloads.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub async fn ask(&self) -> Result<(), Arc<NotReloaded>> {
        let mut done = self.done.subscribe();
        let mut own = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            own = *asked;
        });
        // The sender lives as long as this does.
        match done.wait_for(|done| done.answered >= own).await {
            Ok(done) => done.failure.clone().map_or(Ok(()), Err),
            Err(_) => Err(Arc::new(NotReloaded::over())),
        }
    }

    /// What came of all of them, asked for or not.
    #[must_use]
    pub fn record(&self) -> Record {
        self.done.borrow().record.clone()
    }

    /// Resolves once somebody has asked who is not answered.
    pub(super) async fn are_asked_for(&self) {
        let answered = self.done.borrow().answered;
        let mut asked = self.asked.subscribe();
        // The sender lives as long as this does.
        let _ = asked.wait_for(|asked| *asked > answered).await;
    }

    /// Those who have asked by now: a reload that begins now answers them.
    pub(super) fn waiting(&self) -> u64 {
        *self.asked.borrow()
    }

    /// Says what came of a reload, and to those who had asked before it began.
    pub(super) fn end(&self, waiting: u64, reloaded: &Result<(), LoadError>) {
        let failure = reloaded.as_ref().err();
        let failure = failure.map(|error| Arc::new(NotReloaded::of(error)));
        self.done.send_modify(|done| {
            done.answered = waiting;
            let record = &mut done.record;
            record.is_fine = failure.is_none();
            match &failure {
                None => {
                    record.fine += 1;
                    record.last_fine = SystemTime::now();
                }
                Some(failure) => {
                    record.failed += 1;
                    record.last_failed = Some(failure.clone());
                }
            }
            done.failure = failure;
        });
    }

    /// Says that nobody reloads any more.
    pub(super) fn are_over(&self) {
        self.done.send_modify(|done| {
            done.answered = u64::MAX;
            done.failure = Some(Arc::new(NotReloaded::over()));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Result<(), LoadError> {
        Err(LoadError::Folder("no pipeline".into()))
    }

    #[tokio::test]
    async fn who_asks_is_told_of_a_reload_that_began_after() {
        let reloads = Arc::new(Reloads::default());
        // One that began before anybody asked.
        let before = reloads.waiting();
        let asking = |reloads: &Arc<Reloads>| {
            let reloads = reloads.clone();
            tokio::spawn(async move { reloads.ask().await.map_err(|why| why.text.clone()) })
        };
        let (first, second) = (asking(&reloads), asking(&reloads));
        while reloads.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        reloads.end(before, &Ok(()));
        reloads.are_asked_for().await;
        assert!(!first.is_finished() && !second.is_finished());
        // Both share the next.
        reloads.end(reloads.waiting(), &refused());
        for asked in [first, second] {
            assert_eq!(asked.await.unwrap(), Err("no pipeline".to_owned()));
        }
        let record = reloads.record();
        assert_eq!((record.fine, record.failed), (1, 1));
        assert!(!record.numbers().is_fine, "the last was not");
        assert_eq!(record.last_failed.unwrap().text, "no pipeline");

        let last = asking(&reloads);
        reloads.are_asked_for().await;
        reloads.end(reloads.waiting(), &Ok(()));
        assert_eq!(last.await.unwrap(), Ok(()));
        assert!(reloads.record().last_failed.is_some(), "it is kept");

        reloads.are_over();
        let error = reloads.ask().await.unwrap_err();
        assert!(error.is_over, "{error:?}");
    }
}
