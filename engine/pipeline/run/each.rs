//! A request whose stages run once for each of several values: one place among all requests, some
//! runs at one time, their results in the order of the values.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, StreamExt as _};
use omnizap_contract::{Error, Value};
use serde_json::{Map, Value as Json};

use super::attempt::crowded_error;
use super::meter::Counted;
use super::{Finished, StageFailure};
use crate::pipeline::build::Pipeline;
use crate::pipeline::trace::Trace;

/// Most runs of one request at one time: enough for a batch of the model, and few enough that a
/// queue holds several requests.
const AT_ONCE: usize = 32;

/// The values of the request's ports for one run, or why there are none.
pub type Item = Result<Vec<Option<Value>>, Error>;

/// The response of one run, or its failure.
pub type Ended = Result<Map<String, Json>, StageFailure>;

/// What a request of several values came to.
#[derive(Debug)]
pub struct FinishedEach {
    /// For each value its response or its failure; the failure of the whole request where one may
    /// not stand for its value.
    pub result: Result<Vec<Ended>, StageFailure>,
    /// What happened on the way, of those that ran.
    pub traces: Vec<Trace>,
}

impl Pipeline {
    /// Runs the stages for each item of a request. A failure that the file has a form for stands in
    /// the place of its item; the first other one is that of the request, and nothing further runs.
    pub async fn run_each(
        &self,
        items: Vec<Item>,
        request_id: Arc<str>,
        deadline: Instant,
    ) -> FinishedEach {
        let counted = Counted::begin(self.meters());
        let place = match self.admission.enter(Instant::now(), deadline) {
            Ok(place) => place,
            Err(after) => {
                counted.refused();
                let error = crowded_error(after);
                return FinishedEach {
                    result: Err(StageFailure { stage: None, error }),
                    traces: Vec::new(),
                };
            }
        };
        let mut traces = Vec::new();
        let result = self.each(items, &request_id, deadline, &mut traces).await;
        place.leave(Instant::now());
        counted.ended(result.as_ref().err().map(|failure| &failure.error));
        FinishedEach { result, traces }
    }

    async fn each(
        &self,
        items: Vec<Item>,
        request_id: &Arc<str>,
        deadline: Instant,
        traces: &mut Vec<Trace>,
    ) -> Result<Vec<Ended>, StageFailure> {
        // What no run would mend is told before any begins.
        let mut ready = Vec::with_capacity(items.len());
        for item in items {
            ready.push(match item {
                Ok(values) => Ok(values),
                Err(error) => Err(self.standing(StageFailure { stage: None, error })?),
            });
        }
        let runs = ready.into_iter().map(|item| {
            let run = item.map(|values| self.run_admitted(values, request_id.clone(), deadline));
            async move {
                match run {
                    Ok(run) => {
                        let Finished { result, trace } = run.await;
                        (result, Some(trace))
                    }
                    Err(failure) => (Err(failure), None),
                }
            }
        });
        let is_several = runs.len() > 1;
        let mut runs = stream::iter(runs).buffered(AT_ONCE);
        let mut results = Vec::new();
        while let Some((result, trace)) = runs.next().await {
            traces.extend(trace);
            results.push(match result {
                Ok(fields) => Ok(fields),
                Err(failure) => {
                    let standing = self.standing(failure);
                    Err(standing.map_err(|failure| match is_several {
                        true => self.of_item(results.len(), failure),
                        false => failure,
                    })?)
                }
            });
        }
        Ok(results)
    }

    /// The failure of a request with the place of the value that is to blame.
    fn of_item(&self, index: usize, failure: StageFailure) -> StageFailure {
        let StageFailure { stage, error } = failure;
        let mut fields = self.graph.file.request.iter();
        let field = fields.find(|field| field.each.is_some());
        let Some(field) = field.filter(|_| error.kind().is_of_client()) else {
            return StageFailure { stage, error };
        };
        let message = format!("{}[{index}]: {}", field.name.get_ref(), error.message());
        let told = Error::new(error.kind(), message).with_code(error.code().to_owned());
        let error = if StdError::source(&error).is_some() {
            told.with_source(error)
        } else {
            told
        };
        StageFailure { stage, error }
    }

    /// A failure that may stand in the place of its item, else as that of the request.
    fn standing(&self, failure: StageFailure) -> Result<StageFailure, StageFailure> {
        let error = &failure.error;
        let form = self
            .graph
            .file
            .answer
            .of_item(error.kind().status(), error.code());
        if form.is_some() {
            Ok(failure)
        } else {
            Err(failure)
        }
    }
}
