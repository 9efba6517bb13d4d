//! A stage that waits for something (network, disk): its calls run on threads that may wait, and
//! take no place from those that compute.

use std::sync::Arc;

use omnizap_contract::{AsyncStage, BoxFuture, Call, Error, Health, Inputs, Outputs, Stage as _};
use serde_json::{Map, Value as Json};
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

impl AsyncStage for Blocking {
    fn health(&self) -> Health {
        self.stage.health()
    }

    fn counters(&self) -> Map<String, Json> {
        self.stage.counters()
    }

    fn run<'a>(
        &'a self,
        inputs: &'a Inputs,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Outputs, Error>> {
        Box::pin(async move {
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
        })
    }
}
