//! A graph with other stages in the places of those that a test mocks.

use std::sync::Arc;

use omnizap_contract::{
    Call, Error, ErrorKind, Inputs, Kind, Observed, Options, Outputs, Ports, Runner, Stage,
    StageKind, StageSpec, Value,
};

use crate::pipeline::case::{Case, Gives, value_of};
use crate::pipeline::graph::Graph;

/// The graph as a test wants it: what it mocks gives what it says, and no stage has a key or a
/// password, so that nothing goes out to where one is needed.
#[must_use]
pub fn prepared(graph: &Graph, case: &Case) -> Graph {
    let mut graph = graph.clone();
    for entry in &mut graph.file.stages {
        let secrets = entry.kind.spec().options.iter();
        let secrets = secrets.filter(|option| option.is_secret);
        let mut values = entry.options.as_map().clone();
        for secret in secrets {
            if let Some(unset) = &secret.default {
                values.insert(secret.name.to_string(), unset.clone());
            }
        }
        entry.options = Options::from_checked(values);
    }
    for mock in &case.mocks {
        let mut stages = graph.file.stages.iter();
        let node = stages.position(|stage| stage.name.get_ref() == mock.stage.get_ref());
        let Some(node) = node else {
            continue;
        };
        let outputs = &mut graph.nodes[node].ports.outputs;
        let given = match &mock.gives {
            Gives::Error(kind) => Err(*kind),
            Gives::Outputs(given) => {
                let mut values = Vec::new();
                for output in outputs {
                    let mut given = given.iter();
                    let value = given.find(|(port, _)| *port.get_ref() == *output.name);
                    // Checked with the file.
                    let value =
                        value.and_then(|(_, json)| value_of(output.ty, json.get_ref()).ok());
                    match value {
                        Some(value) => values.push((output.name.to_string(), value)),
                        None => output.optional = true,
                    }
                }
                Ok(values)
            }
        };
        let entry = &mut graph.file.stages[node];
        entry.kind = Arc::new(Mocked {
            kind: entry.kind.clone(),
            given: Arc::new(Given(given)),
        });
    }
    graph
}

/// A kind whose instances give what a test says.
struct Mocked {
    kind: Arc<dyn Kind>,
    given: Arc<Given>,
}

impl StageKind for Mocked {
    fn spec(&self) -> &StageSpec {
        self.kind.spec()
    }

    fn ports(&self, options: &Options) -> Ports {
        self.kind.ports(options)
    }

    async fn build(&self, _options: &Options) -> Result<Runner, Error> {
        Ok(Runner::Inline(self.given.clone()))
    }
}

/// Values by the names of their outputs, or how it fails.
struct Given(Result<Vec<(String, Value)>, ErrorKind>);

impl Observed for Given {}

impl Stage for Given {
    fn run(&self, _inputs: &Inputs, _call: &Call) -> Result<Outputs, Error> {
        let values = match &self.0 {
            Ok(values) => values,
            Err(kind) => return Err(Error::new(*kind, "the test says that this stage fails")),
        };
        let mut outputs = Outputs::with_capacity(values.len());
        for (port, value) in values {
            outputs = outputs.put(port.clone(), value.clone());
        }
        Ok(outputs)
    }
}
