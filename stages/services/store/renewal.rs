//! Connections that are made anew. What a server knew of somebody when they connected it may go
//! by for as long as they stay: rights that were given since do not reach connections that were
//! opened without them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Since when connections are used: older ones are closed by whoever comes by them.
#[derive(Clone, Debug, Default)]
pub(super) struct Renewal(Arc<Mutex<Option<Instant>>>);

impl Renewal {
    /// No connection of before now is used from now on.
    pub(super) fn renew(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// True where a connection of that age is used.
    pub(super) fn is_kept(&self, age: Duration) -> bool {
        let renewed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.is_none_or(|renewed| age < renewed.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_before_are_not_kept() {
        let renewal = Renewal::default();
        assert!(renewal.is_kept(Duration::MAX));
        renewal.renew();
        std::thread::sleep(Duration::from_millis(5));
        assert!(renewal.is_kept(Duration::ZERO));
        assert!(!renewal.is_kept(Duration::from_secs(60)));
        let other = renewal.clone();
        other.renew();
        assert!(!renewal.is_kept(Duration::from_secs(1)));
    }
}
