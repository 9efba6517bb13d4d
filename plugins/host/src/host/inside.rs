//! A thread that is inside a plugin: in which function, of which stage, for which request. It is
//! noted before every call across the boundary, so that whoever watches the thread can say where it
//! hangs, and `crash` where the plugin took the process with it.
//!
//! What plugin code may leave changed on a thread that others use after it, its signal mask and the
//! control of its floating point, is put back when the call ends.

mod floating;

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicUsize, Ordering, compiler_fence};

use self::floating::Control;
use super::HostTable;

/// A function of a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Hook {
    /// None: the thread is in the host's own code.
    #[default]
    Nothing,
    Constructor,
    Init,
    GetFactory,
    Create,
    ValidateConfig,
    Activate,
    GetExtension,
    Run,
    RunBatch,
    Deactivate,
    Destroy,
    Release,
    Deinit,
}

impl Hook {
    const ALL: [Self; 14] = [
        Self::Nothing,
        Self::Constructor,
        Self::Init,
        Self::GetFactory,
        Self::Create,
        Self::ValidateConfig,
        Self::Activate,
        Self::GetExtension,
        Self::Run,
        Self::RunBatch,
        Self::Deactivate,
        Self::Destroy,
        Self::Release,
        Self::Deinit,
    ];

    fn of(number: u8) -> Self {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .unwrap_or_default()
    }

    /// As the header calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "the host's own code",
            Self::Constructor => "its constructors",
            Self::Init => "init",
            Self::GetFactory => "get_factory",
            Self::Create => "create",
            Self::ValidateConfig => "validate_config",
            Self::Activate => "activate",
            Self::GetExtension => "get_extension",
            Self::Run => "run",
            Self::RunBatch => "run_batch",
            Self::Deactivate => "deactivate",
            Self::Destroy => "destroy",
            Self::Release => "release",
            Self::Deinit => "deinit",
        }
    }
}

/// What others may know of a thread that runs plugin code.
#[derive(Debug, Default)]
pub(crate) struct Post {
    hook: AtomicU8,
    is_lost: AtomicBool,
}

impl Post {
    /// Where the thread is now.
    pub(crate) fn hook(&self) -> Hook {
        Hook::of(self.hook.load(Ordering::Relaxed))
    }

    /// True where the thread was given up: what it brings is not wanted any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    pub(crate) fn set_lost(&self, is_lost: bool) {
        self.is_lost.store(is_lost, Ordering::Relaxed);
    }
}

/// A text that outlives the note of it.
struct Note {
    start: AtomicPtr<u8>,
    len: AtomicUsize,
}

type Text = (*mut u8, usize);

impl Note {
    const fn new() -> Self {
        Self {
            start: AtomicPtr::new(std::ptr::null_mut()),
            len: AtomicUsize::new(0),
        }
    }

    fn swap(&self, (start, len): Text) -> Text {
        // Never a long length beside a short text, whenever a signal comes.
        let old_len = self.len.swap(0, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        let old = self.start.swap(start, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.len.store(len, Ordering::Relaxed);
        (old, old_len)
    }

    /// # Safety
    /// What was noted must not have ended.
    unsafe fn text<'t>(&self) -> &'t [u8] {
        let (start, len) = (
            self.start.load(Ordering::Relaxed),
            self.len.load(Ordering::Relaxed),
        );
        if start.is_null() || len == 0 {
            return &[];
        }
        // SAFETY: promised by the caller; a note is of a whole text.
        unsafe { std::slice::from_raw_parts(start, len) }
    }
}

/// What is noted of a thread. Nothing here needs to be set up or dropped, so that a handler of
/// signals may read it.
struct Crumb {
    plugin: Note,
    stage: Note,
    request: Note,
    hook: AtomicU8,
}

thread_local! {
    static CRUMB: Crumb = const {
        Crumb {
            plugin: Note::new(),
            stage: Note::new(),
            request: Note::new(),
            hook: AtomicU8::new(0),
        }
    };
    /// The thread's signal mask as the host wants it, once it is known.
    static MASK: Cell<Option<libc::sigset_t>> = const { Cell::new(None) };
    static LEFT: Cell<Left> = const { Cell::new(Left::NOTHING) };
    static POST: Cell<Option<Arc<Post>>> = const { Cell::new(None) };
}

/// What the thread is known by from here on, until it ends.
pub(crate) fn stand_at(post: &Arc<Post>) {
    POST.set(Some(post.clone()));
}

fn note_hook(hook: Hook) {
    // Values of a thread that ends may still be released then.
    let _ = POST.try_with(|cell| {
        let post = cell.take();
        if let Some(post) = &post {
            post.hook.store(hook as u8, Ordering::Relaxed);
        }
        cell.set(post);
    });
}

/// What plugin code left changed on this thread. It was put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// The mask of signals.
    pub mask: bool,
    /// How floating point rounds, flushes or traps.
    pub floating_point: bool,
}

impl Left {
    const NOTHING: Self = Self {
        mask: false,
        floating_point: false,
    };
}

/// What plugin code left changed on this thread since this was last asked.
pub(crate) fn take_left() -> Left {
    LEFT.replace(Left::NOTHING)
}

/// What a thread is inside of, for a handler of signals.
pub(crate) struct Inner<'t> {
    pub(crate) plugin: &'t [u8],
    pub(crate) stage: &'t [u8],
    pub(crate) request: &'t [u8],
    pub(crate) hook: Hook,
}

/// Shows what this thread is inside of; `None` where it is in no plugin. Safe within a handler of
/// signals.
pub(crate) fn look<T>(show: impl FnOnce(Option<Inner<'_>>) -> T) -> T {
    CRUMB.with(|crumb| {
        let hook = Hook::of(crumb.hook.load(Ordering::Relaxed));
        if hook == Hook::Nothing {
            return show(None);
        }
        // SAFETY: the guard that noted them is alive: it takes the hook back first, and its
        // lifetime is that of the texts.
        let inner = unsafe {
            Inner {
                plugin: crumb.plugin.text(),
                stage: crumb.stage.text(),
                request: crumb.request.text(),
                hook,
            }
        };
        show(Some(inner))
    })
}

/// A thread's stay inside a plugin, from just before a call across the boundary to just after.
#[must_use = "the stay ends where this is dropped"]
pub(crate) struct Inside<'a> {
    before: (Text, Text, Text, u8),
    control: Control,
    mask: libc::sigset_t,
    /// Who may say in the log that something was left changed.
    host: Option<&'static HostTable>,
    hook: Hook,
    _names: PhantomData<(&'a str, *const ())>,
}

/// Whose code is about to run, and for whom. A name that does not apply is empty.
#[derive(Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) stage: &'a str,
    pub(crate) request: &'a str,
}

impl<'a> Inside<'a> {
    pub(crate) fn enter(who: Who<'a>, hook: Hook, host: Option<&'static HostTable>) -> Self {
        let text = |text: &str| (text.as_ptr().cast_mut(), text.len());
        let before = CRUMB.with(|crumb| {
            // In between it is in no plugin, rather than in one of mixed names.
            let hook_before = crumb.hook.swap(Hook::Nothing as u8, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            let before = (
                crumb.plugin.swap(text(who.plugin)),
                crumb.stage.swap(text(who.stage)),
                crumb.request.swap(text(who.request)),
                hook_before,
            );
            compiler_fence(Ordering::SeqCst);
            crumb.hook.store(hook as u8, Ordering::Relaxed);
            before
        });
        note_hook(hook);
        Self {
            before,
            control: Control::now(),
            // Within another stay the mask is what the plugin wants it to be just now.
            mask: match Hook::of(before.3) {
                Hook::Nothing => mask(),
                _ => mask_now(),
            },
            host,
            hook,
            _names: PhantomData,
        }
    }

    /// Puts back what was left changed, and says what that was.
    fn put_back(&self) -> Left {
        let left = Left {
            floating_point: Control::now() != self.control,
            mask: set_mask(&self.mask),
        };
        if left.floating_point {
            self.control.set();
        }
        left
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let left = self.put_back();
        let (plugin, stage, request, hook) = self.before;
        CRUMB.with(|crumb| {
            crumb.hook.store(Hook::Nothing as u8, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            crumb.plugin.swap(plugin);
            crumb.stage.swap(stage);
            crumb.request.swap(request);
            compiler_fence(Ordering::SeqCst);
            crumb.hook.store(hook, Ordering::Relaxed);
        });
        note_hook(Hook::of(hook));
        if left != Left::NOTHING {
            let all = LEFT.get();
            LEFT.set(Left {
                mask: all.mask || left.mask,
                floating_point: all.floating_point || left.floating_point,
            });
            if let Some(host) = self.host {
                host.note_left(left, self.hook);
            }
        }
    }
}

fn empty_mask() -> libc::sigset_t {
    // SAFETY: a set of bits, of which all zeros is the empty one.
    unsafe { std::mem::zeroed() }
}

/// The thread's mask as it was when it first went into a plugin: the host never changes it.
fn mask() -> libc::sigset_t {
    if let Some(mask) = MASK.get() {
        return mask;
    }
    let mask = mask_now();
    MASK.set(Some(mask));
    mask
}

fn mask_now() -> libc::sigset_t {
    let mut mask = empty_mask();
    // SAFETY: reads the mask into a set that lives until the call returns.
    unsafe { sigmask(std::ptr::null(), &raw mut mask) };
    mask
}

/// Sets the thread's mask where there is one to set, and tells what it was.
///
/// # Safety
/// Each is null or lives until the call returns.
unsafe fn sigmask(wanted: *const libc::sigset_t, found: *mut libc::sigset_t) {
    // Miri has no signals, and so no mask.
    if !cfg!(miri) {
        // SAFETY: promised by the caller.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, wanted, found) };
    }
}

/// Sets the thread's mask; true where it was another.
fn set_mask(wanted: &libc::sigset_t) -> bool {
    let mut found = empty_mask();
    // SAFETY: both sets live until the call returns.
    unsafe { sigmask(wanted, &raw mut found) };
    bits(wanted) != bits(&found)
}

fn bits(set: &libc::sigset_t) -> &[u8] {
    // SAFETY: a set is plain bits, and each was empty before the system wrote into it.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(set).cast(), size_of_val(set)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Who<'static> = Who {
        plugin: "acme",
        stage: "acme/a",
        request: "r1",
    };

    fn seen() -> Option<(String, String, String, Hook)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        look(|inner| {
            let inner = inner?;
            let names = (text(inner.plugin), text(inner.stage), text(inner.request));
            Some((names.0, names.1, names.2, inner.hook))
        })
    }

    #[test]
    fn a_stay_is_noted_and_a_shorter_one_within_it_as_well() {
        let post = Arc::new(Post::default());
        stand_at(&post);
        assert_eq!(seen(), None);
        let outer = Inside::enter(WHO, Hook::Run, None);
        let all = ("acme".into(), "acme/a".into(), "r1".into(), Hook::Run);
        assert_eq!(seen(), Some(all));
        assert_eq!(post.hook(), Hook::Run);
        let other = Who {
            stage: "",
            request: "",
            ..WHO
        };
        drop(Inside::enter(other, Hook::Release, None));
        assert_eq!(seen().unwrap().3, Hook::Run);
        drop(outer);
        assert_eq!((seen(), post.hook()), (None, Hook::Nothing));
        assert_eq!(take_left(), Left::NOTHING);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no signals")]
    fn a_mask_that_was_left_is_put_back() {
        let inside = Inside::enter(WHO, Hook::Run, None);
        let mut all = empty_mask();
        // SAFETY: fills a set of our own and makes it this thread's mask.
        unsafe {
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        }
        // A value that is released meanwhile changes nothing of it.
        let wanted = mask_now();
        drop(Inside::enter(WHO, Hook::Release, None));
        assert_eq!(take_left(), Left::NOTHING);
        assert!(!set_mask(&wanted), "it is as the plugin wants it");
        drop(inside);
        let left = take_left();
        assert!(left.mask && !left.floating_point);
        assert!(!set_mask(&mask()), "it is as it was");
    }

    #[test]
    #[cfg(all(not(miri), any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn how_floating_point_rounds_is_put_back() {
        let usual = Control::now();
        let inside = Inside::enter(WHO, Hook::Run, None);
        usual.rounding_up().set();
        assert_ne!(Control::now(), usual);
        drop(inside);
        assert!(take_left().floating_point);
        assert_eq!(Control::now(), usual);
    }

    #[test]
    fn hooks_have_their_numbers() {
        for (number, hook) in Hook::ALL.into_iter().enumerate() {
            assert_eq!(hook as usize, number);
            assert_eq!(Hook::of(hook as u8), hook);
        }
        assert_eq!(Hook::of(200), Hook::Nothing);
    }
}
