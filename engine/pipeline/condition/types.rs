//! The types of what a condition is made of.

use std::fmt;
use std::sync::Arc;

use omnizap_contract::{JsonShape, PortType};

/// A type of CEL; null is one of its own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Type {
    Null,
    Bool,
    Int,
    Double,
    Text,
    List(Arc<Self>),
    /// An object whose members have any names.
    Map(Arc<Self>),
    /// An object with these members.
    Object(Arc<[(String, Self)]>),
    /// JSON of which nothing is known before a request: every operation is allowed, and one that
    /// does not fit has no value.
    Any,
    /// What the items of an empty list are.
    Never,
    /// Pixels, vectors, bytes: a condition can only ask whether there are any.
    Opaque(PortType),
    /// A value of that type, or null.
    Nullable(Arc<Self>),
}

impl Type {
    /// The type of a port's values.
    pub(crate) fn of_port(ty: PortType, shape: &JsonShape) -> Self {
        match ty {
            PortType::Text => Self::Text,
            PortType::TextList => Self::List(Arc::new(Self::Text)),
            PortType::Number => Self::Double,
            PortType::Integer => Self::Int,
            PortType::Bool => Self::Bool,
            PortType::Json => Self::of_shape(shape),
            PortType::Scores => Self::Map(Arc::new(Self::Double)),
            other => Self::Opaque(other),
        }
    }

    fn of_shape(shape: &JsonShape) -> Self {
        match shape {
            JsonShape::Any => Self::Any,
            JsonShape::Text => Self::Text,
            JsonShape::Number => Self::Double,
            JsonShape::Integer => Self::Int,
            JsonShape::Bool => Self::Bool,
            JsonShape::Nullable(shape) => Self::of_shape(shape).or_null(),
            JsonShape::List(shape) => Self::List(Arc::new(Self::of_shape(shape))),
            JsonShape::Map(shape) => Self::Map(Arc::new(Self::of_shape(shape))),
            JsonShape::Object(members) => {
                let members = members.iter();
                let members = members.map(|(name, shape)| (name.clone(), Self::of_shape(shape)));
                Self::Object(members.collect())
            }
        }
    }

    /// The same type with null in it.
    pub(super) fn or_null(self) -> Self {
        match self {
            // JSON of which nothing is known may be null anyway.
            Self::Null | Self::Any | Self::Nullable(_) => self,
            other => Self::Nullable(Arc::new(other)),
        }
    }

    /// The same type without null.
    pub(super) fn not_null(&self) -> &Self {
        match self {
            Self::Nullable(inner) => inner,
            other => other,
        }
    }

    pub(super) fn is_nullable(&self) -> bool {
        matches!(self, Self::Null | Self::Nullable(_))
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Double)
    }

    /// True where a value of one type can equal one of the other.
    pub(super) fn can_equal(&self, other: &Self) -> bool {
        if self.is_nullable() && other.is_nullable() {
            return true;
        }
        match (self.not_null(), other.not_null()) {
            // A test for null is always allowed: what is never null today may be tomorrow.
            (Self::Any | Self::Null | Self::Never, _)
            | (_, Self::Any | Self::Null | Self::Never) => true,
            (Self::List(a), Self::List(b)) | (Self::Map(a), Self::Map(b)) => a.can_equal(b),
            (Self::Map(_) | Self::Object(_), Self::Map(_) | Self::Object(_)) => true,
            (a, b) => a == b || (a.is_number() && b.is_number()),
        }
    }

    /// A type that holds the values of both.
    pub(crate) fn joined(&self, other: &Self) -> Self {
        let is_nullable = self.is_nullable() || other.is_nullable();
        let joined = match (self.not_null(), other.not_null()) {
            (Self::Null | Self::Never, other) | (other, Self::Null | Self::Never) => other.clone(),
            (a, b) if a == b => a.clone(),
            (Self::List(a), Self::List(b)) => Self::List(Arc::new(a.joined(b))),
            _ => Self::Any,
        };
        if is_nullable {
            joined.or_null()
        } else {
            joined
        }
    }
}

/// As people call it.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("a bool"),
            Self::Int => f.write_str("a whole number"),
            Self::Double => f.write_str("a number"),
            Self::Text => f.write_str("a text"),
            Self::List(_) => f.write_str("a list"),
            Self::Map(_) | Self::Object(_) => f.write_str("an object"),
            Self::Any => f.write_str("any JSON"),
            Self::Never => f.write_str("nothing"),
            Self::Opaque(ty) => write!(f, "{ty}"),
            Self::Nullable(inner) => write!(f, "{inner} or null"),
        }
    }
}
