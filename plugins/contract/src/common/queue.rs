//! What waits, bounded, and fair between those who wait.

use std::collections::VecDeque;
use std::sync::Arc;

/// Something that waits.
pub trait Waits {
    /// Who it belongs to, such as the request's id: the next to be taken is another owner's, where
    /// there is one.
    fn owner(&self) -> &Arc<str>;

    /// True where nobody waits for it any more, or in vain.
    fn is_over(&self) -> bool;
}

/// A queue with a bound. Whoever queues much waits behind those who queue little, and each owner's
/// own come in their order: of two turns one is that of the owner who has waited longest for a turn,
/// the other that of the owner who has the fewest left. So an owner of one waits for few others,
/// however many there are and however much they queued, and who queued much is never left waiting.
#[derive(Debug)]
pub struct FairQueue<J> {
    most: usize,
    waiting: usize,
    /// Those of one owner each, the owner who has waited longest for a turn first.
    lanes: VecDeque<VecDeque<J>>,
    /// True where the next turn is that of the owner who has the fewest left.
    is_turn_of_fewest: bool,
    dropped: u64,
}

impl<J: Waits> FairQueue<J> {
    /// An empty queue for at most so many.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self {
            most,
            waiting: 0,
            lanes: VecDeque::new(),
            is_turn_of_fewest: false,
            dropped: 0,
        }
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// True where none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// How many were dropped because nobody waited for them any more.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// True where there is room for so many more. What is over makes room before that is denied.
    pub fn has_room(&mut self, more: usize) -> bool {
        if self.waiting + more > self.most {
            self.drop_those_over();
        }
        self.waiting + more <= self.most
    }

    /// Adds one; false, and it is dropped, where there is no room.
    #[must_use]
    pub fn push(&mut self, job: J) -> bool {
        let has_room = self.has_room(1);
        if has_room {
            self.add(job);
        }
        has_room
    }

    /// Adds all of these; false, and none is added, where there is no room.
    #[must_use]
    pub fn push_all(&mut self, jobs: Vec<J>) -> bool {
        let has_room = self.has_room(jobs.len());
        if has_room {
            jobs.into_iter().for_each(|job| self.add(job));
        }
        has_room
    }

    /// How many are taken, at most, before the last of so many that another owner adds.
    #[must_use]
    pub fn ahead_of(&self, added: usize) -> usize {
        let lanes = self.lanes.iter();
        lanes.map(|lane| lane.len().min(added)).sum()
    }

    fn add(&mut self, job: J) {
        self.waiting += 1;
        // Those of one owner come together: the newest lane is the likeliest.
        let mut lanes = self.lanes.iter_mut().rev();
        let own = lanes.find(|lane| {
            lane.front()
                .is_some_and(|first| first.owner() == job.owner())
        });
        match own {
            Some(lane) => lane.push_back(job),
            None => self.lanes.push_back(VecDeque::from([job])),
        }
    }

    /// Takes the next one that somebody waits for.
    pub fn pop(&mut self) -> Option<J> {
        self.pop_if(|_| true)
    }

    /// Takes the next one that somebody waits for and that is as wanted: of each owner the first is
    /// looked at.
    pub fn pop_if(&mut self, is_wanted: impl Fn(&J) -> bool) -> Option<J> {
        // A lane, and how many are in it.
        let mut next: Option<(usize, usize)> = None;
        let mut at = 0;
        while let Some(lane) = self.lanes.get_mut(at) {
            while lane.front().is_some_and(Waits::is_over) {
                lane.pop_front();
                self.waiting -= 1;
                self.dropped += 1;
            }
            let Some(first) = lane.front() else {
                self.lanes.remove(at);
                continue;
            };
            if is_wanted(first) && next.is_none_or(|(_, fewest)| lane.len() < fewest) {
                next = Some((at, lane.len()));
                if !self.is_turn_of_fewest {
                    break;
                }
            }
            at += 1;
        }
        let mut lane = self.lanes.remove(next?.0)?;
        let job = lane.pop_front();
        self.waiting -= 1;
        self.is_turn_of_fewest = !self.is_turn_of_fewest;
        // The owner's next turn is after the others'.
        if !lane.is_empty() {
            self.lanes.push_back(lane);
        }
        job
    }

    /// Drops all that nobody waits for.
    pub fn drop_those_over(&mut self) {
        for lane in &mut self.lanes {
            let before = lane.len();
            lane.retain(|job| !job.is_over());
            self.dropped += (before - lane.len()) as u64;
        }
        self.lanes.retain(|lane| !lane.is_empty());
        self.waiting = self.lanes.iter().map(VecDeque::len).sum();
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.lanes.clear();
        self.waiting = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Job(Arc<str>, u32, bool);

    impl Waits for Job {
        fn owner(&self) -> &Arc<str> {
            &self.0
        }

        fn is_over(&self) -> bool {
            self.2
        }
    }

    fn job(owner: &str, number: u32) -> Job {
        Job(owner.into(), number, false)
    }

    fn all(queue: &mut FairQueue<Job>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop())
            .map(|job| job.1)
            .collect()
    }

    #[test]
    fn owners_take_turns_and_each_ones_own_keep_their_order() {
        let mut queue = FairQueue::new(100);
        assert!(queue.push_all((0..4).map(|number| job("much", number)).collect()));
        assert!(queue.push(job("little", 10)) && queue.push(job("less", 20)));
        assert_eq!(queue.len(), 6);
        assert_eq!(all(&mut queue), [0, 10, 20, 1, 2, 3]);
        assert!(queue.is_empty());
    }

    #[test]
    fn one_waits_for_few_however_much_is_before_it() {
        // Miri takes minutes for as many as there may be.
        let much = if cfg!(miri) { 8 } else { 256 };
        let mut queue = FairQueue::new(20_000);
        for owner in 0..40 {
            let owner = format!("much {owner}");
            assert!(queue.push_all((0..much).map(|number| job(&owner, number)).collect()));
        }
        let all = 40 * much as usize;
        assert_eq!((queue.ahead_of(1), queue.ahead_of(300)), (40, all));
        for taken in 0..7 {
            assert!(queue.push(job("little", 1000)));
            let first = (0..2).filter_map(|_| queue.pop()).map(|job| job.1);
            assert!(first.collect::<Vec<_>>().contains(&1000), "after {taken}");
            queue.pop();
        }
    }

    #[test]
    fn who_queued_much_gets_turns_whoever_comes() {
        let mut queue = FairQueue::new(1000);
        assert!(queue.push_all((0..100).map(|number| job("much", number)).collect()));
        let mut of_much = Vec::new();
        for comer in 0..40 {
            // More come than are taken.
            for twin in ["a", "b"] {
                assert!(queue.push(job(&format!("{comer}{twin}"), 1000)));
            }
            of_much.extend(queue.pop().filter(|job| job.1 < 1000));
        }
        assert!(of_much.len() > 1, "{}", of_much.len());
        let rest = all(&mut queue);
        let mut in_order: Vec<u32> = of_much.iter().map(|job| job.1).collect();
        in_order.extend(rest.iter().filter(|number| **number < 1000));
        assert_eq!(in_order, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_over_is_dropped_and_makes_room() {
        let mut queue = FairQueue::new(2);
        assert!(queue.push(Job("a".into(), 1, true)) && queue.push(job("b", 2)));
        assert!(queue.push(job("c", 3)), "the first one is over");
        assert!(!queue.push(job("d", 4)), "full");
        assert!(!queue.push_all(vec![job("d", 4), job("d", 5)]));
        assert_eq!((all(&mut queue), queue.dropped()), (vec![2, 3], 1));

        assert!(queue.push(Job("a".into(), 1, true)) && queue.push(job("a", 2)));
        assert_eq!((all(&mut queue), queue.dropped()), (vec![2], 2));
    }

    #[test]
    fn the_next_may_be_left_where_it_is() {
        let mut queue = FairQueue::new(9);
        assert!(queue.push(job("a", 1)) && queue.push(job("a", 2)));
        assert!(queue.pop_if(|job| job.1 == 2).is_none());
        assert_eq!(queue.pop_if(|job| job.1 == 1).map(|job| job.1), Some(1));
        queue.clear();
        assert!(queue.pop().is_none() && queue.is_empty());

        // An owner whose first is not wanted does not hold up the others.
        for number in [1, 3] {
            assert!(queue.push(job("odd", number)) && queue.push(job("even", number + 1)));
        }
        let odd = std::iter::from_fn(|| queue.pop_if(|job| job.1 % 2 == 1));
        assert_eq!(odd.map(|job| job.1).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(all(&mut queue), [2, 4]);
    }
}
