//! Lines that wait for the thread that writes them, within bounds.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::format::Format;

/// Most lines that wait; what comes then is lost.
const MAX_LINES: usize = 4096;

/// Most bytes that wait, but for the end of the last line.
const MAX_BYTES: usize = 4 << 20;

/// How often lost lines are told while others keep coming.
const NOTICE_EVERY: Duration = Duration::from_secs(10);

/// How long a place that takes nothing now is left alone: one that never blocks, such as a pipe
/// that another process has set so.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// How long lines may be gathered where they come one behind the other: to wake the thread for each
/// costs more than to write it. One that comes alone is written at once.
const GATHERED: Duration = Duration::from_millis(2);

/// Lines on their way. Cloned by its [`Arc`].
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the thread that writes.
    more: Condvar,
    /// Wakes whoever waits for it.
    idle: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines that were lost since that was told.
    lost: u64,
    /// True where it is to be told.
    owes_notice: bool,
    last_notice: Option<Instant>,
    is_writing: bool,
    /// True while the thread is to be woken.
    is_asleep: bool,
}

/// What is to be written.
enum Next {
    Line(Vec<u8>),
    /// That so many lines were lost.
    Notice(u64),
}

impl Queue {
    /// An empty queue, and a thread that writes what comes into it until the process ends.
    ///
    /// # Errors
    /// The system has no thread.
    pub(super) fn start(out: Box<dyn Write + Send>, format: Format) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        let writer = queue.clone();
        let sink = Sink {
            out,
            is_torn: false,
        };
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || writer.write_to(sink, format))?;
        Ok(queue)
    }

    /// Adds a line, with its new line. Waits for nothing: without room it is lost, and counted.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut state = self.state();
        if state.lines.len() >= MAX_LINES || state.bytes >= MAX_BYTES {
            state.lost += 1;
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        let is_asleep = std::mem::take(&mut state.is_asleep);
        drop(state);
        if is_asleep {
            self.more.notify_one();
        }
    }

    /// Waits until all is written or lost, but no longer than that; whether it is.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let is_busy = |state: &mut State| state.is_writing || !state.lines.is_empty();
        let waited = self.idle.wait_timeout_while(self.state(), limit, is_busy);
        let (_state, result) = waited.unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut sink: Sink, format: Format) {
        loop {
            match self.next() {
                Next::Line(line) => {
                    let is_lost = sink.write(&line).is_err();
                    let mut state = self.state();
                    state.lost += u64::from(is_lost);
                    state.owes_notice = state.lost > 0;
                }
                Next::Notice(lost) => {
                    let lines = if lost == 1 { "line" } else { "lines" };
                    let were = if lost == 1 { "was" } else { "were" };
                    let notice = format!("{lost} {lines} of the log {were} lost");
                    let notice = format.line("WARN", &notice, None);
                    if sink.write(notice.as_bytes()).is_ok() {
                        self.state().lost -= lost;
                    }
                }
            }
        }
    }

    /// Waits for what is to be written next. Lost lines are told as soon as something could be
    /// written again, and not before every line of a flood.
    fn next(&self) -> Next {
        let mut state = self.state();
        state.is_writing = false;
        loop {
            let is_due = state.lines.is_empty()
                || state
                    .last_notice
                    .is_none_or(|last| last.elapsed() >= NOTICE_EVERY);
            if state.owes_notice && is_due {
                state.owes_notice = false;
                state.last_notice = Some(Instant::now());
                state.is_writing = true;
                return Next::Notice(state.lost);
            }
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                state.is_writing = true;
                return Next::Line(line);
            }
            self.idle.notify_all();
            let asleep_since = Instant::now();
            state.is_asleep = true;
            while state.is_asleep {
                let woken = self.more.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
            }
            let left = GATHERED.saturating_sub(asleep_since.elapsed());
            if !left.is_zero() {
                // Whoever waits until all is written waits for these too.
                drop(state);
                std::thread::sleep(left);
                state = self.state();
            }
        }
    }
}

/// Where lines are written to.
struct Sink {
    out: Box<dyn Write + Send>,
    /// True where a part of a line was written: the next one must not go on in it.
    is_torn: bool,
}

impl Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.write_whole(b"\n")?;
            self.is_torn = false;
        }
        self.write_whole(line)
    }

    fn write_whole(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(FULL_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn line(number: usize) -> Vec<u8> {
        format!("line {number} {}\n", "x".repeat(100)).into_bytes()
    }

    #[test]
    fn what_is_pushed_is_written_in_its_order() {
        let (read, write) = io::pipe().unwrap();
        let queue = Queue::start(Box::new(write), Format::Text).unwrap();
        for number in 0..100 {
            queue.push(line(number));
        }
        assert!(queue.flush(PATIENCE));
        let lines = BufReader::new(read).lines().take(100);
        for (number, found) in lines.enumerate() {
            assert!(found.unwrap().starts_with(&format!("line {number} ")));
        }
    }

    #[test]
    fn what_nobody_reads_is_bounded_and_told_once_somebody_does() {
        let (mut read, write) = io::pipe().unwrap();
        let queue = Queue::start(Box::new(write), Format::Text).unwrap();
        let all = 3 * MAX_LINES;
        for number in 0..all {
            queue.push(line(number));
        }
        assert!(!queue.flush(Duration::from_millis(10)), "the pipe is full");
        assert!(queue.state().lines.len() <= MAX_LINES);
        let (found, text) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut text, mut chunk) = (String::new(), [0; 4096]);
            while let Ok(count @ 1..) = read.read(&mut chunk) {
                text.push_str(&String::from_utf8_lossy(&chunk[..count]));
                let _ = found.send(text.clone());
            }
        });
        assert!(queue.flush(PATIENCE));
        let (mut written, mut lost) = (0, 0);
        while let Ok(text) = text.recv_timeout(PATIENCE) {
            written = text.matches("line ").count();
            let notices = text.lines().filter(|line| line.contains(" WARN "));
            let counts = notices.filter_map(|line| {
                let (before, _) = line.split_once(" lines of the log were lost")?;
                before.rsplit(' ').next()?.parse::<usize>().ok()
            });
            lost = counts.sum();
            if written + lost == all {
                break;
            }
        }
        assert_eq!(written + lost, all);
        // Where it was not written before all had come, no more than may wait.
        assert!(lost > 0 && written >= MAX_LINES);
    }

    #[test]
    fn many_bytes_are_bounded_too() {
        let (_read, write) = io::pipe().unwrap();
        let queue = Queue::start(Box::new(write), Format::Text).unwrap();
        for _ in 0..100 {
            queue.push(vec![b'x'; 1 << 20]);
        }
        let state = queue.state();
        assert!(state.bytes < MAX_BYTES + (1 << 20), "{}", state.bytes);
        assert!(state.lost > 90, "{}", state.lost);
    }

    #[test]
    fn nobody_there_is_no_fault() {
        let (read, write) = io::pipe().unwrap();
        drop(read);
        let queue = Queue::start(Box::new(write), Format::Text).unwrap();
        for number in 0..10_000 {
            queue.push(line(number));
        }
        assert!(queue.flush(PATIENCE));
        queue.push(line(0));
        assert!(queue.flush(PATIENCE), "the thread is still there");
        assert_eq!(queue.state().lost, 10_001);
    }

    /// A disk that is full in the middle of a line, and has room again later.
    struct Disk {
        room: usize,
        refusals: usize,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                if self.refusals == 0 {
                    self.room = usize::MAX;
                } else {
                    self.refusals -= 1;
                    return Err(ErrorKind::StorageFull.into());
                }
            }
            let count = bytes.len().min(self.room);
            self.room -= count;
            self.written.send(bytes[..count].to_vec()).unwrap();
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_cut_ends_where_it_was_cut() {
        let (written, texts) = mpsc::channel();
        let disk = Disk {
            room: 9,
            refusals: 2,
            written,
        };
        let queue = Queue::start(Box::new(disk), Format::Text).unwrap();
        for text in ["first\n", "second\n", "third\n"] {
            queue.push(text.into());
            assert!(queue.flush(PATIENCE));
        }
        let text: Vec<u8> = texts.try_iter().flatten().collect();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<_> = text.lines().collect();
        // The notice of the second found no room; it comes after the third.
        assert_eq!(lines[..3], ["first", "sec", "third"], "{text}");
        assert!(lines[3].ends_with("1 line of the log was lost"), "{text}");
    }
}
