//! Where HTTP reaches a pipeline: a method and a path, parts of which may be fields of the
//! request (`DELETE /images/{hash}`).

use std::fmt;
use std::str::FromStr;

use omnizap_contract::PortType;
use toml::Spanned;

use crate::pipeline::reader::Reader;
use crate::pipeline::request::{Field, Source};

/// Methods that a pipeline may have.
const METHODS: [&str; 3] = ["GET", "POST", "DELETE"];

/// Types that a part of a path can be.
const PARAMETER_TYPES: [PortType; 4] = [
    PortType::Text,
    PortType::Number,
    PortType::Integer,
    PortType::Bool,
];

/// A method and a path, such as `POST /classify`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// `GET`, `POST` or `DELETE`.
    pub method: String,
    /// An absolute path; a part `{name}` of it stands for any text, which is the value of
    /// that field.
    pub path: String,
}

impl Route {
    /// The names of its parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter_map(parameter)
    }

    /// The parameters with their values, still encoded, where a path is one of this route.
    #[must_use]
    pub fn matches<'p>(&self, path: &'p str) -> Option<Vec<(&str, &'p str)>> {
        let mut values = Vec::new();
        let mut parts = path.split('/');
        for own in self.path.split('/') {
            let part = parts.next()?;
            match parameter(own) {
                Some(name) if !part.is_empty() => values.push((name, part)),
                Some(_) => return None,
                None if own == part => {}
                None => return None,
            }
        }
        parts.next().is_none().then_some(values)
    }

    /// True where a request could be meant for both. One without parameters goes before
    /// one with them, and does not clash with it.
    #[must_use]
    pub fn clashes_with(&self, other: &Self) -> bool {
        if self.method != other.method {
            return false;
        }
        let have_parameters = [self, other].map(|route| route.parameters().next().is_some());
        if have_parameters != [true, true] {
            return self.path == other.path;
        }
        let parts = |route: &Self| route.path.split('/').count();
        let mut pairs = self.path.split('/').zip(other.path.split('/'));
        parts(self) == parts(other)
            && pairs.all(|(a, b)| a == b || parameter(a).is_some() || parameter(b).is_some())
    }
}

fn parameter(part: &str) -> Option<&str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            let methods = METHODS.join(", ");
            format!(
                "expected a route such as \"POST /classify\" or \"GET /images/{{hash}}\" \
                 ({methods}), found {text:?}"
            )
        };
        let (method, path) = text.trim().split_once(' ').ok_or_else(expected)?;
        let path = path.trim();
        let is_plain = |part: &str| {
            let mut chars = part.chars();
            chars.all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let is_part = |part: &str| match parameter(part) {
            Some(name) => !name.is_empty() && is_plain(name),
            None => is_plain(part),
        };
        let is_well_formed = METHODS.contains(&method)
            && path.starts_with('/')
            && !path.contains("//")
            && path.split('/').all(is_part);
        is_well_formed
            .then(|| Self {
                method: method.to_owned(),
                path: path.to_owned(),
            })
            .ok_or_else(expected)
    }
}

/// Checks that the parameters of a pipeline's route are the fields that come from it.
pub(super) fn check_parameters(
    reader: &mut Reader<'_>,
    route: Option<&Spanned<Route>>,
    settings_route: Option<&Spanned<Route>>,
    request: &[Field],
) {
    let from_path = |field: &&Field| field.source == Source::Path;
    let fields: Vec<_> = request.iter().filter(from_path).collect();
    let names = || fields.iter().map(|field| field.name.get_ref().as_str());
    let parameters: Vec<_> = route
        .iter()
        .flat_map(|route| route.get_ref().parameters())
        .collect();
    if let Some(route) = route {
        for (place, name) in parameters.iter().enumerate() {
            if parameters[..place].contains(name) {
                let twice = format!("`route`: `{{{name}}}` is in it twice");
                reader.report(reader.at(route.span(), twice));
            } else if !names().any(|field| field == *name) {
                let missing = format!("`route`: no request field `{name}` is `from = \"path\"`");
                let missing = reader.at(route.span(), missing);
                reader.report(missing.help(format!(
                    "in [request]: {name} = {{ type = \"text\", from = \"path\" }}"
                )));
            }
        }
    }
    if let Some(route) = settings_route
        && let Some(name) = route.get_ref().parameters().next()
    {
        let message = format!("`settings_route`: `{{{name}}}`: it takes no parameters");
        reader.report(reader.at(route.span(), message));
    }
    for field in fields {
        let name = field.name.get_ref();
        let wrong = |message: String| reader.at(field.name.span(), message);
        let mistake = if !parameters.contains(&name.as_str()) {
            let none =
                format!("request field `{name}` is from the path, which has no `{{{name}}}`");
            wrong(none).nearest(name, parameters.iter().copied())
        } else if !PARAMETER_TYPES.contains(&field.ty) {
            let types = PARAMETER_TYPES.map(PortType::name).join(", ");
            let ty = field.ty;
            wrong(format!("request field `{name}`: a path carries no `{ty}`"))
                .help(format!("expected one of: {types}"))
        } else {
            continue;
        };
        reader.report(mistake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> Route {
        text.parse().unwrap()
    }

    #[test]
    fn a_parameter_stands_for_one_part() {
        let one = route("DELETE /images/{name}");
        assert_eq!(
            one.matches("/images/ab%20c"),
            Some(vec![("name", "ab%20c")])
        );
        for other in ["/images", "/images/", "/images/a/b", "/pictures/a", "/", ""] {
            assert_eq!(one.matches(other), None, "{other}");
        }
        let two = route("GET /{a}/x/{b}");
        assert_eq!(two.matches("/1/x/2"), Some(vec![("a", "1"), ("b", "2")]));
        assert_eq!(two.parameters().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(route("GET /").matches("/"), Some(vec![]));
    }

    #[test]
    fn what_is_no_route_is_refused() {
        for bad in [
            "PUT /x",
            "GET x",
            "GET /a//b",
            "GET /{}",
            "GET /{a",
            "GET /a}",
            "GET /a{b}",
            "GET /ä",
            "GET /{a b}",
            "GET",
        ] {
            let error = bad.parse::<Route>().unwrap_err();
            assert!(error.contains("DELETE") && error.contains(bad), "{error}");
        }
    }

    #[test]
    fn routes_that_one_request_could_mean_clash() {
        let clash = |a: &str, b: &str| {
            let both = [(a, b), (b, a)].map(|(a, b)| route(a).clashes_with(&route(b)));
            assert_eq!(both[0], both[1], "{a}, {b}");
            both[0]
        };
        assert!(clash("GET /a/{x}", "GET /a/{y}"));
        assert!(clash("GET /a/{x}", "GET /{y}/b"));
        assert!(clash("GET /a", "GET /a"));
        assert!(!clash("GET /a/{x}", "GET /a/b"), "the plain one goes first");
        assert!(!clash("GET /a/{x}", "POST /a/{x}"));
        assert!(!clash("GET /a/{x}", "GET /b/{x}"));
        assert!(!clash("GET /a/{x}", "GET /a/{x}/c"));
    }
}
