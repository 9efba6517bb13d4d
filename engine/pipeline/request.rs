//! The request of a pipeline: its fields, their types and bounds. A field is the
//! source of a value that stages bind to by its name.

use omnizap_contract::{PortType, Value};
use toml::Spanned;

mod fit;
mod limits;
mod list;
mod names;
mod place;
mod read;
mod upload;
mod value;

pub use self::limits::{RequestLimits, UnknownFields};
pub use self::upload::Upload;

pub(super) use self::limits::{
    LARGEST_BODY, LARGEST_COUNT, LIMIT_KEYS, check_one_of, read_limits, read_one_of,
};
pub(super) use self::read::read_request;
pub(crate) use self::value::quoted;

/// Longest text of a field whose file sets no `max_chars`.
pub const DEFAULT_MAX_CHARS: usize = 4096;
/// Most items of a list whose file sets no `max_items`.
pub const DEFAULT_MAX_ITEMS: usize = 4096;
/// Longest item of a list whose file sets no `item_max_chars`.
pub const DEFAULT_ITEM_MAX_CHARS: usize = 1024;

/// Where a field's value is in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// In the multipart form or the JSON body; where the route's method is `GET` or `DELETE`, in
    /// the query string or in a body, and not in both.
    #[default]
    Body,
    /// In the query string, whatever the method: `from = "query"`.
    Query,
    /// In the path, where the route has its name in braces: `from = "path"`.
    Path,
}

impl Source {
    const NAMES: [(&str, Self); 3] = [
        ("body", Self::Body),
        ("query", Self::Query),
        ("path", Self::Path),
    ];

    /// The name that pipeline files use.
    #[must_use]
    pub fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, source)| *source == self);
        named.map_or("", |(name, _)| name)
    }
}

/// One field of the request: of the multipart form, of the JSON body, of the query string, or of
/// the path.
///
/// # How it is sent
///
/// In a form and in a query string a value is text, and `+` in a query string is a blank. A list
/// is a JSON list or items between commas, and may also be sent as several fields of its name,
/// which make one list; any other field that is given twice is refused. A member of a JSON body
/// stands in it once, whatever its type. Nothing but blanks is the same as leaving the field out.
///
/// A file is a part of a form with a file in it, or a member of a JSON body: base64, or a `data:`
/// URL of base64 (`data:image/png;base64,iVBORw0...`). It cannot come in a query string.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name in the request, and the name of the port.
    pub name: Spanned<String>,
    /// Its type.
    pub ty: PortType,
    /// Where its value is.
    pub source: Source,
    /// True where a request without it is refused.
    pub required: bool,
    /// Its value when the request leaves it out; within the bounds that a sent one has. A field
    /// that is required has none.
    pub default: Option<Value>,
    /// True for a text that is trimmed, and refused with a control character in it.
    pub one_line: bool,
    /// Longest text, in Unicode scalar values.
    pub max_chars: usize,
    /// Most items of a list, over all the fields of its name.
    pub max_items: usize,
    /// Longest item of a list, in Unicode scalar values.
    pub item_max_chars: usize,
    /// Smallest number, inclusive.
    pub min: Option<f64>,
    /// Largest number, inclusive.
    pub max: Option<f64>,
    /// Largest file, in bytes: 413 beyond. The whole body has a limit of its own.
    pub max_bytes: Option<usize>,
    /// Media types that an uploaded file may declare (`image/*` or `image/png`), in lower case;
    /// empty allows all. It is what the upload says of itself that is looked at, never the
    /// content: what says nothing is let through, such as base64 in a JSON body that is no
    /// `data:` URL.
    pub accept: Vec<String>,
    /// The text port, and the field of the response, that get the uploaded
    /// file's own name.
    pub filename: Option<Spanned<String>>,
    /// The same for the media type that the upload declared.
    pub content_type: Option<Spanned<String>>,
    /// Of a text: the bytes port that gets the file of one that is a `data:` URL. The field itself
    /// has no value then.
    pub data_url: Option<Spanned<String>>,
    /// How often it may come, where the stages run once for each of its values.
    pub each: Option<usize>,
    /// True where it is also every file of a form that is no other field.
    pub any_name: bool,
    /// True where nothing need take it.
    pub ignored: bool,
}

impl Field {
    /// The ports that the field is the source of: itself and its extra ports.
    pub fn ports(&self) -> impl Iterator<Item = (&Spanned<String>, PortType)> {
        let extra = [
            (&self.filename, PortType::Text),
            (&self.content_type, PortType::Text),
            (&self.data_url, PortType::Bytes),
        ];
        let extra = extra.into_iter();
        let extra = extra.filter_map(|(name, ty)| Some((name.as_ref()?, ty)));
        std::iter::once((&self.name, self.ty)).chain(extra)
    }

    /// True where its own port has a value in every request that goes on.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        // A file takes the place of a text.
        (self.required || self.default.is_some()) && self.data_url.is_none()
    }
}

/// True for a character that a token of an HTTP header may hold (RFC 9110, section 5.6.2).
pub(crate) fn is_token_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char)
}
