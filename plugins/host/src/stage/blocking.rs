//! A stage that waits for something (network, disk): its calls run on threads that may wait, and
//! take no place from those that compute.

use std::sync::Arc;

use omnizap_contract::{
    AsyncStage, Call, Counters, Error, Health, Inputs, Observed, Outputs, Stage as _,
};
use tokio::sync::Semaphore;

use super::guarded::{PluginStage, nobody_waits};

pub(super) struct Blocking {
    stage: Arc<PluginStage>,
    places: Arc<Semaphore>,
}

impl Blocking {
    pub(super) fn new(stage: Arc<PluginStage>, calls: usize) -> Self {
        Self {
            stage,
            places: Arc::new(Semaphore::new(calls.max(1))),
        }
    }
}

impl Observed for Blocking {
    fn health(&self) -> Health {
        self.stage.health()
    }

    fn counters(&self) -> Counters {
        self.stage.counters()
    }
}

impl AsyncStage for Blocking {
    async fn run(&self, inputs: &Inputs, call: &Call) -> Result<Outputs, Error> {
        let place = self.places.clone().acquire_owned().await;
        let place = place.map_err(Error::internal)?;
        let (stage, inputs, call) = (self.stage.clone(), inputs.clone(), call.clone());
        let run = tokio::task::spawn_blocking(move || {
            // Held by the thread, not by the request: one that has gone frees it only once
            // its call has returned.
            let _place = place;
            if call.is_over() {
                return Err(nobody_waits());
            }
            stage.run(&inputs, &call)
        });
        run.await
            .unwrap_or_else(|error| Err(Error::internal(error)))
    }
}
