//! Values of different spaces: what one model made says nothing to another, so that nothing binds
//! from one to the other. What is switched off crosses nothing, and what is of no known space fits
//! all.

use omnizap_contract::{Input, Presence};

use super::binder::Binder;
use super::{Asked, Source};
use crate::pipeline::diagnostic::Diagnostic;

/// What the name of a space has that is no model's, but options: `name = value`.
const SETTING: &str = " = ";

impl Binder<'_> {
    /// The space of an input and that of a source, where they are not one.
    fn two_spaces<'s>(
        &'s self,
        index: usize,
        input: &'s Input,
        source: Source,
    ) -> Option<[&'s str; 2]> {
        let Source::Stage { node, output } = source else {
            return None;
        };
        let own = input.space.as_deref()?;
        let other = self.ports[node].outputs[output].space.as_deref()?;
        let is_on = |node: usize| self.file.stages[node].enabled;
        (own != other && is_on(index) && is_on(node)).then_some([own, other])
    }

    /// True for a source of another space than the input.
    pub(super) fn is_foreign(&self, index: usize, input: &Input, source: Source) -> bool {
        self.two_spaces(index, input, source).is_some()
    }

    /// Why an input cannot take what a source gives; [`None`] for one of its own space.
    pub(super) fn why_foreign(
        &self,
        index: usize,
        input: &Input,
        source: Source,
    ) -> Option<String> {
        let [own, other] = self.two_spaces(index, input, source)?;
        if own.contains(SETTING) {
            return Some(format!(
                "input `{}` of `{}` takes what is made with `{own}` and `{}` is made with `{other}`: \
                 give both stages the same options",
                input.name,
                self.file.stages[index].name.get_ref(),
                self.source_name(source)
            ));
        }
        Some(format!(
            "input `{}` of `{}` is of the model `{own}` and `{}` of `{other}`: \
             give both stages the same model",
            input.name,
            self.file.stages[index].name.get_ref(),
            self.source_name(source)
        ))
    }

    /// What would feed an input if it were of its space, nearest first.
    pub(super) fn foreign(&self, index: usize, input: &Input) -> Vec<Source> {
        let mut sources = self.of_its_name(index, input);
        sources.retain(|source| self.is_foreign(index, input, *source));
        sources
    }

    /// What an input could take instead of what is of another space, for people.
    pub(super) fn of_its_space(&self, index: usize, input: &Input) -> Option<String> {
        let mut sources = self.automatic(index, input).into_iter();
        let fitting = sources.find(|source| match *source {
            Source::Stage { node, output } => {
                let is_on = self.file.stages[node].enabled;
                is_on && self.ports[node].outputs[output].space == input.space
            }
            Source::Request(_) => false,
        })?;
        Some(format!(
            "or bind it to `{}`, which is of the model `{}`",
            self.source_name(fitting),
            input.space.as_deref()?
        ))
    }

    /// A stage that has a value already, and an `if` that keeps another from making it anew: where
    /// the value is of another space than who needs it, there is none for them.
    pub(super) fn foreign_stand_ins(&self, index: usize, odd: &mut Vec<Diagnostic>) {
        let stage = &self.file.stages[index];
        let inputs = self.ports[index].inputs.iter().zip(&self.inputs[index]);
        for (input, bound) in inputs {
            let foreign = self.foreign(index, input);
            if foreign.is_empty() || self.why_absent(bound).is_none() {
                continue;
            }
            let is_asked = |feeder: usize, by: Source| {
                let asked = self.asked[feeder].iter().flat_map(Asked::sources);
                let mut asked = asked.filter_map(|source| source.node());
                self.file.stages[feeder].enabled && asked.any(|node| by.node() == Some(node))
            };
            let feeders = bound.iter().filter_map(|source| source.node());
            let mut pairs = feeders.flat_map(|feeder| foreign.iter().map(move |by| (feeder, *by)));
            let Some((feeder, by)) = pairs.find(|(feeder, by)| is_asked(*feeder, *by)) else {
                continue;
            };
            let spaces = self.two_spaces(index, input, by);
            let (Some(giver), Some([own, other])) = (by.node(), spaces) else {
                continue;
            };
            let name = stage.name.get_ref();
            let [feeder, giver] = [feeder, giver].map(|node| self.file.stages[node].name.get_ref());
            let then = match input.presence {
                Presence::Required => "is skipped",
                Presence::Optional | Presence::Default(_) => "runs without it",
            };
            let message = format!(
                "the `if` of `{feeder}` asks `{giver}`, whose `{}` is of the model `{other}` and \
                 not, as `{name}` takes it, of `{own}`: where `{feeder}` does not run, `{name}` {then}",
                self.port_name(by)
            );
            let warning = Diagnostic::new(&self.file.source, stage.name.span(), message);
            odd.push(warning.help("give all three the same model"));
        }
    }
}
