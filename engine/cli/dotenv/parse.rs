//! The lines of a `.env`: what the regular expressions of python-dotenv 1.2.4 match, by hand.

use std::collections::BTreeMap;

/// A variable of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variable {
    /// Its value; none where it is only named.
    pub(super) value: Option<String>,
    /// The line on which its name stands, from 1.
    pub(super) line: usize,
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// The variables by their names: of two of one name the last.
    pub(super) variables: BTreeMap<String, Variable>,
    /// The lines that begin something that cannot be read.
    pub(super) passed_over: Vec<usize>,
}

/// Reads a file. What the environment holds is asked first where a value names a variable.
pub(super) fn parse(bytes: &[u8], environment: &dyn Fn(&str) -> Option<String>) -> Parsed {
    let (text, broken) = decoded(bytes);
    let mut reader = Reader::new(&text);
    let mut parsed = Parsed::default();
    loop {
        let read = reader.statement();
        let (began, line) = (reader.began, reader.line());
        let is_broken = {
            let next = broken.partition_point(|at| *at < began);
            broken.get(next).is_some_and(|at| *at < reader.at)
        };
        match read {
            Ok(Statement::End) => return parsed,
            // Comments may be in any encoding.
            Ok(Statement::Comment) => {}
            Ok(Statement::Binding(..)) if is_broken => parsed.passed_over.push(line),
            Ok(Statement::Binding(name, value)) => {
                let value = value.map(|value| {
                    let earlier = &parsed.variables;
                    expand(&value, &|name, default| {
                        if let Some(value) = environment(name) {
                            return value;
                        }
                        match earlier.get(name) {
                            Some(known) => known.value.clone().unwrap_or_default(),
                            None => default.unwrap_or_default().to_owned(),
                        }
                    })
                });
                parsed.variables.insert(name, Variable { value, line });
            }
            Err(Unreadable) => {
                parsed.passed_over.push(line);
                reader.take_while(|char| char != '\n');
                reader.eat('\n');
            }
        }
    }
}

/// The text with `\n` at the ends of its lines, as Python opens files, without a mark of the byte
/// order; and where in it something was that is not UTF-8.
fn decoded(bytes: &[u8]) -> (String, Vec<usize>) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let (mut text, mut broken) = (String::with_capacity(bytes.len()), Vec::new());
    for chunk in bytes.utf8_chunks() {
        text.push_str(&chunk.valid().replace("\r\n", "\n").replace('\r', "\n"));
        if !chunk.invalid().is_empty() {
            broken.push(text.len());
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    (text, broken)
}

/// What Python's `\s` matches.
fn is_space(char: char) -> bool {
    char.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&char)
}

fn is_blank(char: char) -> bool {
    char != '\n' && is_space(char)
}

/// Something that is no statement: the rest of its line is passed over.
struct Unreadable;

enum Statement {
    Binding(String, Option<String>),
    Comment,
    End,
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    /// Where the statement began that was read last.
    began: usize,
    /// Lines until `counted`.
    lines: usize,
    counted: usize,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            at: 0,
            began: 0,
            lines: 1,
            counted: 0,
        }
    }

    /// The line on which the last statement began.
    fn line(&mut self) -> usize {
        let between = &self.text[self.counted..self.began];
        self.lines += between.matches('\n').count();
        self.counted = self.began;
        self.lines
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take_while(&mut self, is_taken: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|char| !is_taken(char)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn eat(&mut self, char: char) -> bool {
        let is_there = self.rest().starts_with(char);
        if is_there {
            self.at += char.len_utf8();
        }
        is_there
    }

    fn statement(&mut self) -> Result<Statement, Unreadable> {
        self.take_while(is_space);
        self.began = self.at;
        if self.rest().is_empty() {
            return Ok(Statement::End);
        }
        self.export();
        if self.peek() == Some('#') {
            self.end_of_line()?;
            return Ok(Statement::Comment);
        }
        let name = self.name()?;
        self.take_while(is_blank);
        let value = if self.eat('=') {
            let blanks = self.take_while(is_blank);
            // A comment with a blank before it, and no value: `KEY= # set me`.
            let is_empty = !blanks.is_empty() && self.peek() == Some('#');
            Some(if is_empty {
                String::new()
            } else {
                self.value()?
            })
        } else {
            None
        };
        self.end_of_line()?;
        Ok(Statement::Binding(name, value))
    }

    /// The word of shells before a name.
    fn export(&mut self) {
        if let Some(after) = self.rest().strip_prefix("export")
            && after.starts_with(is_blank)
        {
            self.at += "export".len();
            self.take_while(is_blank);
        }
    }

    fn name(&mut self) -> Result<String, Unreadable> {
        let name = if self.peek() == Some('\'') {
            let inner = &self.rest()[1..];
            let end = inner.find('\'').ok_or(Unreadable)?;
            self.at += end + 2;
            &inner[..end]
        } else {
            self.take_while(|char| char != '=' && char != '#' && !is_space(char))
        };
        if name.is_empty() {
            return Err(Unreadable);
        }
        Ok(name.to_owned())
    }

    fn value(&mut self) -> Result<String, Unreadable> {
        match self.peek() {
            Some(quote @ ('\'' | '"')) => self.quoted(quote),
            _ => {
                let line = self.take_while(|char| char != '\n');
                Ok(without_comment(line).trim_end_matches(is_space).to_owned())
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, Unreadable> {
        let inner = &self.rest()[1..];
        let end = closing(inner, quote).ok_or(Unreadable)?;
        self.at += end + 2;
        Ok(unescaped(&inner[..end], quote))
    }

    /// A comment, or nothing, to the end of the line.
    fn end_of_line(&mut self) -> Result<(), Unreadable> {
        self.take_while(is_blank);
        if self.peek() == Some('#') {
            self.take_while(|char| char != '\n');
        }
        if self.eat('\n') || self.rest().is_empty() {
            Ok(())
        } else {
            Err(Unreadable)
        }
    }
}

/// A line up to the blanks before its first `#` that has some.
fn without_comment(line: &str) -> &str {
    let mut hashes = line.match_indices('#');
    let comment = hashes.find(|(at, _)| line[..*at].ends_with(is_space));
    comment.map_or(line, |(at, _)| line[..at].trim_end_matches(is_space))
}

/// Where quotes are closed, in what follows the one that opens them. A backslash takes what stands
/// behind it along.
fn closing(inner: &str, quote: char) -> Option<usize> {
    let mut bytes = inner.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match char::from(byte) {
            // Of a longer letter, its first byte: none of the others is a quote or a backslash.
            '\\' => {
                bytes.next();
            }
            found if found == quote => return Some(at),
            _ => {}
        }
    }
    None
}

fn unescaped(inner: &str, quote: char) -> String {
    let mut value = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        let escape = chars.as_str().chars().next().filter(|_| char == '\\');
        let meant = match escape {
            Some(same @ ('\\' | '\'')) => Some(same),
            Some(other) if quote == '"' => match other {
                '"' => Some('"'),
                'a' => Some('\u{7}'),
                'b' => Some('\u{8}'),
                'f' => Some('\u{c}'),
                'n' => Some('\n'),
                'r' => Some('\r'),
                't' => Some('\t'),
                'v' => Some('\u{b}'),
                _ => None,
            },
            _ => None,
        };
        if meant.is_some() {
            chars.next();
        }
        value.push(meant.unwrap_or(char));
    }
    value
}

/// Fills `${NAME}` and `${NAME:-default}` in. What is put in is not looked at again.
fn expand(value: &str, value_of: &dyn Fn(&str, Option<&str>) -> String) -> String {
    let Some(last) = value.rfind('}') else {
        return value.to_owned();
    };
    let mut filled = String::with_capacity(value.len());
    // Until where it is filled, and where the name ends that was looked at last.
    let (mut done, mut stop) = (0, 0);
    let mut from = 0;
    while let Some(found) = value[from..=last].find("${") {
        let (dollar, name) = (from + found, from + found + 2);
        if stop < name {
            let end = value[name..=last].find(['}', ':']);
            stop = end.map_or(last, |end| name + end);
        }
        from = dollar + 1;
        if let Some((default, after)) = reference(&value[stop..]) {
            filled.push_str(&value[done..dollar]);
            filled.push_str(&value_of(&value[name..stop], default));
            done = value.len() - after.len();
            from = done;
        }
        if from > last {
            break;
        }
    }
    filled.push_str(&value[done..]);
    filled
}

/// Default and what follows, of what stands behind a name; none where that is text.
fn reference(rest: &str) -> Option<(Option<&str>, &str)> {
    if let Some(after) = rest.strip_prefix('}') {
        return Some((None, after));
    }
    let (default, after) = rest.strip_prefix(":-")?.split_once('}')?;
    Some((Some(default), after))
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    /// As the script that made the goldens was run.
    fn environment(name: &str) -> Option<String> {
        (name == "OUTER").then(|| "from outside".to_owned())
    }

    /// As JSON shows what python-dotenv gives.
    fn values(bytes: &[u8]) -> Json {
        let variables = parse(bytes, &environment).variables.into_iter();
        variables
            .map(|(name, variable)| (name, Json::from(variable.value)))
            .collect()
    }

    #[test]
    fn small_files_are_read_as_python_dotenv_reads_them() {
        let cases = include_str!("../../../tests/fixtures/dotenv/cases.json");
        let cases: Vec<Json> = serde_json::from_str(cases).unwrap();
        assert!(cases.len() >= 31);
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let found = values(text.as_bytes());
            assert_eq!(found, case["values"], "{}: {text}", case["name"]);
        }
    }

    #[test]
    fn a_file_of_all_forms_is_read_as_python_dotenv_reads_it() {
        let file = include_bytes!("../../../tests/fixtures/dotenv/many.env");
        let expected = include_str!("../../../tests/fixtures/dotenv/many.json");
        let expected: Json = serde_json::from_str(expected).unwrap();
        let found = values(file);
        let (found, expected) = (found.as_object().unwrap(), expected.as_object().unwrap());
        assert!(expected.len() >= 878);
        for (name, value) in expected {
            assert_eq!(found.get(name), Some(value), "{name}");
        }
        assert_eq!(found.len(), expected.len());
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_line() {
        let text = "A=1\n\n  =x\nB='open\nC=2\n\"D\"='d' more\nE='e'\n";
        let parsed = parse(text.as_bytes(), &environment);
        // What `B` opens is closed in the line of `D`.
        assert_eq!(parsed.passed_over, [3, 4]);
        let names: Vec<_> = parsed.variables.keys().map(String::as_str).collect();
        assert_eq!(names, ["A", "E"]);
        assert_eq!(parsed.variables["E"].line, 7);
    }

    #[test]
    fn a_comment_is_no_value() {
        for (text, expected) in [
            ("OPENAI_API_KEY= # set me", ""),
            ("OPENAI_API_KEY=\t# set me\n", ""),
            ("export OPENAI_API_KEY =  #set me", ""),
            ("OPENAI_API_KEY=\u{a0}# set me", ""),
            ("OPENAI_API_KEY=# set me", "# set me"),
            ("OPENAI_API_KEY=#", "#"),
            ("OPENAI_API_KEY= '# set me' # now", "# set me"),
            ("OPENAI_API_KEY= a#b # set me", "a#b"),
        ] {
            let parsed = parse(text.as_bytes(), &environment);
            let value = parsed.variables["OPENAI_API_KEY"].value.as_deref();
            assert_eq!(
                (value, &parsed.passed_over[..]),
                (Some(expected), &[][..]),
                "{text}"
            );
        }
    }

    #[test]
    fn a_backslash_takes_the_next_letter_along() {
        for (text, expected) in [
            (r"A='C:\dir\'", None),
            (r"A='C:\dir\\' # c", Some(r"C:\dir\")),
            (r#"A="\\""#, Some(r"\")),
            (r#"A="\\\"x""#, Some("\\\"x")),
            (r#"A="\é" # c"#, Some("\\é")),
            (r"A='\'", None),
            (r"A='a\\\'", None),
            ("A='a\\", None),
        ] {
            let parsed = parse(text.as_bytes(), &environment);
            let value = parsed.variables.get("A").and_then(|a| a.value.as_deref());
            assert_eq!(value, expected, "{text}");
            assert_eq!(parsed.passed_over.is_empty(), expected.is_some(), "{text}");
        }
    }

    #[test]
    fn a_mark_of_the_byte_order_is_no_part_of_a_name() {
        assert_eq!(values(b"\xef\xbb\xbfA=1\r\n")["A"], "1");
    }

    #[test]
    fn bytes_that_are_no_text_cost_their_line() {
        let parsed = parse(
            b"# caf\xe9\nA=1 # caf\xe9\nB=2\nC='\xe9\n'\nD=4",
            &environment,
        );
        let names: Vec<_> = parsed.variables.keys().map(String::as_str).collect();
        assert_eq!(names, ["B", "D"]);
        assert_eq!(parsed.passed_over, [2, 4]);
    }

    #[test]
    fn long_values_are_read_in_time() {
        for value in ["${", "${:", "${a:-", "}${:x", "$"] {
            let value = value.repeat(100_000);
            let parsed = parse(format!("A={value}").as_bytes(), &environment);
            assert_eq!(parsed.variables["A"].value.as_ref(), Some(&value));
        }
        let text = "A=\"x\nB='x\n".repeat(40_000);
        let parsed = parse(text.as_bytes(), &environment);
        assert_eq!(parsed.variables.len(), 0);
    }
}
