//! The terminal while the table is on it: keys come at once and are not shown, the cursor is
//! hidden, and what was there before comes back at the end.

use std::io::{self, IsTerminal as _, Read as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use crate::cli::output;

/// Another screen, without a cursor; and the one from before.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
/// The upper left corner; the rest of a line, and of the screen, made empty.
const HOME: &str = "\u{1b}[H";
const REST_OF_LINE: &str = "\u{1b}[K";
const REST_OF_SCREEN: &str = "\u{1b}[J";

/// Rows and columns where a terminal does not tell.
const USUAL: (usize, usize) = (24, 80);

/// Keys that end it: q, and the end of input (Ctrl-D).
const ENDING: [u8; 3] = *b"qQ\x04";

/// The terminal, until it is dropped.
pub(super) struct Screen {
    /// How standard input was, where it is a terminal.
    before: Option<Termios>,
}

impl Screen {
    pub(super) fn enter() -> Self {
        let before = quiet();
        out!("{ENTER}");
        output::flush();
        Self { before }
    }

    /// Shows these lines, as many and as much of them as there is room for.
    pub(super) fn show(&self, lines: &[String]) {
        let (rows, columns) = size();
        let mut text = HOME.to_owned();
        for (number, line) in lines.iter().take(rows).enumerate() {
            if number > 0 {
                text.push_str("\r\n");
            }
            text.extend(line.chars().take(columns));
            text.push_str(REST_OF_LINE);
        }
        out!("{text}{REST_OF_SCREEN}");
        output::flush();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
        out!("{LEAVE}");
        output::flush();
    }
}

/// Has keys come at once, and not shown; Ctrl-C stays a signal. How it was before, where standard
/// input is a terminal.
fn quiet() -> Option<Termios> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let before = tcgetattr(io::stdin()).ok()?;
    let mut quiet = before.clone();
    quiet
        .local_modes
        .remove(LocalModes::ICANON | LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Now, &quiet).ok()?;
    Some(before)
}

fn size() -> (usize, usize) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
            (usize::from(size.ws_row), usize::from(size.ws_col))
        }
        _ => USUAL,
    }
}

/// Tells once a key asks for the end; it is closed where standard input is no terminal.
pub(super) fn end_key() -> mpsc::Receiver<()> {
    let (tell, told) = mpsc::channel(1);
    if io::stdin().is_terminal() {
        // It reads until the end of the program, which does not wait for it.
        std::thread::spawn(move || {
            let mut key = [0];
            while let Ok(1) = io::stdin().read(&mut key) {
                if ENDING.contains(&key[0]) && tell.blocking_send(()).is_err() {
                    return;
                }
            }
        });
    }
    told
}
