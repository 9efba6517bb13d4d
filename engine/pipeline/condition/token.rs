//! The words of a condition.

use std::ops::Range;

use super::Mistake;
use crate::pipeline::interpolate::{Environment, closing, interpolate};

/// A word of a condition, and where it stands in its text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// A name, as it is written or between backticks.
    Name {
        name: String,
        is_quoted: bool,
    },
    /// Digits; a minus before them is a word of its own, so the greatest is one more than fits.
    Integer(u64),
    Double(f64),
    /// A text in quotes, its escapes and variables filled in.
    Text(String),
    /// The value of `${NAME}` outside of quotes.
    Environment(String),
    Operator(&'static str),
    End,
}

/// Operators and brackets; longer ones stand before those that begin them.
const OPERATORS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "(", ")", "[", "]", "{", "}", ".", ",", "?", ":", "<", ">",
    "+", "-", "*", "/", "%", "!",
];

/// What people write for an operator, and the operator.
const MEANT: [(&str, &str); 6] = [
    ("===", "=="),
    ("!==", "!="),
    ("<>", "!="),
    ("=", "=="),
    ("&", "&&"),
    ("|", "||"),
];

/// Splits a text into words.
///
/// # Errors
/// The first character that begins none.
pub(super) fn tokens(text: &str, environment: Environment<'_>) -> Result<Vec<Token>, Mistake> {
    let mut lexer = Lexer {
        text,
        at: 0,
        environment,
    };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        let is_end = token.kind == TokenKind::End;
        tokens.push(token);
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    environment: Environment<'t>,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|char| !wanted(char)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn next(&mut self) -> Result<Token, Mistake> {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest().starts_with("//") {
                break;
            }
            self.take_while(|char| char != '\n');
        }
        let start = self.at;
        let kind = self.kind()?;
        Ok(Token {
            kind,
            span: start..self.at,
        })
    }

    fn kind(&mut self) -> Result<TokenKind, Mistake> {
        let start = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(TokenKind::End);
        };
        if first.is_ascii_digit() || is_fraction(rest) {
            return self.number();
        }
        if let Some(prefix) = text_prefix(rest) {
            return self.text(prefix);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let name = self.take_while(|char| char.is_ascii_alphanumeric() || char == '_');
            return Ok(TokenKind::Name {
                name: name.to_owned(),
                is_quoted: false,
            });
        }
        if first == '`' {
            let inner = &rest[1..];
            let end = inner
                .find('`')
                .ok_or_else(|| Mistake::at(start..self.text.len(), "a backtick is not closed"))?;
            self.at += end + 2;
            return Ok(TokenKind::Name {
                name: inner[..end].to_owned(),
                is_quoted: true,
            });
        }
        if rest.starts_with("${") {
            return Ok(TokenKind::Environment(self.variable()?));
        }
        for (wrong, right) in MEANT {
            let longer = OPERATORS
                .iter()
                .any(|known| known.len() > wrong.len() && rest.starts_with(known));
            if rest.starts_with(wrong) && !longer {
                let message = format!("`{wrong}` is no operator");
                let mistake = Mistake::at(start..start + wrong.len(), message);
                return Err(mistake.help(format!("write `{right}`")));
            }
        }
        if let Some(operator) = OPERATORS.iter().find(|known| rest.starts_with(**known)) {
            self.at += operator.len();
            return Ok(TokenKind::Operator(operator));
        }
        let span = start..start + first.len_utf8();
        let mistake = Mistake::at(span, format!("{first:?} begins no word of a condition"));
        Err(
            if "\u{201c}\u{201d}\u{2018}\u{2019}\u{201e}".contains(first) {
                mistake.help("write straight quotes: 'text' or \"text\"")
            } else if first.is_alphabetic() {
                mistake.help("a name of other than ASCII letters stands in backticks: `name`")
            } else if first == '$' {
                mistake.help("write `${NAME}` or `${NAME:-default}`")
            } else {
                mistake
            },
        )
    }

    fn number(&mut self) -> Result<TokenKind, Mistake> {
        let start = self.at;
        let wrong = |end: usize, message: &str| Mistake::at(start..end, message.to_owned());
        if self.rest().starts_with("0x") || self.rest().starts_with("0X") {
            self.at += 2;
            let digits = self.take_while(|char| char.is_ascii_alphanumeric());
            let number = u64::from_str_radix(digits, 16).ok();
            let number = number.filter(|number| i64::try_from(*number).is_ok());
            let number = number.ok_or_else(|| wrong(self.at, "not a whole number of 64 bits"))?;
            return Ok(TokenKind::Integer(number));
        }
        self.take_while(|char| char.is_ascii_digit());
        let mut is_whole = true;
        if is_fraction(self.rest()) {
            is_whole = false;
            self.at += 1;
            self.take_while(|char| char.is_ascii_digit());
        }
        if let Some(exponent) = self.rest().strip_prefix(['e', 'E']) {
            let signed = exponent.strip_prefix(['+', '-']);
            if signed
                .unwrap_or(exponent)
                .starts_with(|char: char| char.is_ascii_digit())
            {
                is_whole = false;
                self.at += 1 + usize::from(signed.is_some());
                self.take_while(|char| char.is_ascii_digit());
            }
        }
        let digits = &self.text[start..self.at];
        if self
            .rest()
            .starts_with(|char: char| char.is_alphanumeric() || char == '_')
        {
            self.take_while(|char| char.is_alphanumeric() || char == '_');
            let word = &self.text[start..self.at];
            let mistake = wrong(self.at, &format!("`{word}` is no number"));
            return Err(match word.strip_suffix(['u', 'U']) {
                Some(number) => mistake.help(format!(
                    "write `{number}`: there is one kind of whole number"
                )),
                None => mistake,
            });
        }
        if is_whole {
            let most = i64::MAX.unsigned_abs() + 1;
            let number = digits.parse().ok().filter(|number| *number <= most);
            return number
                .map(TokenKind::Integer)
                .ok_or_else(|| wrong(self.at, "not a whole number of 64 bits"));
        }
        let number = digits
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite());
        number
            .map(TokenKind::Double)
            .ok_or_else(|| wrong(self.at, "a number beyond all bounds"))
    }

    /// A text in quotes, as CEL writes them: with `'`, `"`, either of them three times, and an `r`
    /// before it for one without escapes. Variables are filled in, and what they hold stays text.
    fn text(&mut self, (is_raw, quote): (bool, &'static str)) -> Result<TokenKind, Mistake> {
        let start = self.at;
        self.at += usize::from(is_raw) + quote.len();
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let Some(char) = rest.chars().next() else {
                let mistake = Mistake::at(start..self.text.len(), "a quote is not closed");
                return Err(mistake.help(format!("end the text with {quote}")));
            };
            if rest.starts_with(quote) {
                self.at += quote.len();
                return Ok(TokenKind::Text(text));
            }
            if rest.starts_with("$${") {
                self.at += 3;
                text.push_str("${");
            } else if rest.starts_with("${") {
                text.push_str(&self.variable()?);
            } else if char == '\\' && !is_raw {
                text.push(self.escape()?);
            } else {
                self.at += char.len_utf8();
                text.push(char);
            }
        }
    }

    fn escape(&mut self) -> Result<char, Mistake> {
        let start = self.at;
        let mut chars = self.rest()[1..].chars();
        let escaped = chars.next();
        let digits = match escaped {
            Some('x' | 'X') => Some((2, 16)),
            Some('u') => Some((4, 16)),
            Some('U') => Some((8, 16)),
            Some('0'..='3') => Some((3, 8)),
            _ => None,
        };
        if let (Some((count, radix)), Some(escaped)) = (digits, escaped) {
            let skip = usize::from(radix == 16);
            let from = start + 1 + skip;
            let digits = self.text.get(from..from + count);
            let digits = digits.filter(|digits| digits.chars().all(|digit| digit.is_digit(radix)));
            let char = digits.and_then(|digits| u32::from_str_radix(digits, radix).ok());
            let char = char.and_then(char::from_u32).ok_or_else(|| {
                let message = format!("`\\{escaped}` wants {count} digits that make a character");
                Mistake::at(start..start + 2, message)
            })?;
            self.at = from + count;
            return Ok(char);
        }
        let char = match escaped {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('v') => '\u{b}',
            Some(same @ ('\\' | '\'' | '"' | '`' | '?')) => same,
            _ => {
                let mistake = Mistake::at(start..start + 1, "unknown escape in a text");
                return Err(mistake
                    .help("write `\\\\` for a backslash, or r'..' for a text without escapes"));
            }
        };
        self.at = start + 2;
        Ok(char)
    }

    /// What `${..}` stands for.
    fn variable(&mut self) -> Result<String, Mistake> {
        let start = self.at;
        let closed = closing(&self.text[start + 2..]);
        let end = closed.map_or(self.text.len(), |closed| start + 2 + closed + 1);
        let filled = interpolate(&self.text[start..end], self.environment);
        let filled = filled
            .map_err(|error| Mistake::at(start..end, error.to_string()).help(error.help()))?;
        self.at = end;
        Ok(filled.into_owned())
    }
}

/// True where a point and a digit stand.
fn is_fraction(rest: &str) -> bool {
    let behind = rest.strip_prefix('.');
    behind.is_some_and(|behind| behind.starts_with(|char: char| char.is_ascii_digit()))
}

/// Whether a text begins here, and how it ends.
fn text_prefix(rest: &str) -> Option<(bool, &'static str)> {
    let unprefixed = rest.strip_prefix(['r', 'R']);
    let quotes = unprefixed.unwrap_or(rest);
    let quote = ["'''", "\"\"\"", "'", "\""];
    let quote = quote.into_iter().find(|quote| quotes.starts_with(quote))?;
    Some((unprefixed.is_some(), quote))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind> {
        let environment = |name: &str| (name == "SECRET").then(|| "it's".to_owned());
        let tokens = tokens(text, &environment).unwrap();
        tokens.into_iter().map(|token| token.kind).collect()
    }

    fn first(text: &str) -> TokenKind {
        kinds(text).remove(0)
    }

    #[test]
    fn words_are_those_of_cel() {
        assert_eq!(first("0x10"), TokenKind::Integer(16));
        assert_eq!(first("9223372036854775808"), TokenKind::Integer(1 << 63));
        assert_eq!(first(".5"), TokenKind::Double(0.5));
        assert_eq!(first("1e3"), TokenKind::Double(1000.0));
        for (text, expected) in [
            (r"'it\'s'", "it's"),
            (r#""a\u00e9\x41\101""#, "a\u{e9}AA"),
            (r"r'a\b'", r"a\b"),
            ("'''a'b'''", "a'b"),
            ("'${SECRET}!'", "it's!"),
            ("'${NONE:-it's}'", "it's"),
            ("'$${SECRET}'", "${SECRET}"),
        ] {
            assert_eq!(first(text), TokenKind::Text(expected.into()), "{text}");
        }
        let name = TokenKind::Name {
            name: "my-field".into(),
            is_quoted: true,
        };
        assert_eq!(first("`my-field`"), name);
        assert_eq!(first("${SECRET}"), TokenKind::Environment("it's".into()));
        let operators = kinds("a<=b // and so on");
        assert_eq!(operators[1], TokenKind::Operator("<="));
        assert_eq!(operators.len(), 4);
    }

    #[test]
    fn what_is_no_word_is_named_with_its_place() {
        for (text, at, hint) in [
            ("theme = 'a'", 6, "`==`"),
            ("a & b", 2, "`&&`"),
            ("a <> b", 2, "`!=`"),
            ("a === b", 2, "`==`"),
            ("x > 1u", 4, "`1`"),
            ("x > 12abc", 4, "12abc"),
            ("'a", 0, "not closed"),
            ("\u{201c}a\u{201d}", 0, "straight"),
            ("a\u{e7}\u{e3}o", 1, "backticks"),
            ("99999999999999999999 > 1", 0, "64 bits"),
            (r"'\q'", 1, "escape"),
            ("${MISSING} > 1", 0, "MISSING"),
        ] {
            let mistake = tokens(text, &|_| None).unwrap_err();
            let shown = format!("{} {:?}", mistake.message, mistake.help);
            assert_eq!(mistake.span.start, at, "{text}: {shown}");
            assert!(shown.contains(hint), "{text}: {shown}");
        }
    }
}
