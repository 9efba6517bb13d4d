//! Whether traces of requests are to be sent to a collector.

use std::env;

/// The variables that say where to: for traces, and for all that there is.
pub(super) const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// True where one of them says so, and neither of the specification's switches is off.
pub(super) fn is_wanted() -> bool {
    let said = |name: &str| env::var(name).unwrap_or_default();
    let is_named = ENDPOINTS.iter().any(|name| !said(name).trim().is_empty());
    let is_off = said("OTEL_SDK_DISABLED").eq_ignore_ascii_case("true")
        || said("OTEL_TRACES_EXPORTER").eq_ignore_ascii_case("none");
    is_named && !is_off
}

/// Tells the operator of a program that was built without what sends them.
#[cfg(not(feature = "otlp"))]
pub(super) fn warn_of_absence() {
    if is_wanted() {
        tracing::warn!(
            "no traces are sent: the program was built without them; its feature `otlp` was off"
        );
    }
}
