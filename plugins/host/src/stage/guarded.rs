//! Calls of a plugin's stage, alone or several at a time: what it gives, and what follows where
//! it fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use omnizap_contract::common::breaker::{Admitted, Breaker};
use omnizap_contract::{
    Call, Counters, Error, ErrorKind, Facts, Health, Inputs, Observed, Options, Outputs, Stage, abi,
};
use serde_json::json;

use super::Limits;
use super::instances::Instances;
use crate::fault::Fault;
use crate::library::Library;
use crate::manifest::StageManifest;
use crate::types::{error_kind, status_name};

/// A stage of a pipeline that a plugin runs.
pub(super) struct PluginStage {
    library: Arc<Library>,
    manifest: Arc<StageManifest>,
    plugin: String,
    instances: Instances,
    breaker: Breaker,
    limits: Limits,
    faults: AtomicU64,
    batches: AtomicU64,
    batched_calls: AtomicU64,
}

impl PluginStage {
    pub(super) fn new(
        library: Arc<Library>,
        manifest: Arc<StageManifest>,
        plugin: String,
        options: Options,
        limits: Limits,
    ) -> Self {
        Self {
            instances: Instances::new(
                library.clone(),
                manifest.clone(),
                options,
                limits.idle_instances,
            ),
            library,
            manifest,
            plugin,
            breaker: Breaker::new(limits.faults_in_a_row, limits.rest),
            limits,
            faults: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            batched_calls: AtomicU64::new(0),
        }
    }

    /// Makes the first instance; the most calls that it likes in one batch.
    pub(super) fn make_first(&self) -> Result<u32, Fault> {
        let instance = self.instances.make()?;
        let max_batch = instance.max_batch(&self.manifest)?;
        self.instances.keep(Arc::new(instance));
        Ok(max_batch)
    }

    pub(super) fn id(&self) -> &str {
        &self.manifest.id
    }

    fn stopped(&self, rest: Duration) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "the plugin {} failed too often in its stage `{}` and is stopped for now",
                self.plugin, self.manifest.id
            ),
        )
        .with_code("plugin_stopped")
        .with_retry_after(rest)
    }

    /// Several calls at a time; a result for each, in their order.
    ///
    /// A call whose own status is an error fails alone. Where the batch as a whole fails, one
    /// call may be to blame for all: if the stage is pure, each is run alone. For the breaker a
    /// batch counts as one call, that failed if none of it went well.
    pub(super) fn run_all(&self, batch: &[(&Inputs, &Call)]) -> Vec<Result<Outputs, Error>> {
        // A stage that rests after faults is tried with one call.
        if batch.len() == 1 || self.breaker.open().is_some() {
            return self.run_each(batch);
        }
        let Ok(admitted) = self.breaker.admit(Instant::now()) else {
            return self.run_each(batch);
        };
        let fail = |fault: &Fault| -> Vec<Result<Outputs, Error>> {
            let all = batch.iter();
            all.map(|_| Err(self.error(fault.clone()))).collect()
        };
        let instance = match self.instances.take() {
            Ok(instance) => instance,
            Err(fault) => {
                self.count_faults(admitted, 1, true);
                return fail(&fault);
            }
        };
        let result = instance.run_batch(&self.manifest, batch);
        let failed = match &result {
            Ok(each) => each.iter().any(|one| one.as_ref().is_err_and(is_fault)),
            Err(fault) => is_fault(fault),
        };
        self.instances.give_back(instance, failed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        let calls = batch.len() as u64;
        self.batched_calls.fetch_add(calls, Ordering::Relaxed);
        match result {
            Ok(each) => {
                let faults = each.iter().filter(|one| one.as_ref().is_err_and(is_fault));
                let faults = faults.count();
                self.count_faults(admitted, faults as u64, faults == each.len());
                each.into_iter()
                    .map(|one| one.map_err(|fault| self.error(fault)))
                    .collect()
            }
            Err(fault) if self.manifest.has(abi::PURE) && may_be_of_one_call(&fault) => {
                tracing::warn!(
                    plugin = self.plugin,
                    stage = self.manifest.id,
                    calls,
                    status = status_name(fault.status),
                    "a batch failed and its calls are run alone: {}",
                    fault.message
                );
                self.faults
                    .fetch_add(u64::from(is_fault(&fault)), Ordering::Relaxed);
                self.run_each(batch)
            }
            Err(fault) => {
                self.count_faults(admitted, u64::from(is_fault(&fault)), is_fault(&fault));
                fail(&fault)
            }
        }
    }

    /// One after the other, without those that nobody waits for any more.
    fn run_each(&self, batch: &[(&Inputs, &Call)]) -> Vec<Result<Outputs, Error>> {
        let each = batch.iter();
        each.map(|(inputs, call)| {
            if call.is_over() {
                return Err(nobody_waits());
            }
            self.run(inputs, call)
        })
        .collect()
    }

    fn count_faults(&self, call: Admitted, faults: u64, nothing_went_well: bool) {
        self.faults.fetch_add(faults, Ordering::Relaxed);
        if nothing_went_well {
            self.breaker.failed(call, Instant::now());
        } else {
            self.breaker.succeeded(call);
        }
    }

    /// The error of a request, from what a plugin said. Its words reach the client only where
    /// they are about what the client sent.
    fn error(&self, fault: Fault) -> Error {
        let stage = &self.manifest.id;
        let kind = error_kind(fault.status).filter(|_| !fault.is_malformed);
        if let Some(kind) = kind {
            let mut error = Error::new(kind, fault.message);
            if !fault.code.is_empty() {
                error = error.with_code(fault.code);
            }
            return match fault.retry_after {
                Some(after) => error.with_retry_after(after),
                None => error,
            };
        }
        let what = match fault.status {
            abi::OK => "gave an answer that is not valid",
            abi::PANIC => "panicked",
            _ => "failed",
        };
        Error::new(
            ErrorKind::Internal,
            format!("the plugin {} {what} in its stage `{stage}`", self.plugin),
        )
        .with_code("plugin_fault")
        .with_source(format!("{} ({})", fault.message, status_name(fault.status)))
    }
}

impl Observed for PluginStage {
    fn health(&self) -> Health {
        let id = &self.manifest.id;
        let stopped = self.breaker.open();
        let state = if stopped.is_some() {
            "stopped"
        } else {
            "running"
        };
        let facts = Facts::new().with(
            format!("plugin {id}"),
            json!({
                "plugin": self.plugin, "state": state,
                "faults": self.faults.load(Ordering::Relaxed),
                "metrics": self.library.host.metrics(),
            }),
        );
        Health {
            starting: None,
            failing: None,
            degraded: stopped.map(|faults| {
                format!("the plugin stage `{id}` failed {faults} times in a row and is stopped; it is tried again every {} s", self.limits.rest.as_secs())
            }),
            facts,
        }
    }

    fn counters(&self) -> Counters {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut counters = Counters::new().total("faults", count(&self.faults));
        if self.manifest.has(abi::BATCHABLE) {
            counters = counters
                .total("batches", count(&self.batches))
                .total("batched_calls", count(&self.batched_calls));
        }
        let metrics = self.library.host.metrics().into_iter();
        let metrics = metrics.fold(Counters::new(), |all, (name, value)| all.gauge(name, value));
        counters.group("plugin_metrics", metrics)
    }
}

impl Stage for PluginStage {
    fn run(&self, inputs: &Inputs, call: &Call) -> Result<Outputs, Error> {
        let admitted = match self.breaker.admit(Instant::now()) {
            Ok(admitted) => admitted,
            Err(rest) => return Err(self.stopped(rest)),
        };
        let taken = self.instances.take();
        let result = taken.and_then(|instance| {
            let result = instance.run(&self.manifest, inputs, call);
            let failed = result.as_ref().err().is_some_and(is_fault);
            self.instances.give_back(instance, failed);
            result
        });
        match result {
            Ok(outputs) => {
                self.breaker.succeeded(admitted);
                Ok(outputs)
            }
            Err(fault) => {
                self.count_faults(admitted, u64::from(is_fault(&fault)), is_fault(&fault));
                Err(self.error(fault))
            }
        }
    }
}

/// True for a fault of the plugin, false for an error about the request or its time.
fn is_fault(fault: &Fault) -> bool {
    fault.is_malformed || error_kind(fault.status).is_none()
}

/// The error of a call that is not run, because its client has gone or its time is over.
pub(super) fn nobody_waits() -> Error {
    Error::new(
        ErrorKind::Deadline,
        "the time for the request ran out before the stage was free",
    )
}

/// False for an error about what the stage needs: it concerns every call alike.
fn may_be_of_one_call(fault: &Fault) -> bool {
    !matches!(fault.status, abi::BUSY | abi::UNAVAILABLE)
}
