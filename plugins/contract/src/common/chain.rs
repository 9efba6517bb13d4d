//! An error and its causes, for the operator.

use std::error::Error;

/// The error's text and that of each of its causes, between colons; what a text says already is
/// not said again.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        let cause = io::Error::other("the disk is full");
        assert_eq!(chain(&cause), "the disk is full");
        let outer =
            crate::Error::new(crate::ErrorKind::Unavailable, "cannot write").with_source(cause);
        assert_eq!(chain(&outer), "cannot write: the disk is full");
    }
}
