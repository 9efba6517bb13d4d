//! Whether a client asks where the time of its request went, and whose request it is a part of.

use tracing::Span;
use warp::http::HeaderMap;

use super::head::Head;
use super::query::query_fields;
use crate::metrics::TraceContext;
use crate::pipeline::config::PipelineFile;

/// The header that asks, and the parameter of the query and the field of the answer.
const TRACE_HEADER: &str = "x-trace";
pub(super) const TRACE: &str = "trace";

/// What asks, with any of these.
const YES: [&str; 3] = ["1", "true", "yes"];

/// The header of a caller's trace.
const TRACEPARENT: &str = "traceparent";

/// Whether the trace is asked for, and the query without the parameter that does so, where it does.
pub(super) fn asks(file: &PipelineFile, head: &Head<'_>) -> (bool, Option<String>) {
    let by_header = head.headers.get(TRACE_HEADER);
    let by_header = by_header.and_then(|value| value.to_str().ok());
    let by_header = by_header.is_some_and(|value| YES.contains(&value.trim()));
    let asking = |name: &str, value: &str| name == TRACE && YES.contains(&value);
    let by_query = query_fields(head.query).any(|(name, value)| asking(&name, value));
    // A field of that name is the pipeline's own.
    let mut fields = file.request.iter();
    if !by_query || fields.any(|field| field.name.get_ref() == TRACE) {
        return (by_header, None);
    }
    let rest = query_pairs(head.query).filter(|(name, value, _)| !asking(name, value));
    let rest: Vec<&str> = rest.map(|(_, _, pair)| pair).collect();
    (true, Some(rest.join("&")))
}

/// The pairs of a query, as their names and values and as they are.
fn query_pairs(query: &str) -> impl Iterator<Item = (String, &str, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .zip(query_fields(query))
        .map(|(pair, (name, value))| (name, value, pair))
}

/// What goes before the lines of the log that are about a request: the trace that it is a part of,
/// where its caller says so. Without one it costs nothing.
pub(super) fn span(headers: &HeaderMap) -> Span {
    caller(headers).map_or_else(Span::none, |context| {
        // As loud as the loudest line, or a filter that shows only that would hold it back.
        tracing::error_span!(
            "request",
            trace_id = context.trace_id,
            parent_id = context.parent_id
        )
    })
}

/// The trace that a request is a part of, where its caller says so, once.
pub(super) fn caller(headers: &HeaderMap) -> Option<TraceContext<'_>> {
    let mut said = headers.get_all(TRACEPARENT).iter();
    let (Some(header), None) = (said.next(), said.next()) else {
        return None;
    };
    header.to_str().ok().and_then(TraceContext::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_a_query_keep_their_text() {
        let pairs: Vec<_> = query_pairs("a=1&&tr%61ce=1&b").collect();
        assert_eq!(
            pairs,
            [
                ("a".to_owned(), "1", "a=1"),
                ("trace".to_owned(), "1", "tr%61ce=1"),
                ("b".to_owned(), "", "b")
            ]
        );
    }

    #[test]
    fn only_one_header_that_is_one_makes_a_span() {
        let mut headers = HeaderMap::new();
        assert!(span(&headers).is_none());
        headers.append("traceparent", "00-1-2-3".parse().unwrap());
        assert!(span(&headers).is_none());
    }
}
