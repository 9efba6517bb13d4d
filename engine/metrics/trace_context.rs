//! Whose request a request is a part of: the header `traceparent` of W3C Trace Context.

/// The trace of a caller, and the span there that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext<'h> {
    /// 32 hexadecimal digits.
    pub trace_id: &'h str,
    /// 16 hexadecimal digits.
    pub parent_id: &'h str,
    /// Whether the caller keeps the trace.
    pub is_sampled: bool,
}

impl<'h> TraceContext<'h> {
    /// Reads the header. [`None`] where it is not one: a trace begins anew then, as the
    /// recommendation has it.
    #[must_use]
    pub fn parse(header: &'h str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace_id) = (parts.next()?, parts.next()?);
        let (parent_id, flags) = (parts.next()?, parts.next()?);
        let is_hex = |text: &str, len: usize| {
            let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            text.len() == len && text.bytes().all(digit)
        };
        let is_set = |text: &str| text.bytes().any(|b| b != b'0');
        // A later version may say more behind these.
        let is_version = is_hex(version, 2) && version != "ff";
        let is_whole = version != "00" || parts.next().is_none();
        let is_known = is_version && is_whole && is_hex(flags, 2);
        let is_one = is_hex(trace_id, 32) && is_set(trace_id);
        let has_parent = is_hex(parent_id, 16) && is_set(parent_id);
        // Its last bit.
        let is_sampled = matches!(
            flags.as_bytes().last()?,
            b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f'
        );
        (is_known && is_one && has_parent).then_some(Self {
            trace_id,
            parent_id,
            is_sampled,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn a_caller_is_known_by_its_trace_and_span() {
        let known = |is_sampled| TraceContext {
            trace_id: TRACE,
            parent_id: PARENT,
            is_sampled,
        };
        for (header, is_sampled) in [
            (format!("00-{TRACE}-{PARENT}-01"), true),
            (format!(" 00-{TRACE}-{PARENT}-00 "), false),
            (format!("00-{TRACE}-{PARENT}-fb"), true),
            (format!("00-{TRACE}-{PARENT}-1a"), false),
            (format!("cc-{TRACE}-{PARENT}-01-what-comes-later"), true),
        ] {
            let parsed = TraceContext::parse(&header);
            assert_eq!(parsed, Some(known(is_sampled)), "{header}");
        }
    }

    #[test]
    fn what_is_none_is_passed_over() {
        for header in [
            String::new(),
            "00".into(),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-1"),
            format!("0-{TRACE}-{PARENT}-01"),
            format!("00-{}-{PARENT}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{}-{PARENT}-01", &TRACE[1..]),
            format!("00-{}é-{PARENT}-01", &TRACE[2..]),
        ] {
            assert_eq!(TraceContext::parse(&header), None, "{header}");
        }
    }
}
