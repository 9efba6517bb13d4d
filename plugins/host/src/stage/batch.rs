//! A stage that is better at several calls at a time: they wait in a bounded queue, and a thread
//! of the stage runs whatever waits as one batch.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use omnizap_contract::{
    AsyncStage, Call, Counters, Error, ErrorKind, Health, Inputs, Observed, Outputs,
};

use super::Limits;
use super::guarded::{PluginStage, nobody_waits};
use super::queue::{Job, Queue};

/// When a client whose call did not fit may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A stage, its queue and its thread. Dropping it ends the thread once its batch has ended.
pub(super) struct Batched {
    stage: Arc<PluginStage>,
    queue: Arc<Queue>,
}

impl Batched {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system gives no more threads.
    pub(super) fn start(
        stage: Arc<PluginStage>,
        max_batch: usize,
        limits: Limits,
    ) -> io::Result<Self> {
        let queue = Queue::new(limits.max_waiting, max_batch, limits.batch_wait);
        let queue = Arc::new(queue);
        let (stage_of_thread, queue_of_thread) = (stage.clone(), queue.clone());
        thread::Builder::new()
            .name("omnizap-batch".into())
            .spawn(move || {
                while let Some(jobs) = queue_of_thread.next_batch() {
                    run(&stage_of_thread, jobs);
                }
            })?;
        Ok(Self { stage, queue })
    }
}

impl Drop for Batched {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn run(stage: &PluginStage, jobs: Vec<Job>) {
    let batch: Vec<(&Inputs, &Call)> = jobs.iter().map(|job| (&job.inputs, &job.call)).collect();
    // A panic here is ours; it must not end the thread.
    let results = catch_unwind(AssertUnwindSafe(|| stage.run_all(&batch)));
    let mut results = results.unwrap_or_default().into_iter();
    for job in jobs {
        let result = results.next();
        let missing = || Err(Error::internal("the batch ended without a result"));
        job.answer(result.unwrap_or_else(missing));
    }
}

impl Observed for Batched {
    fn health(&self) -> Health {
        self.stage.health()
    }

    fn counters(&self) -> Counters {
        let (waiting, dropped) = self.queue.counts();
        self.stage
            .counters()
            .gauge("waiting", waiting as f64)
            .total("dropped", dropped)
    }
}

impl AsyncStage for Batched {
    async fn run(&self, inputs: &Inputs, call: &Call) -> Result<Outputs, Error> {
        let (job, answer) = Job::new(inputs, call);
        if !self.queue.push(job) {
            let stage = self.stage.id();
            let full = format!("too many calls wait for the stage `{stage}` (max_waiting)");
            return Err(Error::new(ErrorKind::Busy, full)
                .with_code("plugin_queue_full")
                .with_retry_after(RETRY_AFTER));
        }
        // A job that was dropped unrun answers nothing.
        answer.await.unwrap_or_else(|_| Err(nobody_waits()))
    }
}
