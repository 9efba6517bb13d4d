//! Typed options.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde_json::Value as Json;

use super::{Text, TextList};
use crate::{OptionSpec, OptionType, Options};

/// The type of an option and its bounds, as a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// `true` or `false`.
    Bool,
    /// A whole number within inclusive bounds.
    Integer {
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// A number within inclusive bounds.
    Number {
        /// Smallest allowed.
        min: f64,
        /// Largest allowed.
        max: f64,
    },
    /// Any string.
    Text,
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A list of strings.
    TextList,
}

/// The value of an option that the file does not set, as a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Default {
    /// The file must set it.
    None,
    /// It stays unset.
    Unset,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A string.
    Text(&'static str),
    /// A list of strings.
    TextList(&'static [&'static str]),
}

/// An option whatever its type, as a constant.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its key in the `with` table.
    pub name: &'static str,
    /// Its type and bounds.
    pub shape: Shape,
    /// Its value where the file does not set it.
    pub default: Default,
    /// The name under which clients may see its value.
    pub public: Option<&'static str>,
    /// Whether it is a key or a password.
    pub is_secret: bool,
    /// Whether it is a time in milliseconds within which the stage itself ends a run.
    pub bounds_run_ms: bool,
    /// One line for people: what it does, its unit.
    pub doc: &'static str,
}

impl From<Spec> for OptionSpec {
    fn from(spec: Spec) -> Self {
        let ty = match spec.shape {
            Shape::Bool => OptionType::Bool,
            Shape::Integer { min, max } => OptionType::Integer { min, max },
            Shape::Number { min, max } => OptionType::Number { min, max },
            Shape::Text => OptionType::Text,
            Shape::Choice(choices) => OptionType::Choice(Cow::Borrowed(choices)),
            Shape::TextList => OptionType::TextList,
        };
        Self {
            name: spec.name.into(),
            ty,
            default: match spec.default {
                Default::None => None,
                Default::Unset => Some(Json::Null),
                Default::Bool(bool) => Some(bool.into()),
                Default::Integer(integer) => Some(integer.into()),
                Default::Number(number) => Some(number.into()),
                Default::Text(text) => Some(text.into()),
                Default::TextList(list) => Some(list.into()),
            },
            public: spec.public.map(Cow::Borrowed),
            is_secret: spec.is_secret,
            bounds_run_ms: spec.bounds_run_ms,
            doc: spec.doc.into(),
        }
    }
}

/// What an option may hold.
pub trait OptionValue: 'static {
    /// What a stage reads.
    type Read<'a>;
    /// The value in checked options; the default where they do not hold it.
    fn read<'a>(value: &'a Json, default: Default) -> Self::Read<'a>;
}

impl OptionValue for bool {
    type Read<'a> = bool;

    fn read(value: &Json, default: Default) -> bool {
        value.as_bool().unwrap_or(default == Default::Bool(true))
    }
}

impl OptionValue for i64 {
    type Read<'a> = i64;

    fn read(value: &Json, default: Default) -> i64 {
        let default = match default {
            Default::Integer(integer) => integer,
            _ => 0,
        };
        value.as_i64().unwrap_or(default)
    }
}

/// A whole number from 0, to count with.
impl OptionValue for usize {
    type Read<'a> = usize;

    fn read(value: &Json, default: Default) -> usize {
        let number = <i64 as OptionValue>::read(value, default);
        usize::try_from(number).unwrap_or_default()
    }
}

impl OptionValue for f64 {
    type Read<'a> = f64;

    fn read(value: &Json, default: Default) -> f64 {
        let default = match default {
            Default::Number(number) => number,
            _ => 0.0,
        };
        value.as_f64().unwrap_or(default)
    }
}

impl OptionValue for Text {
    type Read<'a> = &'a str;

    fn read(value: &Json, default: Default) -> &str {
        let default = match default {
            Default::Text(text) => text,
            _ => "",
        };
        value.as_str().unwrap_or(default)
    }
}

impl OptionValue for TextList {
    type Read<'a> = Vec<&'a str>;

    fn read(value: &Json, default: Default) -> Vec<&str> {
        match (value.as_array(), default) {
            (Some(list), _) => list.iter().filter_map(Json::as_str).collect(),
            (None, Default::TextList(list)) => list.to_vec(),
            (None, _) => Vec::new(),
        }
    }
}

/// An option that may stay unset.
impl<T: OptionValue> OptionValue for Option<T> {
    type Read<'a> = Option<T::Read<'a>>;

    fn read<'a>(value: &'a Json, default: Default) -> Option<T::Read<'a>> {
        (!value.is_null()).then(|| T::read(value, default))
    }
}

/// A type whose values have names; see [`crate::choices!`].
pub trait Choice: Copy + 'static {
    /// Every name, in the order of the values.
    const NAMES: &'static [&'static str];
    /// The value of the name at this place; the last one beyond.
    fn at(place: usize) -> Self;
}

/// The type of an option that is one of the names of a [`Choice`].
#[derive(Clone, Copy, Debug)]
pub struct OneOf<C>(PhantomData<fn() -> C>);

impl<C: Choice> OptionValue for OneOf<C> {
    type Read<'a> = C;

    fn read(value: &Json, default: Default) -> C {
        let default = match default {
            Default::Text(name) => name,
            _ => "",
        };
        let name = value.as_str().unwrap_or(default);
        let place = C::NAMES.iter().position(|known| *known == name);
        C::at(place.unwrap_or_default())
    }
}

/// An option of a stage: its key in the `with` table, its type, bounds and default.
#[derive(Debug)]
pub struct Opt<T> {
    spec: Spec,
    ty: PhantomData<fn() -> T>,
}

impl<T> Clone for Opt<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Opt<T> {}

impl<T> Opt<T> {
    const fn of(name: &'static str, shape: Shape, default: Default, doc: &'static str) -> Self {
        Self {
            spec: Spec {
                name,
                shape,
                default,
                public: None,
                is_secret: false,
                bounds_run_ms: false,
                doc,
            },
            ty: PhantomData,
        }
    }

    /// The same option, its value shown to clients under this name.
    #[must_use]
    pub const fn public(mut self, name: &'static str) -> Self {
        self.spec.public = Some(name);
        self
    }

    /// The same option, a key or a password: its value is shown to nobody.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.spec.is_secret = true;
        self
    }

    /// The same option, which the file must set.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.spec.default = Default::None;
        self
    }

    /// Its key.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.spec.name
    }

    /// The option whatever its type.
    #[must_use]
    pub const fn spec(self) -> Spec {
        self.spec
    }
}

impl Opt<bool> {
    /// An option that is on or off.
    #[must_use]
    pub const fn flag(name: &'static str, default: bool, doc: &'static str) -> Self {
        Self::of(name, Shape::Bool, Default::Bool(default), doc)
    }
}

const ANY_INTEGER: Shape = Shape::Integer {
    min: i64::MIN,
    max: i64::MAX,
};

const ANY_NUMBER: Shape = Shape::Number {
    min: f64::MIN,
    max: f64::MAX,
};

impl Opt<i64> {
    /// An option that is a whole number.
    #[must_use]
    pub const fn integer(name: &'static str, default: i64, doc: &'static str) -> Self {
        Self::of(name, ANY_INTEGER, Default::Integer(default), doc)
    }

    /// The same option, with inclusive bounds. A default beyond them does not compile.
    #[must_use]
    pub const fn within(mut self, min: i64, max: i64) -> Self {
        self.spec.shape = Shape::Integer { min, max };
        if let Default::Integer(default) = self.spec.default {
            assert!(
                min <= default && default <= max,
                "the default is out of bounds"
            );
        }
        self
    }

    /// The same option, a time in milliseconds within which the stage itself ends a run; see
    /// [`OptionSpec::bounds_run_ms`].
    #[must_use]
    pub const fn bounds_run_ms(mut self) -> Self {
        self.spec.bounds_run_ms = true;
        self
    }
}

impl Opt<usize> {
    /// An option that is a whole number from 0.
    #[must_use]
    pub const fn count(name: &'static str, default: usize, doc: &'static str) -> Self {
        let shape = Shape::Integer {
            min: 0,
            max: i64::MAX,
        };
        Self::of(name, shape, Default::Integer(default as i64), doc)
    }

    /// The same option, with inclusive bounds. A default beyond them does not compile.
    #[must_use]
    pub const fn within(mut self, min: usize, max: usize) -> Self {
        let (min, max) = (min as i64, max as i64);
        self.spec.shape = Shape::Integer { min, max };
        if let Default::Integer(default) = self.spec.default {
            assert!(
                min <= default && default <= max,
                "the default is out of bounds"
            );
        }
        self
    }
}

impl Opt<f64> {
    /// An option that is a number.
    #[must_use]
    pub const fn number(name: &'static str, default: f64, doc: &'static str) -> Self {
        Self::of(name, ANY_NUMBER, Default::Number(default), doc)
    }

    /// The same option, with inclusive bounds. A default beyond them does not compile.
    #[must_use]
    pub const fn within(mut self, min: f64, max: f64) -> Self {
        self.spec.shape = Shape::Number { min, max };
        if let Default::Number(default) = self.spec.default {
            assert!(
                min <= default && default <= max,
                "the default is out of bounds"
            );
        }
        self
    }
}

impl Opt<Text> {
    /// An option that is a string.
    #[must_use]
    pub const fn text(name: &'static str, default: &'static str, doc: &'static str) -> Self {
        Self::of(name, Shape::Text, Default::Text(default), doc)
    }
}

impl Opt<Option<Text>> {
    /// An option that is a string, or stays unset.
    #[must_use]
    pub const fn unset_text(name: &'static str, doc: &'static str) -> Self {
        Self::of(name, Shape::Text, Default::Unset, doc)
    }
}

impl Opt<Option<f64>> {
    /// An option that is a number within inclusive bounds, or stays unset.
    #[must_use]
    pub const fn unset_number(name: &'static str, min: f64, max: f64, doc: &'static str) -> Self {
        Self::of(name, Shape::Number { min, max }, Default::Unset, doc)
    }
}

impl Opt<Option<i64>> {
    /// An option that is a whole number within inclusive bounds, or stays unset.
    #[must_use]
    pub const fn unset_integer(name: &'static str, min: i64, max: i64, doc: &'static str) -> Self {
        Self::of(name, Shape::Integer { min, max }, Default::Unset, doc)
    }
}

impl Opt<Option<TextList>> {
    /// An option that is a list of strings, or stays unset.
    #[must_use]
    pub const fn unset_list(name: &'static str, doc: &'static str) -> Self {
        Self::of(name, Shape::TextList, Default::Unset, doc)
    }
}

impl Opt<TextList> {
    /// An option that is a list of strings.
    #[must_use]
    pub const fn list(
        name: &'static str,
        default: &'static [&'static str],
        doc: &'static str,
    ) -> Self {
        Self::of(name, Shape::TextList, Default::TextList(default), doc)
    }
}

impl<C: Choice> Opt<OneOf<C>> {
    /// An option that is one of the names of a [`Choice`]; `default` is the place of the default's
    /// name.
    #[must_use]
    pub const fn one_of(name: &'static str, default: usize, doc: &'static str) -> Self {
        let shape = Shape::Choice(C::NAMES);
        Self::of(name, shape, Default::Text(C::NAMES[default]), doc)
    }
}

impl Options {
    /// The value of an option.
    #[must_use]
    pub fn get<T: OptionValue>(&self, option: Opt<T>) -> T::Read<'_> {
        T::read(self.value(option.spec.name), option.spec.default)
    }
}

/// An enum that is a [`typed::Choice`](crate::typed::Choice): each variant and its name.
///
/// ```
/// use omnizap_contract::choices;
/// use omnizap_contract::typed::{OneOf, Opt};
///
/// choices! {
///     /// How to fill the rest of a square.
///     pub enum Fill {
///         /// With one colour.
///         Colour = "colour",
///         /// With the picture's edges.
///         Edge = "edge",
///     }
/// }
///
/// const FILL: Opt<OneOf<Fill>> = Opt::one_of("fill", Fill::Edge as usize, "how to fill the rest");
/// ```
#[macro_export]
macro_rules! choices {
    (
        $(#[$doc:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $crate::typed::Choice for $name {
            const NAMES: &'static [&'static str] = &[$($text),+];

            fn at(place: usize) -> Self {
                const ALL: &[$name] = &[$($name::$variant),+];
                ALL[place.min(ALL.len() - 1)]
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    choices! {
        enum Mode {
            Fast = "fast",
            Exact = "exact",
        }
    }

    const MODE: Opt<OneOf<Mode>> = Opt::one_of("mode", Mode::Exact as usize, "how");
    const LEVEL: Opt<i64> = Opt::integer("level", 3, "how much").within(1, 9);
    const SCALE: Opt<f64> = Opt::number("scale", 0.5, "how far").within(0.0, 1.0);
    const NAME: Opt<Option<Text>> = Opt::unset_text("name", "whose");

    #[test]
    fn an_option_has_its_default_where_nothing_is_set_and_its_value_else() {
        let none = Options::default();
        assert_eq!((none.get(MODE), none.get(LEVEL)), (Mode::Exact, 3));
        assert_eq!((none.get(SCALE), none.get(NAME)), (0.5, None));
        let set = json!({"mode": "fast", "level": 4, "scale": 1.0, "name": "x"});
        let set = Options::from_checked(set.as_object().unwrap().clone());
        assert_eq!((set.get(MODE), set.get(LEVEL)), (Mode::Fast, 4));
        assert_eq!((set.get(SCALE), set.get(NAME)), (1.0, Some("x")));
    }

    #[test]
    fn the_schema_is_that_of_the_constant() {
        let spec = OptionSpec::from(MODE.public("mode_shown").spec());
        assert_eq!(spec.default, Some(json!("exact")));
        assert_eq!(spec.ty.expectation(), r#"one of "fast", "exact""#);
        assert_eq!(spec.public.as_deref(), Some("mode_shown"));
        assert_eq!(OptionSpec::from(NAME.spec()).default, Some(Json::Null));
        assert_eq!(OptionSpec::from(LEVEL.required().spec()).default, None);
        let bounds = |level: Opt<i64>| OptionSpec::from(level.spec()).bounds_run_ms;
        assert!(bounds(LEVEL.bounds_run_ms()) && !bounds(LEVEL));
    }
}
