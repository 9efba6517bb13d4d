//! A call that waits for a thread of its stage.

use std::sync::Arc;

use omnizap_contract::common::queue::Waits;
use omnizap_contract::{Call, Error, ErrorKind, Inputs, Outputs};
use tokio::sync::oneshot;

/// What becomes of a call; an error of the channel where it was dropped unrun.
pub(super) type Answer = oneshot::Receiver<Result<Outputs, Error>>;

/// A call that waits.
pub(super) struct Job {
    pub(super) inputs: Inputs,
    pub(super) call: Call,
    reply: oneshot::Sender<Result<Outputs, Error>>,
}

impl Job {
    pub(super) fn new(inputs: &Inputs, call: &Call) -> (Self, Answer) {
        let (reply, answer) = oneshot::channel();
        let job = Self {
            inputs: inputs.clone(),
            call: call.clone(),
            reply,
        };
        (job, answer)
    }

    pub(super) fn answer(self, result: Result<Outputs, Error>) {
        // Whoever left meanwhile does not need it.
        let _ = self.reply.send(result);
    }
}

impl Waits for Job {
    fn owner(&self) -> &Arc<str> {
        &self.call.request_id
    }

    fn is_over(&self) -> bool {
        self.reply.is_closed() || self.call.is_over()
    }
}

/// The error of a call that is not run, because its client has gone or its time is over.
pub(super) fn nobody_waits() -> Error {
    Error::new(
        ErrorKind::Deadline,
        "the time for the request ran out before the stage was free",
    )
}
