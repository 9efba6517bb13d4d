//! What the names in an `if` stand for.

use omnizap_contract::common::names::suggestion;
use toml::Spanned;

use super::binder::{Binder, nothing_is_made_of};
use super::{Asked, RAN, Source};
use crate::pipeline::condition::{Condition, Mistake, Names, Type, Unknown, Variable, place_of};
use crate::pipeline::config::REQUEST;
use crate::pipeline::diagnostic::Diagnostic;

/// The names that a condition of one stage may use, and those that it does.
struct Scope<'b, 'f> {
    binder: &'b Binder<'f>,
    stage: usize,
    asked: Vec<Asked>,
    variables: Vec<Variable>,
}

impl Binder<'_> {
    /// Binds the conditions, once all inputs are bound: they say what may be absent.
    pub(super) fn bind_conditions(&mut self) {
        for stage in 0..self.file.stages.len() {
            let Some(condition) = &self.file.stages[stage].condition else {
                continue;
            };
            let mut scope = Scope {
                binder: self,
                stage,
                asked: Vec::new(),
                variables: Vec::new(),
            };
            let bound = condition.get_ref().bind(&mut scope);
            let asked = scope.asked;
            match bound {
                Ok((bound, odd)) => {
                    self.conditions[stage] = Some(bound);
                    for odd in odd {
                        let warning = self.in_condition(stage, condition, odd);
                        self.warnings.push(warning);
                    }
                }
                // What could not be read may have given what is missing.
                Err(_) if self.file.has_unreadable_part => {}
                Err(mistakes) => {
                    for mistake in mistakes {
                        let mistake = self.in_condition(stage, condition, mistake);
                        self.diagnostics.push(mistake);
                    }
                }
            }
            self.asked[stage] = asked;
        }
    }

    fn in_condition(
        &self,
        stage: usize,
        condition: &Spanned<Condition>,
        mistake: Mistake,
    ) -> Diagnostic {
        let texts = &self.file.source.text;
        let place = place_of(texts, &condition.span(), &mistake.span);
        let name = self.file.stages[stage].name.get_ref();
        let message = format!("`if` of stage `{name}`: {}", mistake.message);
        let diagnostic = Diagnostic::new(&self.file.source, place, message);
        match mistake.help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }
    }
}

impl Scope<'_, '_> {
    fn add(&mut self, asked: Asked) -> usize {
        if let Some(known) = self.asked.iter().position(|known| *known == asked) {
            return known;
        }
        let binder = self.binder;
        let variable = match &asked {
            Asked::Ran(node) => Variable {
                ty: Type::Bool,
                null_because: None,
                absent_because: None,
                given_by: Vec::new(),
                asked_as: None,
                ran: *node,
                is_of_stage: true,
            },
            Asked::Value(sources) => Variable {
                // One fallback may hold other JSON than the next.
                ty: sources
                    .iter()
                    .map(|source| self.type_of(*source))
                    .reduce(|a, b| a.joined(&b))
                    .unwrap_or(Type::Null),
                null_because: binder.why_null(sources),
                absent_because: binder.why_absent(sources),
                given_by: sources
                    .iter()
                    .filter_map(|source| match *source {
                        Source::Stage { node, output } => {
                            let is_given = !binder.ports[node].outputs[output].optional;
                            is_given.then_some(node)
                        }
                        Source::Request(_) => None,
                    })
                    .collect(),
                asked_as: sources.iter().find_map(|source| match *source {
                    Source::Stage { node, output } => {
                        let is_given = !binder.ports[node].outputs[output].optional;
                        let name = binder.file.stages[node].name.get_ref();
                        is_given.then(|| format!("{}.{RAN}", written(name)))
                    }
                    Source::Request(_) => None,
                }),
                ran: None,
                is_of_stage: matches!(sources.first(), Some(Source::Stage { .. })),
            },
        };
        self.variables.push(variable);
        self.asked.push(asked);
        self.asked.len() - 1
    }

    fn type_of(&self, source: Source) -> Type {
        match source {
            Source::Request(port) => {
                Type::of_port(self.binder.request_ports[port].1, &Default::default())
            }
            Source::Stage { node, output } => {
                let port = &self.binder.ports[node].outputs[output];
                Type::of_port(port.ty, &port.shape)
            }
        }
    }

    fn stage_named(&self, name: &str) -> Option<usize> {
        let mut stages = self.binder.file.stages.iter();
        stages.position(|stage| stage.name.get_ref() == name)
    }

    /// Why no port of that name can be seen here, and the way out.
    fn unknown_port(&self, name: &str) -> Unknown {
        let binder = self.binder;
        let stages = &binder.file.stages;
        let gives = |node: usize| {
            let mut outputs = binder.ports[node].outputs.iter();
            outputs.any(|port| port.name == *name)
        };
        if gives(self.stage) {
            return Unknown {
                message: format!("`{name}` is what this stage gives itself"),
                help: Some("an `if` sees what was there before the stage".into()),
            };
        }
        if let Some(later) = (self.stage + 1..stages.len()).find(|node| gives(*node)) {
            let later = stages[later].name.get_ref();
            return Unknown {
                message: format!("refers to `{name}`, which nothing before it gives"),
                help: Some(format!(
                    "`{later}` gives it: move `{later}` before this stage"
                )),
            };
        }
        if let Some(node) = self.stage_named(name) {
            let outputs = binder.ports[node].outputs.iter();
            let members = outputs.map(|port| port.name.as_ref()).chain([RAN]);
            let members = members.map(|member| format!("{}.{member}", written(name)));
            let members: Vec<_> = members.take(8).collect();
            return Unknown {
                message: format!("`{name}` is a stage, and no value"),
                help: Some(format!("write one of: {}", members.join(", "))),
            };
        }
        let known = binder.earlier(self.stage, |_, _| true);
        let mut names: Vec<&str> = known
            .iter()
            .map(|source| binder.port_name(*source))
            .collect();
        let before = stages[..self.stage].iter();
        names.extend(before.map(|stage| stage.name.get_ref().as_str()));
        names.push(REQUEST);
        let in_backticks = names.iter().find(|known| {
            written(known).starts_with('`')
                && known.split(|c: char| !is_word(c)).any(|it| it == name)
        });
        let help = match in_backticks {
            Some(known) => Some(format!("write {}: it is no plain name", written(known))),
            None => suggestion(name, names),
        };
        Unknown {
            message: format!("refers to `{name}`, which nothing before it gives"),
            help,
        }
    }
}

impl Names for Scope<'_, '_> {
    fn port(&mut self, name: &str) -> Result<usize, Unknown> {
        let mut sources = self.binder.earlier(self.stage, |known, _| known == name);
        let Some(nearest) = sources.first().copied() else {
            return Err(self.unknown_port(name));
        };
        let ty = self.binder.type_of(nearest);
        if matches!(nearest, Source::Stage { .. }) {
            // What a client sends does not stand in for what a stage would have said.
            sources.retain(|source| matches!(source, Source::Stage { .. }));
        }
        sources.retain(|source| self.binder.type_of(*source) == ty);
        Ok(self.add(Asked::Value(sources)))
    }

    fn of(&mut self, producer: &str, member: &str) -> Option<Result<usize, Unknown>> {
        let binder = self.binder;
        if producer == REQUEST {
            let mut ports = binder.request_ports.iter();
            let Some(port) = ports.position(|(name, _)| name == member) else {
                let names = binder.request_ports.iter().map(|(name, _)| name.as_str());
                return Some(Err(Unknown {
                    message: format!("the request has no field `{member}`"),
                    help: suggestion(member, names),
                }));
            };
            if binder.request_ignored[port] {
                return Some(Err(Unknown {
                    message: nothing_is_made_of(member),
                    help: Some("leave `ignored` out".into()),
                }));
            }
            return Some(Ok(self.add(Asked::Value(vec![Source::Request(port)]))));
        }
        let node = self.stage_named(producer)?;
        if node >= self.stage {
            let is_itself = node == self.stage;
            return Some(Err(Unknown {
                message: if is_itself {
                    format!("`{producer}` is this stage itself")
                } else {
                    format!("`{producer}` comes after this stage")
                },
                help: Some(if is_itself {
                    "an `if` sees what was there before the stage".into()
                } else {
                    format!("move `{producer}` before it")
                }),
            }));
        }
        let outputs = &binder.ports[node].outputs;
        if let Some(output) = outputs.iter().position(|port| port.name == *member) {
            return Some(Ok(
                self.add(Asked::Value(vec![Source::Stage { node, output }]))
            ));
        }
        if member == RAN {
            return Some(Ok(self.add(Asked::Ran(Some(node)))));
        }
        let names = outputs.iter().map(|port| &*port.name).chain([RAN]);
        Some(Err(Unknown {
            message: format!("stage `{producer}` has no output `{member}`"),
            help: suggestion(member, names),
        }))
    }

    fn variable(&self, index: usize) -> &Variable {
        &self.variables[index]
    }
}

fn is_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

/// A name as conditions write it.
fn written(name: &str) -> String {
    let is_plain = name.chars().all(is_word)
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !["in", "true", "false", "null"].contains(&name);
    if is_plain {
        name.to_owned()
    } else {
        format!("`{name}`")
    }
}
