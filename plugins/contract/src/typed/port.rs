//! Typed ports.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value as Json;

use crate::{
    Embedding, Error, Image, Input, Inputs, Output, Outputs, PortType, Presence, Publish, Scores,
    Tensor, Value,
};

/// The type of a port that holds a string.
#[derive(Clone, Copy, Debug)]
pub enum Text {}

/// The type of a port that holds a list of strings.
#[derive(Clone, Copy, Debug)]
pub enum TextList {}

/// What may travel through a port.
pub trait PortValue: 'static {
    /// The port's type.
    const TYPE: PortType;
    /// How a stage sees the value at its input.
    type Seen<'a>;
    /// What a stage gives at its output, or can be made into it.
    type Given: Into<Value>;
    /// The value, as a stage sees it; `None` for one of another type.
    fn seen(value: &Value) -> Option<Self::Seen<'_>>;
}

macro_rules! port_values {
    ($($ty:ty, $port:ident, $seen:ty, $given:ty, $value:ident => $read:expr;)*) => {$(
        impl PortValue for $ty {
            const TYPE: PortType = PortType::$port;
            type Seen<'a> = $seen;
            type Given = $given;

            fn seen(value: &Value) -> Option<Self::Seen<'_>> {
                match value {
                    Value::$port($value) => Some($read),
                    _ => None,
                }
            }
        }

        impl InPort for $ty {
            type Value = Self;
            type Read<'a> = $seen;
            const IS_OPTIONAL: bool = false;

            fn read(found: Option<&Value>) -> Option<Self::Read<'_>> {
                found.and_then(<Self as PortValue>::seen)
            }
        }
    )*};
}

/// What an input may be: a value, or [`Option`] of one.
pub trait InPort: 'static {
    /// The value that passes through the port.
    type Value: PortValue;
    /// What a stage reads.
    type Read<'a>;
    /// Whether the value may be absent.
    const IS_OPTIONAL: bool;
    /// What is read where this was found; `None` for a value of another type, and for none where
    /// there must be one.
    fn read(found: Option<&Value>) -> Option<Self::Read<'_>>;
}

port_values! {
    Bytes, Bytes, &'a Bytes, Bytes, value => value;
    Image, Image, &'a Arc<Image>, Arc<Image>, value => value;
    Embedding, Embedding, &'a Arc<Embedding>, Arc<Embedding>, value => value;
    Scores, Scores, &'a Arc<Scores>, Arc<Scores>, value => value;
    Tensor, Tensor, &'a Arc<Tensor>, Arc<Tensor>, value => value;
    Text, Text, &'a Arc<str>, Arc<str>, value => value;
    TextList, TextList, &'a Arc<[Arc<str>]>, Arc<[Arc<str>]>, value => value;
    f64, Number, f64, f64, value => *value;
    i64, Integer, i64, i64, value => *value;
    bool, Bool, bool, bool, value => *value;
    Json, Json, &'a Arc<Json>, Arc<Json>, value => value;
}

impl<T: PortValue> InPort for Option<T> {
    type Value = T;
    type Read<'a> = Option<T::Seen<'a>>;
    const IS_OPTIONAL: bool = true;

    fn read(found: Option<&Value>) -> Option<Self::Read<'_>> {
        match found {
            None => Some(None),
            Some(value) => T::seen(value).map(Some),
        }
    }
}

/// An input whatever its type, as a constant.
#[derive(Clone, Copy, Debug)]
pub struct InSpec {
    /// The port's name.
    pub name: &'static str,
    /// Its type.
    pub ty: PortType,
    /// Whether it may be absent.
    pub is_optional: bool,
    /// What it is where nothing is bound.
    pub default: Option<bool>,
    /// Another input that makes this one unnecessary.
    pub unless: Option<&'static str>,
    /// One line for people: what it is, its shape and unit.
    pub doc: &'static str,
}

impl From<InSpec> for Input {
    fn from(spec: InSpec) -> Self {
        Self {
            name: spec.name.into(),
            ty: spec.ty,
            presence: match spec.default {
                Some(default) => Presence::Default(default.into()),
                None if spec.is_optional => Presence::Optional,
                None => Presence::Required,
            },
            unless: spec.unless.map(Cow::Borrowed),
            space: None,
            doc: spec.doc.into(),
        }
    }
}

/// A value that a stage takes: the nearest earlier output of this name and type.
#[derive(Debug)]
pub struct In<T> {
    spec: InSpec,
    ty: PhantomData<fn() -> T>,
}

impl<T> Clone for In<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for In<T> {}

impl<T: InPort> In<T> {
    const fn of(name: &'static str, doc: &'static str) -> Self {
        Self {
            spec: InSpec {
                name,
                ty: <T::Value as PortValue>::TYPE,
                is_optional: T::IS_OPTIONAL,
                default: None,
                unless: None,
                doc,
            },
            ty: PhantomData,
        }
    }

    /// The same input, which is not looked at where another one has a value: a stage that runs on
    /// demand need not give it then.
    #[must_use]
    pub const fn unless<U>(mut self, other: In<U>) -> Self {
        self.spec.unless = Some(other.spec.name);
        self
    }

    /// The input whatever its type.
    #[must_use]
    pub const fn spec(self) -> InSpec {
        self.spec
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.spec.name
    }

    /// The port as a graph sees it.
    #[must_use]
    pub fn port(self) -> Input {
        self.spec.into()
    }
}

impl<T: InPort + PortValue> In<T> {
    /// An input without which the stage cannot run.
    #[must_use]
    pub const fn required(name: &'static str, doc: &'static str) -> Self {
        Self::of(name, doc)
    }
}

impl<T: PortValue> In<Option<T>> {
    /// An input that may be absent.
    #[must_use]
    pub const fn optional(name: &'static str, doc: &'static str) -> Self {
        Self::of(name, doc)
    }
}

impl In<bool> {
    /// An input with a value for when nothing is bound.
    #[must_use]
    pub const fn or(name: &'static str, default: bool, doc: &'static str) -> Self {
        let mut port = Self::of(name, doc);
        port.spec.default = Some(default);
        port
    }
}

/// An output whatever its type, as a constant.
#[derive(Clone, Copy, Debug)]
pub struct OutSpec {
    /// The port's name.
    pub name: &'static str,
    /// Its type.
    pub ty: PortType,
    /// Whether the stage may leave it out.
    pub is_optional: bool,
    /// JSON that the response shows without the stage, where the output is a field of it.
    pub neutral: Option<&'static str>,
    /// Decimals in the response.
    pub decimals: Option<u8>,
    /// What its JSON looks like, as [`JsonShape`] writes it.
    pub shape: Option<&'static str>,
    /// Whether it says what the stage took at its input of this name.
    pub is_echo: bool,
    /// One line for people: what it is, its shape and unit.
    pub doc: &'static str,
}

impl From<OutSpec> for Output {
    /// A neutral value that is no JSON is shown as `null`; of what is no shape nothing is known.
    fn from(spec: OutSpec) -> Self {
        Self {
            name: spec.name.into(),
            ty: spec.ty,
            optional: spec.is_optional,
            failed: None,
            shape: spec
                .shape
                .and_then(|shape| shape.parse().ok())
                .unwrap_or_default(),
            is_echo: spec.is_echo,
            space: None,
            publish: spec.neutral.map(|neutral| Publish {
                field: spec.name.into(),
                neutral: serde_json::from_str(neutral).unwrap_or_default(),
                decimals: spec.decimals,
            }),
            doc: spec.doc.into(),
        }
    }
}

/// A value that a stage gives.
#[derive(Debug)]
pub struct Out<T> {
    spec: OutSpec,
    ty: PhantomData<fn() -> T>,
}

impl<T> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Out<T> {}

impl<T: PortValue> Out<T> {
    /// An output that the stage always gives and that only other stages see.
    #[must_use]
    pub const fn new(name: &'static str, doc: &'static str) -> Self {
        Self {
            spec: OutSpec {
                name,
                ty: T::TYPE,
                is_optional: false,
                neutral: None,
                decimals: None,
                shape: None,
                is_echo: false,
                doc,
            },
            ty: PhantomData,
        }
    }

    /// The same output, a field of the response; `neutral` is the JSON that the response shows
    /// where the stage is off.
    #[must_use]
    pub const fn published(mut self, neutral: &'static str) -> Self {
        self.spec.neutral = Some(neutral);
        self
    }

    /// The same output, its numbers rounded in the response, half away from zero.
    #[must_use]
    pub const fn rounded(mut self, decimals: u8) -> Self {
        self.spec.decimals = Some(decimals);
        self
    }

    /// The same output, which says what the stage took at its input of this name, or what it took
    /// without one; see [`Output::is_echo`].
    #[must_use]
    pub const fn echo(mut self) -> Self {
        self.spec.is_echo = true;
        self
    }

    /// The same output, which the stage may leave out.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.spec.is_optional = true;
        self
    }

    /// The output whatever its type.
    #[must_use]
    pub const fn spec(self) -> OutSpec {
        self.spec
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.spec.name
    }

    /// The port as a graph sees it.
    #[must_use]
    pub fn port(self) -> Output {
        self.spec.into()
    }

    /// The same, with a value for when the stage failed and is skipped.
    #[must_use]
    pub fn when_failed(self, value: impl Into<T::Given>) -> Output {
        self.port().when_failed(value.into())
    }
}

impl Out<Json> {
    /// The same output; its JSON looks so, as [`JsonShape`](crate::JsonShape) writes it.
    #[must_use]
    pub const fn shaped(mut self, shape: &'static str) -> Self {
        self.spec.shape = Some(shape);
        self
    }
}

impl Inputs {
    /// The value at a port.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] where the stage did not declare the port.
    pub fn get<T: InPort>(&self, port: In<T>) -> Result<T::Read<'_>, Error> {
        let found = self.value(port.spec.name);
        T::read(found).ok_or_else(|| {
            let found = found.map_or("nothing", |value| value.port_type().name());
            Error::internal(format!(
                "the stage asked for the input `{}` of type {} and its ports give {found}",
                port.spec.name, port.spec.ty
            ))
        })
    }
}

impl Outputs {
    /// The same outputs and one more.
    #[must_use]
    pub fn with<T: PortValue>(self, port: Out<T>, value: impl Into<T::Given>) -> Self {
        self.put(port.spec.name, value.into().into())
    }

    /// The value given at a port.
    #[must_use]
    pub fn get<T: PortValue>(&self, port: Out<T>) -> Option<T::Seen<'_>> {
        self.value(port.spec.name).and_then(T::seen)
    }
}
