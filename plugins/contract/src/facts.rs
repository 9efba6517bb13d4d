//! What a stage says of itself: facts that anyone may see, and numbers for the operator.

use std::borrow::Cow;

use serde_json::{Map, Value as Json};

/// Named facts: settings in force, the model's name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts(Map<String, Json>);

impl Facts {
    /// No fact yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same facts and one more; a later one of the same name takes the place of the first.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Json>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// The same facts and all of others.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// A fact by its name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Json> {
        self.0.get(name)
    }

    /// As a JSON object.
    #[must_use]
    pub fn into_json(self) -> Map<String, Json> {
        self.0
    }
}

impl IntoIterator for Facts {
    type Item = (String, Json);
    type IntoIter = serde_json::map::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// One number of a stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    /// Counts up from the start of the process.
    Total(u64),
    /// May rise and fall.
    Gauge(f64),
    /// Numbers that belong together.
    Group(Counters),
}

/// Named numbers of a stage, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters(Vec<(Cow<'static, str>, Number)>);

impl Counters {
    /// No number yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same numbers and one that only counts up.
    #[must_use]
    pub fn total(self, name: impl Into<Cow<'static, str>>, total: u64) -> Self {
        self.with(name, Number::Total(total))
    }

    /// The same numbers and one that may fall.
    #[must_use]
    pub fn gauge(self, name: impl Into<Cow<'static, str>>, value: f64) -> Self {
        self.with(name, Number::Gauge(value))
    }

    /// The same numbers and a group of them.
    #[must_use]
    pub fn group(self, name: impl Into<Cow<'static, str>>, group: Self) -> Self {
        self.with(name, Number::Group(group))
    }

    fn with(mut self, name: impl Into<Cow<'static, str>>, number: Number) -> Self {
        self.0.push((name.into(), number));
        self
    }

    /// Every number and its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Number)> {
        self.0.iter().map(|(name, number)| (&**name, number))
    }

    /// As a JSON object; whole gauges are shown without a fraction.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Json> {
        let shown = |number: &Number| match number {
            Number::Total(total) => Json::from(*total),
            Number::Gauge(value) if value.fract() == 0.0 && value.abs() < 9e15 => {
                Json::from(*value as i64)
            }
            Number::Gauge(value) => Json::from(*value),
            Number::Group(group) => Json::Object(group.to_json()),
        };
        let each = self.iter();
        each.map(|(name, number)| (name.to_owned(), shown(number)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_order_and_their_kind() {
        let plugin = Counters::new().gauge("load", 0.5).gauge("size", 3.0);
        let all = Counters::new().total("faults", 2).group("plugin", plugin);
        let shown = Json::Object(all.to_json()).to_string();
        assert_eq!(shown, r#"{"faults":2,"plugin":{"load":0.5,"size":3}}"#);
    }
}
