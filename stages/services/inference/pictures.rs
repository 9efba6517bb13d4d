//! Pictures between their file and the models: the room that their pixels take, and the threads
//! that decode them.
//!
//! Room is asked for with the size that a picture's header tells, before anything is decoded, and
//! is given back when the last who holds the pixels lets them go. Whoever finds none waits, in the
//! order in which they came, and holds no thread meanwhile.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use omnizap_contract::{Bytes, Call, Counters, Error, ErrorKind};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// The bounds of [`Pictures`].
#[derive(Clone, Copy, Debug)]
pub struct PictureLimits {
    /// Most bytes that decoded pictures take, of all requests together, and those that are being
    /// decoded. A picture that would take more alone is decoded while there is no other.
    pub max_decoded_bytes: u64,
    /// Threads that decode pictures.
    pub decoding_threads: usize,
}

impl Default for PictureLimits {
    /// 512 MiB: three and a half pictures of 50 megapixels, or 680 stickers of 512x512. A thread a
    /// core.
    fn default() -> Self {
        Self {
            max_decoded_bytes: 512 << 20,
            decoding_threads: std::thread::available_parallelism().map_or(1, NonZero::get),
        }
    }
}

/// What one permit of the room stands for.
const UNIT: u64 = 1 << 10;

/// When a client whose picture found no room may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The room and the threads for pictures. Cloning shares them.
#[derive(Clone)]
pub struct Pictures(Arc<Inner>);

struct Inner {
    /// Of [`UNIT`] each.
    all_room: u32,
    room: Arc<Semaphore>,
    threads: Arc<Semaphore>,
    waiting_for_room: AtomicUsize,
    waiting_for_thread: AtomicUsize,
    refused: AtomicU64,
}

/// Room for the pixels of a picture, while it is decoded.
#[derive(Debug)]
pub struct Room(OwnedSemaphorePermit);

/// Pixels, and the room that they take.
struct Kept {
    pixels: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.pixels
    }
}

/// Counts one that waits, until it no longer does.
struct Waits<'p>(&'p AtomicUsize);

impl<'p> Waits<'p> {
    fn among(count: &'p AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pictures {
    /// All the room free, and all the threads.
    #[must_use]
    pub fn new(limits: PictureLimits) -> Self {
        let all_room = u32::try_from(limits.max_decoded_bytes / UNIT).unwrap_or(u32::MAX);
        let all_room = all_room.max(1);
        Self(Arc::new(Inner {
            all_room,
            room: Arc::new(Semaphore::new(all_room as usize)),
            threads: Arc::new(Semaphore::new(limits.decoding_threads.max(1))),
            waiting_for_room: AtomicUsize::new(0),
            waiting_for_thread: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// Room for so many bytes; all there is where that is less.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] where there was none for half of the time that is left: the rest is for
    /// the work.
    pub async fn room(&self, bytes: u64, call: &Call) -> Result<Room, Error> {
        let inner = &*self.0;
        let permits = inner.units(bytes);
        if let Ok(room) = inner.room.clone().try_acquire_many_owned(permits) {
            return Ok(Room(room));
        }
        let _waits = Waits::among(&inner.waiting_for_room);
        let room = inner.room.clone().acquire_many_owned(permits);
        match tokio::time::timeout(call.remaining() / 2, room).await {
            Ok(room) => room.map(Room).map_err(gone),
            Err(_) => {
                inner.refused.fetch_add(1, Ordering::Relaxed);
                let message = "the pictures of other requests take all the room that there is for \
                               pixels (max_decoded_bytes); try again in a moment";
                Err(Error::new(ErrorKind::Busy, message)
                    .with_code("no_room_for_pixels")
                    .with_retry_after(RETRY_AFTER))
            }
        }
    }

    /// Does work on one of the threads, and waits for one as long as for room.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] where none was free for half of the time that is left, and what the
    /// work says.
    pub async fn decode<T: Send + 'static>(
        &self,
        call: &Call,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = &*self.0;
        let thread = {
            let _waits = Waits::among(&inner.waiting_for_thread);
            let thread = inner.threads.clone().acquire_owned();
            tokio::time::timeout(call.remaining() / 2, thread).await
        };
        let Ok(thread) = thread else {
            inner.refused.fetch_add(1, Ordering::Relaxed);
            let message = "too many pictures wait to be decoded; try again in a moment";
            return Err(Error::new(ErrorKind::Busy, message).with_retry_after(RETRY_AFTER));
        };
        let thread = thread.map_err(gone)?;
        let call = call.clone();
        let working = tokio::task::spawn_blocking(move || {
            // Held by the work, not by who waits for it: that one may have left before its end.
            let _thread = thread;
            if call.is_over() {
                let message = "nobody waits for this any more";
                return Err(Error::new(ErrorKind::Deadline, message));
            }
            work()
        });
        working.await.map_err(Error::internal)?
    }

    /// How much of the room is taken, of how much, and who waits.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let inner = &*self.0;
        let all = u64::from(inner.all_room) * UNIT;
        let free = inner.room.available_permits() as u64 * UNIT;
        let now = |count: &AtomicUsize| count.load(Ordering::Relaxed) as f64;
        Counters::new()
            .gauge("decoded_bytes", all.saturating_sub(free) as f64)
            .gauge("max_decoded_bytes", all as f64)
            .gauge("waiting_for_room", now(&inner.waiting_for_room))
            .gauge("waiting_for_thread", now(&inner.waiting_for_thread))
            .total("refused", inner.refused.load(Ordering::Relaxed))
    }
}

impl Inner {
    /// The permits for so many bytes: one at least, and no more than there are.
    fn units(&self, bytes: u64) -> u32 {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        units.clamp(1, self.all_room)
    }
}

impl Room {
    /// The pixels, which keep as much of the room as they take, until the last who holds them lets
    /// them go.
    #[must_use]
    pub fn keep(self, pixels: Vec<u8>) -> Bytes {
        let Self(mut room) = self;
        let taken = (pixels.capacity() as u64).div_ceil(UNIT).max(1);
        let taken = usize::try_from(taken).unwrap_or(usize::MAX);
        let left = room.num_permits().saturating_sub(taken);
        drop(room.split(left));
        Bytes::from_owner(Kept {
            pixels,
            _room: room,
        })
    }
}

/// The semaphores are never closed.
fn gone(error: AcquireError) -> Error {
    Error::internal(error)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::testing::call;

    fn pictures(kib: u64) -> Pictures {
        Pictures::new(PictureLimits {
            max_decoded_bytes: kib * UNIT,
            decoding_threads: 1,
        })
    }

    fn number(pictures: &Pictures, name: &str) -> f64 {
        let shown = pictures.counters().to_json();
        shown[name].as_f64().unwrap()
    }

    #[tokio::test]
    async fn room_is_held_until_the_last_who_has_the_pixels_lets_them_go() {
        let pictures = pictures(100);
        let room = pictures.room(60 * UNIT, &call()).await.unwrap();
        assert_eq!(number(&pictures, "decoded_bytes"), 60.0 * 1024.0);
        // What was needed for decoding alone is given back.
        let pixels = room.keep(vec![7; 20 * 1024]);
        assert_eq!(number(&pictures, "decoded_bytes"), 20.0 * 1024.0);
        let part = pixels.slice(5..9);
        drop(pixels);
        assert_eq!(number(&pictures, "decoded_bytes"), 20.0 * 1024.0);
        assert_eq!(&part[..], [7; 4]);
        drop(part);
        assert_eq!(number(&pictures, "decoded_bytes"), 0.0);
    }

    #[tokio::test]
    async fn whoever_finds_none_waits_and_is_refused_with_the_limits_name() {
        let pictures = pictures(10);
        let held = pictures.room(8 * UNIT, &call()).await.unwrap();
        let hurried = Call {
            deadline: Instant::now() + Duration::from_millis(80),
            ..call()
        };
        let error = pictures.room(3 * UNIT, &hurried).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Busy, "no_room_for_pixels")
        );
        assert!(error.message().contains("max_decoded_bytes"), "{error}");
        assert!(error.retry_after().is_some());
        assert!(!hurried.is_over(), "it is told before its time is over");
        assert_eq!(number(&pictures, "refused"), 1.0);

        let waiting = tokio::spawn({
            let pictures = pictures.clone();
            async move { pictures.room(3 * UNIT, &call()).await }
        });
        while number(&pictures, "waiting_for_room") < 1.0 {
            tokio::task::yield_now().await;
        }
        drop(held);
        let room = waiting.await.unwrap().unwrap();
        assert_eq!(number(&pictures, "waiting_for_room"), 0.0);
        drop(room);
        assert_eq!(number(&pictures, "decoded_bytes"), 0.0);
    }

    #[tokio::test]
    async fn one_that_is_larger_than_all_the_room_has_it_alone() {
        let pictures = pictures(10);
        let room = pictures.room(u64::MAX, &call()).await.unwrap();
        assert_eq!(number(&pictures, "decoded_bytes"), 10.0 * 1024.0);
        let pixels = room.keep(vec![0; 20 * 1024]);
        assert_eq!(number(&pictures, "decoded_bytes"), 10.0 * 1024.0);
        drop(pixels);
        assert_eq!(number(&pictures, "decoded_bytes"), 0.0);
        // A budget of next to nothing is still one.
        assert!(self::pictures(0).room(1, &call()).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thread_works_on_when_nobody_waits_and_only_then_is_free() {
        let pictures = pictures(10);
        let (go, told) = std::sync::mpsc::channel::<()>();
        let left = tokio::spawn({
            let pictures = pictures.clone();
            async move {
                let wait = move || {
                    let _ = told.recv();
                    Ok(())
                };
                pictures.decode(&call(), wait).await
            }
        });
        while pictures.0.threads.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        left.abort();
        let hurried = Call {
            deadline: Instant::now() + Duration::from_millis(80),
            ..call()
        };
        let busy = pictures.decode(&hurried, || Ok(())).await.unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::Busy);
        drop(go);
        assert_eq!(pictures.decode(&call(), || Ok(3)).await.unwrap(), 3);
    }
}
