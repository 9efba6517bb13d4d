//! All connections, within their bound. Where it is reached, a connection that waits for a request
//! gives way to the next, so that nobody can keep others out by doing nothing.

mod seat;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value as Json, json};

pub(super) use self::seat::{Over, Seat, Timeouts};
use super::peer::Peer;

/// All connections.
pub(super) struct Connections {
    max: usize,
    seats: Mutex<Seats>,
    counts: Counts,
}

#[derive(Default)]
struct Seats {
    by_number: HashMap<u64, Arc<Seat>>,
    of_peers: HashMap<Peer, usize>,
    next: u64,
}

/// How often what has happened.
#[derive(Default)]
struct Counts {
    gave_way: AtomicU64,
    refused: AtomicU64,
    late: AtomicU64,
    old: AtomicU64,
    stalled: AtomicU64,
}

/// The seat of one connection, given back when it is dropped.
pub(super) struct Taken {
    all: Arc<Connections>,
    number: u64,
    seat: Arc<Seat>,
}

impl Connections {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            seats: Mutex::default(),
            counts: Counts::default(),
        })
    }

    /// A seat, for which another connection may have to give way; none where all of them are at
    /// requests.
    pub(super) fn take(self: &Arc<Self>, peer: Peer) -> Option<Taken> {
        let mut seats = self.seats();
        if seats.by_number.len() >= self.max && !self.evict(&mut seats) {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let seat = Arc::new(Seat::new(peer));
        let number = seats.next;
        seats.next += 1;
        seats.by_number.insert(number, seat.clone());
        *seats.of_peers.entry(peer).or_default() += 1;
        Some(Taken {
            all: self.clone(),
            number,
            seat,
        })
    }

    /// Ends connections that can give way, at most so many; false where there is none.
    pub(super) fn make_room(&self, most: usize) -> bool {
        let mut seats = self.seats();
        let mut made = 0;
        while made < most && self.evict(&mut seats) {
            made += 1;
        }
        made > 0
    }

    /// Those that gave way, so far.
    pub(super) fn gave_way(&self) -> u64 {
        self.counts.gave_way.load(Ordering::Relaxed)
    }

    /// Counts one that ended for its own reasons.
    pub(super) fn ended(&self, over: Over) {
        match over {
            Over::GaveWay => {}
            Over::Late => _ = self.counts.late.fetch_add(1, Ordering::Relaxed),
            Over::Old => _ = self.counts.old.fetch_add(1, Ordering::Relaxed),
            Over::Stalled => _ = self.counts.stalled.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// How it is now, for people.
    pub(super) fn shown(&self) -> Json {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        json!({
            "now": self.seats().by_number.len(), "most": self.max,
            "gave_way": count(&self.counts.gave_way), "refused": count(&self.counts.refused),
            "late": count(&self.counts.late), "old": count(&self.counts.old),
            "stalled": count(&self.counts.stalled),
        })
    }

    /// Of those that wait for a request, else of those that wait for bodies, one of whoever has the
    /// most connections, and there the one that has waited longest.
    fn evict(&self, seats: &mut Seats) -> bool {
        let of_peer = |seat: &Seat| seats.of_peers.get(&seat.peer()).copied();
        let waiting = seats.by_number.iter().filter_map(|(number, seat)| {
            let (is_reading, since) = seat.waits()?;
            let others = std::cmp::Reverse(of_peer(seat));
            Some(((is_reading, others, since), *number))
        });
        let Some((_, number)) = waiting.min() else {
            return false;
        };
        if let Some(seat) = seats.remove(number) {
            seat.give_way();
        }
        self.counts.gave_way.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seats {
    fn remove(&mut self, number: u64) -> Option<Arc<Seat>> {
        let seat = self.by_number.remove(&number)?;
        if let Some(count) = self.of_peers.get_mut(&seat.peer()) {
            *count -= 1;
            if *count == 0 {
                self.of_peers.remove(&seat.peer());
            }
        }
        Some(seat)
    }
}

impl Taken {
    pub(super) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    pub(super) fn ended(&self, over: Over) {
        self.all.ended(over);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.all.seats().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        head: Duration::from_secs(600),
        idle: Duration::from_secs(600),
    };

    fn peer(last: u8) -> Peer {
        Peer::of([10, 0, 0, last].into())
    }

    /// True where a connection has to end.
    fn is_over(taken: &Taken) -> bool {
        taken.seat().over(TIMEOUTS, None).now_or_never().is_some()
    }

    #[tokio::test]
    async fn the_one_that_has_waited_longest_gives_way() {
        let all = Connections::new(2);
        let first = all.take(peer(1)).unwrap();
        let second = all.take(peer(1)).unwrap();
        // It was idle since before the second came, and asks again.
        drop(first.seat().begin(false));
        let third = all.take(peer(1)).unwrap();
        assert_eq!([&first, &second, &third].map(is_over), [false, true, false]);
        drop(second);
        assert_eq!(all.shown()["now"], 2);
        assert_eq!(all.gave_way(), 1);
        let asking = [&first, &third].map(|taken| taken.seat().begin(false));
        assert!(all.take(peer(1)).is_none(), "all are at requests");
        assert!(!all.make_room(2));
        drop(asking);
        assert!(all.make_room(1));
        assert_eq!(all.shown()["refused"], 1);
        drop((first, third));
        let seats = all.seats();
        assert!(seats.by_number.is_empty() && seats.of_peers.is_empty());
    }

    #[tokio::test]
    async fn one_that_waits_for_a_body_gives_way_only_where_none_waits_for_a_request() {
        let all = Connections::new(2);
        let sends = all.take(peer(1)).unwrap();
        let asking = sends.seat().begin(false);
        let reading = sends.seat().reads();
        let idle = all.take(peer(1)).unwrap();
        let newcomer = all.take(peer(1)).unwrap();
        assert_eq!([&sends, &idle].map(is_over), [false, true]);
        drop(idle);
        let runs = newcomer.seat().begin(false);
        let last = all.take(peer(1)).unwrap();
        assert_eq!(
            [&sends, &newcomer, &last].map(is_over),
            [true, false, false]
        );
        drop((reading, asking, runs));
    }

    #[tokio::test]
    async fn whoever_has_most_of_them_gives_way() {
        let all = Connections::new(4);
        let patient = all.take(peer(1)).unwrap();
        let many: Vec<_> = (0..3).map(|_| all.take(peer(2)).unwrap()).collect();
        let _newcomer = all.take(peer(3)).unwrap();
        assert!(!is_over(&patient));
        assert_eq!(
            many.iter().map(is_over).collect::<Vec<_>>(),
            [true, false, false]
        );
    }
}
