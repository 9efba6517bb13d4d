//! All connections, within their bound. Where it is reached, a connection that waits for a request
//! gives way to the next, so that nobody can keep others out by doing nothing. One whose request is
//! there and unread does not, and a new one, whose request may be on its way, only where there are
//! many such: those are rather silent ones.

mod seat;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value as Json, json};

pub(super) use self::seat::{Leave, Over, Seat, Timeouts, has_unread};
use super::peer::Peer;

/// New connections that have sent nothing give way where they are at least one of so many of all
/// that there may be.
const MANY_NEW: usize = 4;

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
        let taken = self.try_take(peer);
        if taken.is_none() {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// The same, for who will try again.
    pub(super) fn try_take(self: &Arc<Self>, peer: Peer) -> Option<Taken> {
        let mut seats = self.seats();
        if seats.by_number.len() >= self.max && !self.evict(&mut seats, false) {
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

    /// Ends connections that can give way, at most so many, at once; false where there is none.
    pub(super) fn make_room(&self, most: usize) -> bool {
        let mut seats = self.seats();
        let mut made = 0;
        while made < most && self.evict(&mut seats, true) {
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

    /// Of those that wait for a request, else of those that wait for the rest of a head, else for
    /// bodies, else for their client to read, one of whoever has the most connections, and there
    /// the one that has waited longest. Where that is urgent, new ones are not spared.
    fn evict(&self, seats: &mut Seats, is_urgent: bool) -> bool {
        let of_peer = |seat: &Seat| seats.of_peers.get(&seat.peer()).copied();
        let waiting = seats.by_number.iter().filter_map(|(number, seat)| {
            let (waits, since) = seat.waits()?;
            let others = Reverse(of_peer(seat));
            Some(Reverse((waits, others, since, *number)))
        });
        let mut waiting: BinaryHeap<_> = waiting.collect();
        let mut spares_new = if is_urgent { Some(false) } else { None };
        while let Some(Reverse((.., number))) = waiting.pop() {
            let Some(seat) = seats.by_number.get(&number) else {
                continue;
            };
            let is_spared =
                seat.is_new() && *spares_new.get_or_insert_with(|| !self.are_many_new(seats));
            if is_spared || !seat.give_way(is_urgent) {
                continue;
            }
            seats.remove(number);
            self.counts.gave_way.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        false
    }

    /// True where so many connections are new and silent that it is no chance.
    fn are_many_new(&self, seats: &Seats) -> bool {
        let all = seats.by_number.values();
        let new = all.filter(|seat| seat.is_new() && !seat.may_have_unread());
        new.count().saturating_mul(MANY_NEW) >= self.max
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seats {
    fn remove(&mut self, number: u64) {
        let Some(seat) = self.by_number.remove(&number) else {
            return;
        };
        if let Some(count) = self.of_peers.get_mut(&seat.peer()) {
            *count -= 1;
            if *count == 0 {
                self.of_peers.remove(&seat.peer());
            }
        }
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

    #[tokio::test]
    async fn a_new_one_is_spared_unless_there_are_many() {
        let all = Connections::new(8);
        let taken: Vec<_> = (0..7).map(|_| all.take(peer(1)).unwrap()).collect();
        let asking: Vec<_> = taken
            .iter()
            .map(|taken| taken.seat().begin(false))
            .collect();
        let new = all.take(peer(2)).unwrap();
        assert!(all.take(peer(3)).is_none(), "its request may be on its way");
        assert!(!is_over(&new));
        assert!(all.make_room(1), "that is urgent");
        assert!(is_over(&new));
        drop((asking, taken, new));
        let many: Vec<_> = (0..8).map(|_| all.take(peer(1)).unwrap()).collect();
        assert!(all.take(peer(3)).is_some());
        assert!(is_over(&many[0]));
    }

    #[tokio::test]
    async fn one_whose_request_is_unread_does_not_give_way() {
        use std::io::Write as _;

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let all = Connections::new(3);
        let mut sent = Vec::new();
        for _ in 0..3 {
            let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let taken = all.take(peer(1)).unwrap();
            taken.seat().hold(listener.accept().await.unwrap().0);
            client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
            let begun = std::time::Instant::now();
            while !taken.seat().may_have_unread() {
                assert!(begun.elapsed() < Duration::from_secs(60), "it never came");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            sent.push((taken, client));
        }
        assert!(all.take(peer(2)).is_none() && !all.make_room(1));
        assert!(sent.iter().all(|(taken, _)| !is_over(taken)));
        assert_eq!((all.gave_way(), &all.shown()["refused"]), (0, &json!(1)));
    }
}
