//! Bodies of all requests together: how many are coming, and how many bytes of them are held. Where
//! either bound is reached a body that is still coming gives way to the others: who sends slowly or
//! holds back the last byte keeps nobody out, and a small body finds room beside large ones.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tokio::sync::{Notify, oneshot};

use super::super::peer::Peer;

/// All bodies.
pub(in crate::http) struct Bodies {
    max_coming: usize,
    max_bytes: usize,
    state: Mutex<State>,
    /// Bytes were given back.
    freed: Notify,
    gave_way: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default)]
struct State {
    /// All bytes that are there.
    held: usize,
    /// Those of them that will be given back at once, since their body gave way.
    leaving: usize,
    coming: HashMap<u64, OneOf>,
    next: u64,
}

/// A body that is coming.
struct OneOf {
    peer: Peer,
    held: usize,
    gives_way: oneshot::Sender<()>,
}

/// A body that is coming, for who reads it.
pub(super) struct Filling {
    all: Arc<Bodies>,
    number: u64,
    held: usize,
}

/// Bytes that are there, given back when it is dropped.
pub(in crate::http) struct Held {
    all: Arc<Bodies>,
    bytes: usize,
}

/// A body, whose bytes are given back with the last that has a part of it.
struct Owned {
    data: Vec<u8>,
    _held: Arc<Held>,
}

/// There is no room for more.
#[derive(Debug)]
pub(super) struct Full;

/// Whether a body may grow.
enum Grown {
    Yes,
    /// Once others have given back what they hold.
    Soon,
    No,
}

impl Bodies {
    pub(in crate::http) fn new(max_coming: usize, max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            max_coming,
            max_bytes,
            state: Mutex::default(),
            freed: Notify::new(),
            gave_way: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// A further body, and what resolves where it has to give way.
    pub(super) fn begin(self: &Arc<Self>, peer: Peer) -> (Filling, oneshot::Receiver<()>) {
        let (gives_way, told) = oneshot::channel();
        let mut state = self.state();
        while state.coming.len() >= self.max_coming.max(1) && self.shed_oldest(&mut state) {}
        let number = state.next;
        state.next += 1;
        let one = OneOf {
            peer,
            held: 0,
            gives_way,
        };
        state.coming.insert(number, one);
        let filling = Filling {
            all: self.clone(),
            number,
            held: 0,
        };
        (filling, told)
    }

    /// How it is now, for people: of those that are coming, and of their bytes.
    pub(in crate::http) fn shown(&self) -> [Json; 2] {
        let state = self.state();
        let gave_way = self.gave_way.load(Ordering::Relaxed);
        let refused = self.refused.load(Ordering::Relaxed);
        let coming =
            json!({ "now": state.coming.len(), "most": self.max_coming, "gave_way": gave_way });
        [
            coming,
            json!({ "now": state.held, "most": self.max_bytes, "refused": refused }),
        ]
    }

    fn grow(&self, number: u64, more: usize) -> Grown {
        let mut state = self.state();
        if state.held.saturating_add(more) <= self.max_bytes {
            if let Some(one) = state.coming.get_mut(&number) {
                one.held += more;
            } else {
                state.leaving += more;
            }
            state.held += more;
            return Grown::Yes;
        }
        if !state.coming.contains_key(&number) {
            // It gave way itself, and is told so.
            return Grown::Soon;
        }
        let missing = state.held.saturating_add(more) - self.max_bytes;
        while state.leaving < missing {
            match state.largest(number, more) {
                Some(largest) if largest != number => self.shed(&mut state, largest),
                _ => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    return Grown::No;
                }
            }
        }
        Grown::Soon
    }

    /// Of whoever sends most of them the one that has been at it longest gives way.
    fn shed_oldest(&self, state: &mut State) -> bool {
        let mut of_peers: HashMap<Peer, usize> = HashMap::new();
        for one in state.coming.values() {
            *of_peers.entry(one.peer).or_default() += 1;
        }
        let coming = state.coming.iter();
        let oldest =
            coming.max_by_key(|(number, one)| (of_peers.get(&one.peer), Reverse(**number)));
        let Some(oldest) = oldest.map(|(number, _)| *number) else {
            return false;
        };
        self.shed(state, oldest);
        true
    }

    fn shed(&self, state: &mut State, number: u64) {
        if let Some(one) = state.coming.remove(&number) {
            state.leaving += one.held;
            // Who reads it may be gone already.
            let _ = one.gives_way.send(());
            self.gave_way.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn give_back(&self, state: &mut State, bytes: usize) {
        state.held -= bytes;
        if bytes > 0 {
            self.freed.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Of those that are coming the largest of whoever holds the most, the oldest of several; one
    /// of them is about to grow.
    fn largest(&self, growing: u64, more: usize) -> Option<u64> {
        let size = |number: u64, one: &OneOf| {
            let more = if number == growing { more } else { 0 };
            one.held.saturating_add(more)
        };
        let mut of_peers: HashMap<Peer, usize> = HashMap::new();
        for (number, one) in &self.coming {
            let all = of_peers.entry(one.peer).or_default();
            *all = all.saturating_add(size(*number, one));
        }
        let coming = self.coming.iter();
        let holding = coming.filter(|(number, one)| size(**number, one) > 0);
        let largest = holding.max_by_key(|(number, one)| {
            let own = size(**number, one);
            (of_peers.get(&one.peer), own, Reverse(**number))
        });
        largest.map(|(number, _)| *number)
    }
}

impl Filling {
    /// Takes so many bytes more; others may have to give theirs back before.
    ///
    /// # Errors
    /// There is no room, and no other body holds more than this one.
    pub(super) async fn grow(&mut self, more: usize) -> Result<(), Full> {
        loop {
            // Before it is looked: what is given back meanwhile is told too.
            let freed = self.all.freed.notified();
            match self.all.grow(self.number, more) {
                Grown::Yes => {
                    self.held += more;
                    return Ok(());
                }
                Grown::Soon => freed.await,
                Grown::No => return Err(Full),
            }
        }
    }

    /// The body, now that it is whole; it gives way to no other any more. Its bytes count until
    /// both are dropped.
    pub(super) fn whole(mut self, data: Vec<u8>) -> (Bytes, Arc<Held>) {
        let bytes = std::mem::take(&mut self.held);
        {
            let mut state = self.all.state();
            if state.coming.remove(&self.number).is_none() {
                state.leaving -= bytes;
            }
        }
        let held = Arc::new(Held {
            all: self.all.clone(),
            bytes,
        });
        let owned = Owned {
            data,
            _held: held.clone(),
        };
        (Bytes::from_owner(owned), held)
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        let mut state = self.all.state();
        if state.coming.remove(&self.number).is_none() {
            state.leaving -= self.held;
        }
        self.all.give_back(&mut state, self.held);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.all.state();
        self.all.give_back(&mut state, self.bytes);
    }
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn peer(last: u8) -> Peer {
        Peer::of([10, 0, 0, last].into())
    }

    fn now(bodies: &Bodies) -> (Json, Json) {
        let [coming, bytes] = bodies.shown();
        (coming["now"].clone(), bytes["now"].clone())
    }

    #[tokio::test]
    async fn the_largest_body_that_is_coming_gives_way_to_a_small_one() {
        let all = Bodies::new(10, 100);
        let (mut large, told) = all.begin(peer(1));
        large.grow(90).await.unwrap();
        let (mut small, _kept) = all.begin(peer(1));
        // The large one holds its bytes until it is dropped.
        let mut growing = Box::pin(small.grow(20));
        assert!(growing.as_mut().now_or_never().is_none());
        assert_eq!(told.await, Ok(()));
        drop(large);
        growing.await.unwrap();
        assert_eq!(now(&all), (1.into(), 20.into()));
        // No other holds more than this one wants.
        let (mut greedy, _kept) = all.begin(peer(1));
        assert!(greedy.grow(90).await.is_err());
        greedy.grow(80).await.unwrap();
        drop((small, greedy));
        assert_eq!(now(&all), (0.into(), 0.into()));
    }

    #[tokio::test]
    async fn whoever_holds_the_most_gives_way() {
        let all = Bodies::new(10, 100);
        let mut many = Vec::new();
        for _ in 0..3 {
            let (mut one, told) = all.begin(peer(1));
            one.grow(30).await.unwrap();
            many.push((one, told));
        }
        let (mut honest, _kept) = all.begin(peer(2));
        let growing = honest.grow(40);
        tokio::pin!(growing);
        assert!(growing.as_mut().now_or_never().is_none());
        let (first, told) = many.remove(0);
        assert_eq!(told.await, Ok(()));
        drop(first);
        growing.await.unwrap();
        assert_eq!(now(&all), (3.into(), 100.into()));
    }

    #[tokio::test]
    async fn a_whole_body_gives_way_to_none_and_counts_until_its_last_part_is_dropped() {
        let all = Bodies::new(10, 100);
        let (mut filling, _kept) = all.begin(peer(1));
        filling.grow(80).await.unwrap();
        let (data, held) = filling.whole(vec![7; 80]);
        assert_eq!(now(&all), (0.into(), 80.into()));
        let (mut other, _kept) = all.begin(peer(2));
        assert!(other.grow(30).await.is_err());
        assert_eq!(all.shown()[1]["refused"], 1);
        let part = data.slice(10..20);
        drop((data, held));
        assert_eq!(now(&all).1, 80);
        assert_eq!(&part[..], [7; 10]);
        drop(part);
        assert_eq!(now(&all).1, 0);
        other.grow(100).await.unwrap();
    }

    #[tokio::test]
    async fn the_one_that_has_been_coming_longest_gives_way_where_there_are_too_many() {
        let all = Bodies::new(3, 100);
        let (_patient, patient_told) = all.begin(peer(1));
        let (first, first_told) = all.begin(peer(2));
        let (_second, second_told) = all.begin(peer(2));
        let (_third, third_told) = all.begin(peer(2));
        assert_eq!(first_told.await, Ok(()));
        assert_eq!(now(&all).0, 3);
        drop(first);
        assert_eq!(now(&all).0, 3);
        for told in [patient_told, second_told, third_told] {
            assert!(told.now_or_never().is_none());
        }
    }

    #[tokio::test]
    async fn a_body_that_was_whole_before_it_could_give_way_is_kept() {
        let all = Bodies::new(10, 100);
        let (mut quick, _told) = all.begin(peer(1));
        quick.grow(90).await.unwrap();
        let (mut other, _kept) = all.begin(peer(1));
        assert!(other.grow(20).now_or_never().is_none());
        let (data, held) = quick.whole(vec![0; 90]);
        assert_eq!(all.state().leaving, 0);
        assert!(
            other.grow(20).await.is_err(),
            "nothing is coming to give way"
        );
        drop((data, held));
        other.grow(20).await.unwrap();
    }
}
