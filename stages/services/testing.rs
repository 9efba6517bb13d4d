//! What the unit tests of services share.

use std::time::{Duration, Instant};

use omnizap_contract::{Call, Cancel};

/// A call that nobody cancels, with a minute to spare.
pub(crate) fn call() -> Call {
    Call {
        request_id: "test".into(),
        deadline: Instant::now() + Duration::from_secs(60),
        cancel: Cancel::default(),
    }
}
