//! Typed inputs and outputs of a stage.

use std::borrow::Cow;

use crate::{JsonShape, PortType, Value};

/// What an input sees when nothing is bound to it.
#[derive(Clone, Debug)]
pub enum Presence {
    /// The stage cannot run without it.
    Required,
    /// The stage runs, and finds it absent.
    Optional,
    /// The stage runs, and finds this value.
    Default(Value),
}

/// A value that a stage takes.
#[derive(Clone, Debug)]
pub struct Input {
    /// Name of the port; binds to the nearest earlier output of this name and type.
    pub name: Cow<'static, str>,
    /// Type of the port.
    pub ty: PortType,
    /// What happens when nothing is bound.
    pub presence: Presence,
    /// The name of another input; where that one has a value, this one is not looked at, so a
    /// stage that runs on demand need not give it. Where neither has one the stage cannot run.
    pub unless: Option<Cow<'static, str>>,
    /// The space that the value must be of: the model that made its numbers, and what else tells
    /// them apart from those of others. Numbers of one space say nothing in another, so nothing
    /// binds across. [`None`] where any will do, or where it is not known.
    pub space: Option<Cow<'static, str>>,
    /// One line for people: what it is, its shape and unit.
    pub doc: Cow<'static, str>,
}

impl Input {
    /// An input that must be bound.
    #[must_use]
    pub fn required(
        name: impl Into<Cow<'static, str>>,
        ty: PortType,
        doc: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            name: name.into(),
            ty,
            presence: Presence::Required,
            unless: None,
            space: None,
            doc: doc.into(),
        }
    }

    /// An input that may be absent.
    #[must_use]
    pub fn optional(
        name: impl Into<Cow<'static, str>>,
        ty: PortType,
        doc: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            presence: Presence::Optional,
            ..Self::required(name, ty, doc)
        }
    }

    /// The same input, which is not looked at where that other one has a value.
    #[must_use]
    pub fn unless(mut self, other: impl Into<Cow<'static, str>>) -> Self {
        self.unless = Some(other.into());
        self
    }

    /// The same input, for values of this space.
    #[must_use]
    pub fn of_space(mut self, space: Option<impl Into<Cow<'static, str>>>) -> Self {
        self.space = space.map(Into::into);
        self
    }

    /// An input with a value for when nothing is bound.
    #[must_use]
    pub fn with_default(
        name: impl Into<Cow<'static, str>>,
        default: impl Into<Value>,
        doc: impl Into<Cow<'static, str>>,
    ) -> Self {
        let default = default.into();
        Self {
            presence: Presence::Default(default.clone()),
            ..Self::required(name, default.port_type(), doc)
        }
    }
}

/// How an output appears in the response.
#[derive(Clone, Debug)]
pub struct Publish {
    /// The field of the response.
    pub field: Cow<'static, str>,
    /// What the field holds when the stage is off, skipped or pruned, so that
    /// the shape of the answer never changes.
    pub neutral: serde_json::Value,
    /// Decimals that every number in it is rounded to (half away from zero);
    /// `None` leaves them as they are.
    pub decimals: Option<u8>,
}

/// A value that a stage gives.
#[derive(Clone, Debug)]
pub struct Output {
    /// Name of the port.
    pub name: Cow<'static, str>,
    /// Type of the port.
    pub ty: PortType,
    /// False where the stage always gives it; true where it may leave it out, and
    /// consumers then see what they would have seen without the stage.
    pub optional: bool,
    /// What it is where the stage failed and is skipped (`on_error = "skip"`); without it
    /// consumers see what they would have seen without the stage.
    pub failed: Option<Value>,
    /// What a value of type [`PortType::Json`] looks like, for conditions over it.
    pub shape: JsonShape,
    /// True where it says what the stage took at its input of this name, or what it took without
    /// one. It is not for other stages of its kind: those have a default of their own.
    pub is_echo: bool,
    /// The space that the value is of, see [`Input::space`]. [`None`] where it suits any input, or
    /// where it is not known.
    pub space: Option<Cow<'static, str>>,
    /// Set where the output appears in the response.
    pub publish: Option<Publish>,
    /// One line for people: what it is, its shape and unit.
    pub doc: Cow<'static, str>,
}

impl Output {
    /// An output that the stage always gives and that only other stages see.
    #[must_use]
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        ty: PortType,
        doc: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            name: name.into(),
            ty,
            optional: false,
            failed: None,
            shape: JsonShape::Any,
            is_echo: false,
            space: None,
            publish: None,
            doc: doc.into(),
        }
    }

    /// The same output, which the stage may leave out.
    #[must_use]
    pub fn optional(self) -> Self {
        Self {
            optional: true,
            ..self
        }
    }

    /// The same output, with a value for when the stage failed and is skipped.
    #[must_use]
    pub fn when_failed(self, value: impl Into<Value>) -> Self {
        Self {
            failed: Some(value.into()),
            ..self
        }
    }

    /// The same output, whose values are of this space.
    #[must_use]
    pub fn of_space(mut self, space: Option<impl Into<Cow<'static, str>>>) -> Self {
        self.space = space.map(Into::into);
        self
    }

    /// The same output, published under its own name; `neutral` is what the
    /// response shows without it.
    #[must_use]
    pub fn published(self, neutral: serde_json::Value) -> Self {
        let field = self.name.clone();
        self.published_as(field, neutral)
    }

    /// The same output, published as `field`.
    #[must_use]
    pub fn published_as(
        mut self,
        field: impl Into<Cow<'static, str>>,
        neutral: serde_json::Value,
    ) -> Self {
        self.publish = Some(Publish {
            field: field.into(),
            neutral,
            decimals: None,
        });
        self
    }

    /// The same output, its numbers rounded in the response.
    #[must_use]
    pub fn rounded(mut self, decimals: u8) -> Self {
        if let Some(publish) = &mut self.publish {
            publish.decimals = Some(decimals);
        }
        self
    }
}

impl Ports {
    /// These ports.
    #[must_use]
    pub fn new(
        inputs: impl IntoIterator<Item = Input>,
        outputs: impl IntoIterator<Item = Output>,
    ) -> Self {
        Self {
            inputs: inputs.into_iter().collect(),
            outputs: outputs.into_iter().collect(),
        }
    }
}

/// The ports of a stage under given options.
#[derive(Clone, Debug, Default)]
pub struct Ports {
    /// What it takes.
    pub inputs: Vec<Input>,
    /// What it gives.
    pub outputs: Vec<Output>,
}
