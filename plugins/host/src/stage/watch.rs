//! The thread that sees which calls have not returned in time, of all stages of plugins.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::crew::Crew;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(100);

struct Watched {
    crews: Vec<Weak<Crew>>,
    has_thread: bool,
}

static WATCHED: Mutex<Watched> = Mutex::new(Watched {
    crews: Vec::new(),
    has_thread: false,
});

/// Watches the calls of a stage for as long as there is one.
pub(super) fn watch(crew: &Arc<Crew>) -> io::Result<()> {
    let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    watched.crews.push(Arc::downgrade(crew));
    if !watched.has_thread {
        let thread = thread::Builder::new().name("omnizap-watch".into());
        thread.spawn(look_on)?;
        watched.has_thread = true;
    }
    Ok(())
}

fn look_on() {
    loop {
        thread::sleep(LOOK);
        let crews: Vec<Arc<Crew>> = {
            let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
            watched.crews.retain(|crew| crew.strong_count() > 0);
            if watched.crews.is_empty() {
                watched.has_thread = false;
                return;
            }
            watched.crews.iter().filter_map(Weak::upgrade).collect()
        };
        let now = Instant::now();
        crews.iter().for_each(|crew| crew.sweep(now));
    }
}
