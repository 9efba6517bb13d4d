//! Texts that wait for the model: each is run once, whoever asks for it, and requests take turns.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use omnizap_contract::Call;
use omnizap_contract::common::queue::{FairQueue, Waits};

use super::pace::Pace;
use super::{Given, Sender, TextForm};

/// How many requests may wait for a text on average, where as many texts wait as may.
const REQUESTS_A_TEXT: usize = 64;

/// A text that waits for the model or is run by it, for all who ask for it meanwhile.
pub(super) struct Asked {
    pub(super) text: Arc<str>,
    pub(super) form: TextForm,
    is_taken: AtomicBool,
    /// Who waits for it; none once it was answered.
    senders: Mutex<Option<Vec<Sender>>>,
}

impl Asked {
    fn new(text: Arc<str>, form: TextForm) -> Self {
        Self {
            text,
            form,
            is_taken: AtomicBool::new(false),
            senders: Mutex::new(Some(Vec::new())),
        }
    }

    /// Adds one who waits for it; gives it back where it was answered already.
    fn join(&self, sender: Sender) -> Result<(), Sender> {
        match &mut *self.senders.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(senders) => {
                senders.push(sender);
                Ok(())
            }
            None => Err(sender),
        }
    }

    /// Answers all who wait for it.
    pub(super) fn answer(&self, given: &Given) {
        let senders = self.senders.lock();
        let senders = senders.unwrap_or_else(PoisonError::into_inner).take();
        for sender in senders.into_iter().flatten() {
            // Whoever left meanwhile does not need it.
            let _ = sender.send(given.clone());
        }
    }
}

/// A request's turn at one of its texts.
struct Turn {
    asked: Arc<Asked>,
    call: Call,
    /// Gone once the request no longer waits.
    asker: Weak<()>,
}

impl Waits for Turn {
    fn owner(&self) -> &Arc<str> {
        &self.call.request_id
    }

    fn is_over(&self) -> bool {
        // Another request's turn may have come before.
        self.asked.is_taken.load(Ordering::Relaxed)
            || self.asker.strong_count() == 0
            || self.call.is_over()
    }
}

/// Why texts may not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// Too many do.
    Full,
    /// They would be done in so much time, and there is less left.
    InVain(Duration),
}

/// The texts that wait or are run.
pub(super) struct Texts {
    most: usize,
    turns: FairQueue<Turn>,
    /// Those that somebody holds: a turn, or a run.
    asked: HashMap<(TextForm, Arc<str>), Weak<Asked>>,
    pace: Pace,
}

impl Texts {
    /// None yet, and at most so many distinct ones.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            turns: FairQueue::new(most.saturating_mul(REQUESTS_A_TEXT)),
            asked: HashMap::new(),
            pace: Pace::default(),
        }
    }

    /// Lets a request's texts wait, each with who waits for it, as long as `asker` is held.
    ///
    /// # Errors
    /// Where they may not; none of them waits then.
    pub(super) fn add(
        &mut self,
        form: TextForm,
        texts: Vec<(Arc<str>, Sender)>,
        call: &Call,
        asker: &Arc<()>,
    ) -> Result<(), NoRoom> {
        let mut new = self.unknown(form, &texts);
        if !self.has_room(new) {
            self.turns.drop_those_over();
            self.asked.retain(|_, asked| asked.strong_count() > 0);
            new = self.unknown(form, &texts);
        }
        if !self.has_room(new) || !self.turns.has_room(texts.len()) {
            return Err(NoRoom::Full);
        }
        let wait = self.pace.wait(self.turns.ahead_of(new) + new);
        if new > 0 && wait > call.remaining() {
            return Err(NoRoom::InVain(wait));
        }
        let turns = texts.into_iter().map(|(text, sender)| Turn {
            asked: self.join(form, text, sender),
            call: call.clone(),
            asker: Arc::downgrade(asker),
        });
        let turns = turns.collect();
        // There is room, as was just seen.
        let _ = self.turns.push_all(turns);
        Ok(())
    }

    /// How many of them nobody has asked for yet.
    fn unknown(&self, form: TextForm, texts: &[(Arc<str>, Sender)]) -> usize {
        let is_asked = |text: &Arc<str>| {
            let asked = self.asked.get(&(form, text.clone()));
            asked.is_some_and(|asked| asked.strong_count() > 0)
        };
        texts.iter().filter(|(text, _)| !is_asked(text)).count()
    }

    /// True where so many more may wait. While others wait a request gets half of what is left at
    /// most, so that those with few texts always find room, however many the others have.
    fn has_room(&self, new: usize) -> bool {
        let left = self.most.saturating_sub(self.asked.len());
        let share = if self.asked.is_empty() {
            left
        } else {
            left.min((left / 2).max(1))
        };
        new <= share
    }

    fn join(&mut self, form: TextForm, text: Arc<str>, sender: Sender) -> Arc<Asked> {
        let key = (form, text);
        let asked = self.asked.get(&key).and_then(Weak::upgrade);
        let sender = match asked {
            Some(asked) => match asked.join(sender) {
                Ok(()) => return asked,
                Err(sender) => sender,
            },
            None => sender,
        };
        let asked = Arc::new(Asked::new(key.1.clone(), form));
        // Nobody can have answered it yet.
        let _ = asked.join(sender);
        self.asked.insert(key, Arc::downgrade(&asked));
        asked
    }

    /// The next texts, all of one form, that together cost no more than may be; at least one.
    pub(super) fn take(
        &mut self,
        max_cost: f32,
        cost: &impl Fn(&str, TextForm) -> f32,
    ) -> Vec<Arc<Asked>> {
        let mut batch: Vec<Arc<Asked>> = Vec::new();
        let mut spent = 0.0;
        let of = |turn: &Turn| cost(&turn.asked.text, turn.asked.form);
        let fits = |batch: &[Arc<Asked>], spent: f32, turn: &Turn| {
            let first = batch.first();
            first.is_none_or(|first| first.form == turn.asked.form && spent + of(turn) <= max_cost)
        };
        while let Some(turn) = self.turns.pop_if(|turn| fits(&batch, spent, turn)) {
            spent += of(&turn);
            turn.asked.is_taken.store(true, Ordering::Relaxed);
            batch.push(turn.asked);
        }
        batch
    }

    /// Takes note that so many are done, which took that long.
    pub(super) fn done(&mut self, texts: usize, took: Duration) {
        self.pace.done(texts, took);
        if self.turns.is_empty() {
            self.asked.retain(|_, asked| asked.strong_count() > 0);
        }
    }

    /// True where none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// How many wait or are run.
    pub(super) fn len(&self) -> usize {
        let asked = self.asked.values();
        asked.filter(|asked| asked.strong_count() > 0).count()
    }

    /// Drops all that wait: who waits for them learns it.
    pub(super) fn clear(&mut self) {
        self.turns.clear();
        self.asked.clear();
    }
}
