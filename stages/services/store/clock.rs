//! How long the database is waited for. What counts is the time that the database takes. While
//! the threads of this program have too much to do, an answer that is there is seen late, and
//! that says nothing about the database: a timer is as late as whoever waits beside it, so that
//! its own lateness tells the two apart.

use std::pin::pin;
use std::time::{Duration, Instant};

use super::{StoreError, limits};

/// How long somebody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// For the database, without the time in which the program itself was late, and without
    /// that in which others had all the connections.
    pub(super) database: Duration,
    /// In all.
    pub(super) wall: Duration,
}

impl Patience {
    /// No longer in all than the database is given.
    pub(super) const fn strict(limit: Duration) -> Self {
        Self {
            database: limit,
            wall: limit,
        }
    }

    /// For what an answer would have to do without: worth the wait while the program is late,
    /// since it would be as late with what it did instead.
    pub(super) fn of_answer(wall: Duration) -> Self {
        Self {
            database: limits::READ,
            wall: wall.min(limits::READ_PATIENCE),
        }
    }
}

/// Who took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    Database,
    /// This program, or others who were served before.
    Program,
}

/// The time of one operation.
#[derive(Debug)]
pub(super) struct Clock {
    patience: Patience,
    begun: Instant,
    /// What is left of the time of the database.
    left: Duration,
}

impl Clock {
    pub(super) fn begin(patience: Patience) -> Self {
        Self {
            patience,
            begun: Instant::now(),
            left: patience.database,
        }
    }

    /// Waits for the database, as long as there is time.
    ///
    /// # Errors
    /// [`StoreError::Slow`] where the database took too long or was given less time than a
    /// caller had, [`StoreError::Busy`] where the program did.
    pub(super) async fn run<F: Future>(
        &mut self,
        doing: &'static str,
        work: F,
    ) -> Result<F::Output, StoreError> {
        let ended = self.race(work).await;
        let Patience { database, wall } = self.patience;
        ended.map_err(|late| {
            if late == Late::Database || wall < database {
                let limit = wall.min(database);
                return StoreError::Slow { doing, limit };
            }
            StoreError::Busy {
                doing,
                waited: self.begun.elapsed(),
            }
        })
    }

    /// Waits for a turn that others have before, at most so long: none of the database's time.
    ///
    /// # Errors
    /// [`StoreError::Busy`].
    pub(super) async fn wait<F: Future>(
        &self,
        doing: &'static str,
        limit: Duration,
        turn: F,
    ) -> Result<F::Output, StoreError> {
        let mut clock = Self::begin(Patience {
            database: limit,
            wall: self.wall_left(),
        });
        let ended = clock.race(turn).await;
        ended.map_err(|_| StoreError::Busy {
            doing,
            waited: clock.begun.elapsed(),
        })
    }

    /// As [`Self::run`], for whoever has other words for it.
    pub(super) async fn race<F: Future>(&mut self, work: F) -> Result<F::Output, Late> {
        let mut work = pin!(work);
        loop {
            let tick = limits::TICK.min(self.left).min(self.wall_left());
            let begun = Instant::now();
            let ended = tokio::time::timeout(tick, work.as_mut()).await;
            let counted = begun.elapsed().min(tick + limits::TICK_SLACK);
            self.left = self.left.saturating_sub(counted);
            if let Ok(value) = ended {
                return Ok(value);
            }
            if self.left.is_zero() {
                return Err(Late::Database);
            }
            if self.wall_left().is_zero() {
                return Err(self.who());
            }
        }
    }

    fn wall_left(&self) -> Duration {
        self.patience.wall.saturating_sub(self.begun.elapsed())
    }

    /// Who was late, once the time is up: the database where it had most of its own.
    fn who(&self) -> Late {
        match self.left <= self.patience.database / 4 {
            true => Late::Database,
            false => Late::Program,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(30);
    /// How late everything is while the thread is taken.
    const TAKEN: Duration = Duration::from_millis(300);

    /// Takes the only thread of a test, again and again, as computing on it would.
    fn take_the_thread() -> tokio::task::JoinHandle<()> {
        tokio::spawn(async {
            loop {
                std::thread::sleep(TAKEN);
                tokio::task::yield_now().await;
            }
        })
    }

    #[tokio::test]
    async fn a_database_that_does_not_answer_is_late_by_its_own_time() {
        let begun = Instant::now();
        let patience = Patience {
            database: SHORT,
            wall: LONG,
        };
        let ended = Clock::begin(patience).run("x", pending::<()>()).await;
        let is_slow = matches!(ended, Err(StoreError::Slow { limit, .. }) if limit == SHORT);
        assert!(is_slow, "{ended:?}");
        // Who was late then is not sure.
        let mut strict = Clock::begin(Patience::strict(SHORT));
        assert!(strict.run("x", pending::<()>()).await.is_err());
        assert!(begun.elapsed() < LONG);
    }

    #[tokio::test]
    async fn a_program_that_is_late_is_not_taken_for_a_database_that_is() {
        let taking = take_the_thread();
        let patience = Patience {
            database: Duration::from_secs(1),
            wall: Duration::from_secs(2),
        };
        let mut clock = Clock::begin(patience);
        let ended = clock.run("x", pending::<()>()).await;
        taking.abort();
        assert!(matches!(ended, Err(StoreError::Busy { .. })), "{ended:?}");
    }

    #[tokio::test]
    async fn a_turn_that_does_not_come_is_busy_and_none_of_the_databases_time() {
        let clock = Clock::begin(Patience::strict(LONG));
        let ended = clock.wait("x", SHORT, pending::<()>()).await;
        assert!(matches!(ended, Err(StoreError::Busy { .. })), "{ended:?}");
        assert_eq!(clock.left, LONG);
        assert!(matches!(clock.wait("x", SHORT, ready(1)).await, Ok(1)));
    }

    #[tokio::test]
    async fn what_is_there_is_taken_without_any_time() {
        let mut clock = Clock::begin(Patience::strict(Duration::ZERO));
        assert!(matches!(clock.run("x", ready(1)).await, Ok(1)));
        let short = Patience::of_answer(Duration::ZERO);
        let ended = Clock::begin(short).run("x", pending::<()>()).await;
        assert!(matches!(ended, Err(StoreError::Slow { .. })), "{ended:?}");
    }
}
