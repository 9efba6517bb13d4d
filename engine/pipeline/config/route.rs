//! Where HTTP reaches a pipeline: a method and a path, parts of which may be fields of the
//! request (`DELETE /images/{hash}`).

use std::fmt;
use std::str::FromStr;

use omnizap_contract::PortType;
use toml::Spanned;

use crate::pipeline::diagnostic::Diagnostics;
use crate::pipeline::reader::Reader;
use crate::pipeline::request::{Field, Source};

/// Methods that a pipeline may have.
const METHODS: [&str; 3] = ["GET", "POST", "DELETE"];
/// Longest route, in bytes.
const MAX_ROUTE: usize = 1024;
/// What a path is made of, for messages.
const PATH_CHARS: &str = "a path is made of ASCII letters, digits, `-`, `_` and `.`";

/// Types that a part of a path can be.
const PARAMETER_TYPES: [PortType; 4] = [
    PortType::Text,
    PortType::Number,
    PortType::Integer,
    PortType::Bool,
];

/// What the program answers itself, where no pipeline has just that method and path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnRoute {
    /// Whether it is up, and facts of its stages.
    Health,
    /// That the process answers.
    Live,
    /// Whether every stage can serve.
    Ready,
    /// Each effective graph, with counters.
    Pipelines,
    /// What is counted, as Prometheus reads it.
    Metrics,
    /// What clients may ask for, for programs.
    OpenApi,
    /// The same, for people.
    Docs,
    /// What that page looks like.
    DocsStyle,
    /// What it does.
    DocsScript,
    /// What is live, for administrators.
    AdminPipelines,
    /// Another look at the files.
    AdminReload,
    /// A page for people, where the program has one.
    Page,
}

impl OwnRoute {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Health,
        Self::Live,
        Self::Ready,
        Self::Pipelines,
        Self::Metrics,
        Self::OpenApi,
        Self::Docs,
        Self::DocsStyle,
        Self::DocsScript,
        Self::AdminPipelines,
        Self::AdminReload,
        Self::Page,
    ];

    /// Its method.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::AdminReload => "POST",
            _ => "GET",
        }
    }

    /// Its path.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Live => "/health/live",
            Self::Ready => "/health/ready",
            Self::Pipelines => "/pipelines",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/openapi.json",
            Self::Docs => "/docs",
            Self::DocsStyle => "/docs/docs.css",
            Self::DocsScript => "/docs/docs.js",
            Self::AdminPipelines => "/admin/pipelines",
            Self::AdminReload => "/admin/reload",
            Self::Page => "/",
        }
    }

    /// The one of that method and path.
    #[must_use]
    pub fn of(method: &str, path: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|own| own.method() == method && own.path() == path)
    }

    /// True where it is told to whoever asks, keys or not: to probes, and a page that holds nothing
    /// of the service, since no browser sends a key with what it is led to.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(
            self,
            Self::Live | Self::Ready | Self::Docs | Self::DocsStyle | Self::DocsScript | Self::Page
        )
    }

    /// True where it is for administrators.
    #[must_use]
    pub const fn is_for_admins(self) -> bool {
        matches!(self, Self::AdminPipelines | Self::AdminReload)
    }

    /// What it shows or does, in a few words.
    #[must_use]
    pub const fn shows(self) -> &'static str {
        match self {
            Self::Health => "whether the service is up, and facts of its stages",
            Self::Live => "whether the process answers, for probes",
            Self::Ready => "whether every stage can serve, for probes",
            Self::Pipelines => "each effective graph, with counters",
            Self::Metrics => "what is counted, as Prometheus reads it",
            Self::OpenApi => "what clients may ask for, as OpenAPI",
            Self::Docs => "a page on what clients may ask for",
            Self::DocsStyle => "what that page looks like",
            Self::DocsScript => "what that page does",
            Self::AdminPipelines => "what is live, with options, and how the last reloads went",
            Self::AdminReload => "reads the pipelines anew",
            Self::Page => "a page to look at",
        }
    }
}

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
    /// True where fields that are not said to come from elsewhere come from the query string too:
    /// `GET` and `DELETE` have no body as a rule.
    #[must_use]
    pub fn reads_query(&self) -> bool {
        self.method != "POST"
    }

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
        if text.len() > MAX_ROUTE {
            let len = text.len();
            return Err(format!("{len} bytes: at most {MAX_ROUTE} are allowed"));
        }
        let text = text.trim();
        read(text).map_err(|reason| format!("{text:?}: {reason}"))
    }
}

fn read(text: &str) -> Result<Route, String> {
    let Some((method, path)) = text.split_once(char::is_whitespace) else {
        return Err(if text.starts_with('/') {
            let whole = format!("POST {text}");
            format!("the method is missing; write {whole:?}")
        } else {
            "expected a method, a blank and a path".to_owned()
        });
    };
    let path = path.trim_start();
    if !METHODS.contains(&method) {
        let upper = method.to_ascii_uppercase();
        return Err(if METHODS.contains(&upper.as_str()) {
            let whole = format!("{upper} {path}");
            format!("methods are upper case; write {whole:?}")
        } else if upper == "HEAD" {
            "HEAD is answered wherever GET is; write GET".to_owned()
        } else {
            format!("{method} is not served: GET, POST or DELETE")
        });
    }
    let Some(parts) = path.strip_prefix('/') else {
        return Err("the path does not begin with `/`".to_owned());
    };
    if path != "/" {
        if parts.ends_with('/') {
            let whole = format!("{method} /{}", parts.trim_matches('/'));
            return Err(format!("the path ends in `/`; write {whole:?}"));
        }
        for part in parts.split('/') {
            check_part(part)?;
        }
    }
    Ok(Route {
        method: method.to_owned(),
        path: path.to_owned(),
    })
}

fn check_part(part: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if part.is_empty() {
        return Err("a part of the path is empty: `//`".to_owned());
    }
    if part == "." || part == ".." {
        return Err(format!(
            "clients take the part `{part}` out of a path before they send it; leave it out"
        ));
    }
    let (name, is_parameter) = match parameter(part) {
        Some(name) => (name, true),
        None => (part, false),
    };
    if name.is_empty() {
        return Err("`{}` names no request field; write such as `{hash}`".to_owned());
    }
    let Some(wrong) = name.chars().find(|c| !is_plain(*c)) else {
        return Ok(());
    };
    let shown = wrong.escape_debug();
    Err(match wrong {
        '{' | '}' => "`{` and `}` stand around a whole part, as in `/images/{hash}`".to_owned(),
        _ if is_parameter => format!(
            "`{shown}` in `{part}`: the field of a parameter is named by ASCII letters, digits, \
             `-`, `_` and `.`"
        ),
        '?' => "a query is no part of a route; its fields are those of [request]".to_owned(),
        '#' => "what follows a `#` is not sent to a server".to_owned(),
        _ if !wrong.is_ascii() => format!("`{shown}` is not ASCII: {PATH_CHARS}"),
        _ => format!("`{shown}` cannot be in it: {PATH_CHARS}"),
    })
}

/// Checks that the two routes of a pipeline lead to different things. Gives what they take the
/// place of, which is allowed and may not be meant.
pub(super) fn check_routes(
    reader: &mut Reader<'_>,
    route: Option<&Spanned<Route>>,
    settings_route: Option<&Spanned<Route>>,
) -> Diagnostics {
    if let Some(settings) = settings_route {
        let shown = settings.get_ref();
        if shown.method != "GET" {
            let method = &shown.method;
            let wrong = format!("`settings_route`: settings are shown to GET, not to {method}");
            let wrong = reader.at(settings.span(), wrong);
            reader.report(wrong.help(format!("write \"GET {}\"", shown.path)));
        }
        if let Some(route) = route
            && route.get_ref().clashes_with(shown)
        {
            // The texts of the files that this one extends come behind its own.
            let file = |at: usize| reader.source.file_of(at);
            let (here, other) = (settings.span(), route.span());
            let is_above = other.start < here.start && file(other.start) != file(here.start);
            let at = if is_above { other } else { here };
            let same = format!("`route` and `settings_route` are both {shown}");
            let same = reader.at(at, same);
            reader.report(same.help("one request cannot mean both: give one another path"));
        }
    }
    let mut warnings = Diagnostics::default();
    for (key, route) in [("route", route), ("settings_route", settings_route)] {
        let Some(route) = route else {
            continue;
        };
        let Some(own) = OwnRoute::of(&route.get_ref().method, &route.get_ref().path) else {
            continue;
        };
        let hides = format!(
            "`{key}`: {} takes the place of what the program shows there: {}",
            route.get_ref(),
            own.shows()
        );
        let hides = reader.at(route.span(), hides);
        warnings.push(hides.help("give it another path if that is not meant"));
    }
    warnings
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
    fn what_is_no_route_is_refused_with_the_reason() {
        for (bad, reason) in [
            ("", "expected a method, a blank and a path"),
            ("GET", "expected a method, a blank and a path"),
            ("/x", "the method is missing; write \"POST /x\""),
            ("PUT /x", "PUT is not served: GET, POST or DELETE"),
            ("put /x", "put is not served: GET, POST or DELETE"),
            ("post /x", "methods are upper case; write \"POST /x\""),
            ("HEAD /x", "write GET"),
            ("GET x", "does not begin with `/`"),
            ("GET http://a/b", "does not begin with `/`"),
            (
                "POST /slash/",
                "the path ends in `/`; write \"POST /slash\"",
            ),
            ("POST //", "the path ends in `/`; write \"POST /\""),
            ("GET /a//b", "a part of the path is empty"),
            ("POST /../x", "clients take the part `..` out"),
            ("POST /a/./b", "clients take the part `.` out"),
            ("GET /{}", "`{}` names no request field"),
            ("GET /{a", "stand around a whole part"),
            ("GET /a}", "stand around a whole part"),
            ("GET /a{b}", "stand around a whole part"),
            ("GET /{a b}", "` ` in `{a b}`"),
            ("GET /{ü}", "`ü` in `{ü}`"),
            ("GET /ä", "`ä` is not ASCII"),
            ("GET /a%20b", "`%` cannot be in it"),
            ("GET /a b", "` ` cannot be in it"),
            ("GET /a?b=c", "a query is no part of a route"),
            ("GET /a#b", "not sent to a server"),
        ] {
            let error = bad.parse::<Route>().unwrap_err();
            assert!(error.contains(reason), "{bad}: {error}");
            assert!(error.starts_with(&format!("{bad:?}: ")), "{bad}: {error}");
        }
        let long = format!("GET /{}", "a".repeat(MAX_ROUTE));
        assert!(long.parse::<Route>().unwrap_err().contains("at most 1024"));
        for good in [
            "GET /",
            "DELETE /a/{b}",
            " POST  /a.b/...",
            "GET /.well-known/x",
        ] {
            assert!(good.parse::<Route>().is_ok(), "{good}");
        }
    }

    #[test]
    fn every_route_of_the_program_itself_is_found_by_its_path() {
        for own in OwnRoute::ALL {
            assert_eq!(OwnRoute::of(own.method(), own.path()), Some(own));
            let written = format!("{} {}", own.method(), own.path());
            assert!(route(&written).matches(own.path()).is_some());
            assert!(!(own.is_open() && own.is_for_admins()), "{own:?}");
        }
        assert_eq!(OwnRoute::of("GET", "/nothing"), None);
        assert_eq!(OwnRoute::of("GET", "/admin/reload"), None);
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
