//! Calls of a plugin's stage, alone or several at a time: what it gives, and what follows where
//! it fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use omnizap_contract::common::breaker::{Admitted, Breaker};
use omnizap_contract::{
    Call, Counters, Error, ErrorKind, Facts, Health, Inputs, Options, Outputs, abi,
};
use serde_json::json;

use super::instances::Instances;
use super::job::nobody_waits;
use super::turn::{Overdue, Turn};
use super::{Limits, given_up};
use crate::fault::Fault;
use crate::host::{HostTable, Lost};
use crate::instance::Instance;
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
                limits.activate_time,
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

    /// Keeps the first instance.
    pub(super) fn begin_with(&self, instance: Instance) {
        self.instances.keep(Arc::new(instance));
    }

    /// Keeps no instance any more; those that there are.
    pub(super) fn close(&self) -> Vec<Arc<Instance>> {
        self.instances.close()
    }

    pub(super) fn host(&self) -> &'static HostTable {
        self.library.host
    }

    /// Why the plugin is not called any more, if so.
    pub(super) fn given_up(&self) -> Option<String> {
        self.host().given_up(self.limits.max_lost)
    }

    /// The error of a call that is not made, because the plugin is given up.
    pub(super) fn given_up_error(&self, why: &str) -> Error {
        let message = format!(
            "the plugin {} does not return from its calls and is not called any more",
            self.plugin
        );
        Error::new(ErrorKind::Unavailable, message)
            .with_code("plugin_lost")
            .with_source(given_up(&self.plugin, why))
    }

    /// A call has not returned in time: a fault, and no instance for anybody else.
    pub(super) fn lose(&self, overdue: &Overdue) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        // Where it is stopped already there is nothing to count.
        if let Ok(admitted) = self.breaker.admit(now) {
            self.breaker.failed(admitted, now);
        }
        self.instances.forget(None);
        tracing::error!(
            plugin = self.plugin,
            stage = self.manifest.id,
            request_id = &*overdue.request,
            calls = overdue.calls,
            after_ms = overdue.after.as_millis() as u64,
            lost = self.host().lost(Lost::Call),
            "the plugin has not returned from {}, and its thread is given up",
            overdue.hook.name()
        );
        if let Some(why) = self.given_up() {
            tracing::error!("{}", given_up(&self.plugin, &why));
        }
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
    pub(super) fn run_all(
        &self,
        batch: &[(&Inputs, &Call)],
        turn: &Turn<'_>,
    ) -> Vec<Result<Outputs, Error>> {
        // A stage that rests after faults is tried with one call.
        if batch.len() == 1 || self.breaker.open().is_some() {
            return self.run_each(batch, turn);
        }
        let Ok(admitted) = self.breaker.admit(Instant::now()) else {
            return self.run_each(batch, turn);
        };
        let fail = |fault: &Fault| -> Vec<Result<Outputs, Error>> {
            let all = batch.iter();
            all.map(|_| Err(self.error(fault.clone()))).collect()
        };
        let instance = match self.instances.take(batch[0].1, turn) {
            Ok(instance) => instance,
            Err(fault) => {
                self.count_fault(admitted, Some(&fault), turn);
                return fail(&fault);
            }
        };
        let result = instance.run_batch(batch);
        let failed = match &result {
            Ok(each) => each.iter().any(|one| one.as_ref().is_err_and(is_fault)),
            Err(fault) => is_fault(fault),
        };
        let failed = failed || turn.is_lost();
        self.instances.give_back(instance, failed, turn);
        self.batches.fetch_add(1, Ordering::Relaxed);
        let calls = batch.len() as u64;
        self.batched_calls.fetch_add(calls, Ordering::Relaxed);
        match result {
            Ok(each) => {
                let faults = each.iter().filter(|one| one.as_ref().is_err_and(is_fault));
                let faults = faults.count();
                self.count_faults(admitted, faults as u64, faults == each.len(), turn);
                each.into_iter()
                    .map(|one| one.map_err(|fault| self.error(fault)))
                    .collect()
            }
            Err(fault)
                if self.manifest.has(abi::PURE)
                    && may_be_of_one_call(&fault)
                    && !turn.is_lost() =>
            {
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
                self.run_each(batch, turn)
            }
            Err(fault) => {
                self.count_fault(admitted, Some(&fault), turn);
                fail(&fault)
            }
        }
    }

    /// One after the other, without those that nobody waits for any more.
    fn run_each(&self, batch: &[(&Inputs, &Call)], turn: &Turn<'_>) -> Vec<Result<Outputs, Error>> {
        let each = batch.iter();
        each.map(|(inputs, call)| {
            if call.is_over() {
                return Err(nobody_waits());
            }
            self.run(inputs, call, turn)
        })
        .collect()
    }

    /// What one call came to, or a batch that had one end for all.
    fn count_fault(&self, call: Admitted, fault: Option<&Fault>, turn: &Turn<'_>) {
        let is_fault = fault.is_some_and(is_fault);
        self.count_faults(call, u64::from(is_fault), is_fault, turn);
    }

    fn count_faults(&self, call: Admitted, faults: u64, nothing_went_well: bool, turn: &Turn<'_>) {
        // A call that was given up was counted then.
        if turn.is_lost() {
            return;
        }
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

    /// How the stage is, of whose threads so many are lost.
    pub(super) fn health(&self, lost: usize) -> Health {
        let id = &self.manifest.id;
        let stopped = self.breaker.open();
        let given_up = self.given_up();
        let state = match (&given_up, stopped, lost) {
            (Some(_), ..) => "given up",
            (None, Some(_), _) => "stopped",
            (None, None, 1..) => "hanging",
            (None, None, 0) => "running",
        };
        let facts = Facts::new().with(
            format!("plugin {id}"),
            json!({
                "plugin": self.plugin, "state": state,
                "faults": self.faults.load(Ordering::Relaxed), "lost": lost,
                "metrics": self.host().metrics(),
            }),
        );
        let mut degraded = Vec::new();
        if let Some(faults) = stopped {
            degraded.push(format!(
                "the plugin stage `{id}` failed {faults} times in a row and is stopped; it is tried again every {} s",
                self.limits.rest.as_secs()
            ));
        }
        if lost > 0 {
            degraded.push(format!(
                "{lost} of the calls of the plugin stage `{id}` have never returned, and hold a thread each (at most {} of a plugin)",
                self.limits.max_lost
            ));
        }
        Health {
            starting: None,
            failing: given_up.map(|why| super::given_up(&self.plugin, &why)),
            degraded: (!degraded.is_empty()).then(|| degraded.join("; ")),
            facts,
        }
    }

    pub(super) fn counters(&self) -> Counters {
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

    /// One call.
    fn run(&self, inputs: &Inputs, call: &Call, turn: &Turn<'_>) -> Result<Outputs, Error> {
        let admitted = match self.breaker.admit(Instant::now()) {
            Ok(admitted) => admitted,
            Err(rest) => return Err(self.stopped(rest)),
        };
        let taken = self.instances.take(call, turn);
        let result = taken.and_then(|instance| {
            let result = instance.run(inputs, call);
            let failed = turn.is_lost() || result.as_ref().err().is_some_and(is_fault);
            self.instances.give_back(instance, failed, turn);
            result
        });
        self.count_fault(admitted, result.as_ref().err(), turn);
        result.map_err(|fault| self.error(fault))
    }
}

/// True for a fault of the plugin, false for an error about the request or its time.
fn is_fault(fault: &Fault) -> bool {
    fault.is_malformed || error_kind(fault.status).is_none()
}

/// False for an error about what the stage needs: it concerns every call alike.
fn may_be_of_one_call(fault: &Fault) -> bool {
    !matches!(fault.status, abi::BUSY | abi::UNAVAILABLE)
}
