//! A plugin's stage as pipelines call it: a call waits for a thread of the stage and for its
//! answer, until its deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use omnizap_contract::{
    AsyncStage, Call, Counters, Error, ErrorKind, Health, Inputs, Observed, Outputs,
};

use super::crew::{Crew, Refused};
use super::job::{Job, nobody_waits};
use crate::errand::{behind, within_async};
use crate::instance::Instance;

/// When a client whose call did not fit may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often calls that are left are looked at, at the end.
const LOOK: Duration = Duration::from_millis(5);

/// A stage and its threads. Dropping it lets them end, and ends the instances behind whoever drops
/// it.
pub(super) struct Calls {
    crew: Arc<Crew>,
}

impl Calls {
    pub(super) fn new(crew: Arc<Crew>) -> Self {
        Self { crew }
    }

    /// No more calls; the instances that nobody is in.
    fn end(&self) -> Vec<Arc<Instance>> {
        self.crew.close();
        self.crew.stage.close()
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        let instances = self.end();
        if !instances.is_empty() {
            let (host, limit) = (self.crew.stage.host(), self.crew.limits.hook_time);
            behind(host, limit, move || drop(instances));
        }
    }
}

impl Observed for Calls {
    fn health(&self) -> Health {
        self.crew.stage.health(self.crew.counts().lost)
    }

    fn counters(&self) -> Counters {
        let counts = self.crew.counts();
        self.crew
            .stage
            .counters()
            .gauge("waiting", counts.waiting as f64)
            .total("dropped", counts.dropped)
            .gauge("threads", counts.threads as f64)
            .gauge("lost", counts.lost as f64)
    }
}

impl AsyncStage for Calls {
    async fn run(&self, inputs: Inputs, call: &Call) -> Result<Outputs, Error> {
        let stage = &self.crew.stage;
        if let Some(why) = stage.given_up() {
            return Err(stage.given_up_error(&why));
        }
        let (job, answer) = Job::new(&inputs, call);
        drop(inputs);
        self.crew.push(job).map_err(|refused| match refused {
            Refused::Full => {
                let id = stage.id();
                let full = format!("too many calls wait for the stage `{id}` (max_waiting)");
                Error::new(ErrorKind::Busy, full)
                    .with_code("plugin_queue_full")
                    .with_retry_after(RETRY_AFTER)
            }
            Refused::Closed => Error::new(ErrorKind::Unavailable, "the stage is closed")
                .with_retry_after(RETRY_AFTER),
            Refused::NoThread(error) => Error::internal(error),
        })?;
        match tokio::time::timeout_at(call.deadline.into(), answer).await {
            Ok(Ok(result)) => result,
            // A job that was dropped unrun answers nothing.
            Ok(Err(_)) => Err(nobody_waits()),
            Err(_) => Err(Error::new(
                ErrorKind::Deadline,
                "the time for the request ran out before the stage was done",
            )),
        }
    }

    async fn close(&self) {
        let mut instances = self.end();
        let stage = &self.crew.stage;
        let limits = &self.crew.limits;
        let (host, limit) = (stage.host(), limits.hook_time);
        let until = Instant::now() + limits.overdue;
        while self.crew.is_at_work() && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
        instances.extend(stage.close());
        if instances.is_empty() {
            return;
        }
        if let Err(late) = within_async(host, limit, move || drop(instances)).await {
            let (plugin, id) = (host.name(), stage.id());
            tracing::error!(plugin, stage = id, "the plugin {late}");
        }
    }
}
