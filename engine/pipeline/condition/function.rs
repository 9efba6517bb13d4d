//! The functions and loops of conditions: their names, for people and for the parser.

/// A function, as the documentation shows it.
#[derive(Clone, Copy, Debug)]
pub struct FunctionDoc {
    /// How it is written.
    pub usage: &'static str,
    /// What it gives.
    pub doc: &'static str,
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident: $($variant:ident = $text:literal, $usage:literal, $says:literal;)+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $name {
            $($variant,)+
        }

        impl $name {
            const ALL: &'static [(&'static str, Self, FunctionDoc)] = &[
                $(($text, Self::$variant, FunctionDoc { usage: $usage, doc: $says }),)+
            ];

            pub(super) fn named(name: &str) -> Option<Self> {
                let known = Self::ALL.iter().find(|(known, ..)| *known == name);
                known.map(|(_, this, _)| *this)
            }

            pub(super) fn names() -> impl Iterator<Item = &'static str> {
                Self::ALL.iter().map(|(name, ..)| *name)
            }

            pub(super) fn name(self) -> &'static str {
                let known = Self::ALL.iter().find(|(_, this, _)| *this == self);
                known.map_or("", |(name, ..)| *name)
            }

            pub(super) fn usage(self) -> &'static str {
                let known = Self::ALL.iter().find(|(_, this, _)| *this == self);
                known.map_or("", |(.., doc)| doc.usage)
            }

            pub(super) fn docs() -> impl Iterator<Item = FunctionDoc> {
                Self::ALL.iter().map(|(.., doc)| *doc)
            }
        }
    };
}

named! {
    /// A function.
    Function:
    Size = "size", "size(x)", "characters of a text, items of a list, members of an object";
    Contains = "contains", "text.contains(part)", "whether a text holds another";
    StartsWith = "startsWith", "text.startsWith(part)", "whether a text begins so";
    EndsWith = "endsWith", "text.endsWith(part)", "whether a text ends so";
    Matches = "matches", "text.matches('^a+')", "whether a regular expression finds something in a text";
    LowerAscii = "lowerAscii", "text.lowerAscii()", "the text with A to Z as a to z";
    UpperAscii = "upperAscii", "text.upperAscii()", "the text with a to z as A to Z";
    Int = "int", "int(x)", "a number as a whole one, its fraction cut off, or a text of digits";
    Double = "double", "double(x)", "a whole number or a text as a number";
    Text = "string", "string(x)", "a number or a bool as a text";
    OrValue = "orValue", "x.orValue(y)", "x, or y where x is null or has no value";
}

named! {
    /// A loop over the items of a list or the names of an object: CEL calls them macros.
    Loop:
    All = "all", "list.all(x, ..)", "whether the condition holds for every item";
    Exists = "exists", "list.exists(x, ..)", "whether the condition holds for an item";
    ExistsOne = "exists_one", "list.exists_one(x, ..)", "whether it holds for exactly one item";
    Filter = "filter", "list.filter(x, ..)", "the items for which the condition holds";
    Map = "map", "list.map(x, ..)", "what the expression gives for each item";
}
