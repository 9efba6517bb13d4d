//! The pool with an encoder whose every run the test sees and controls.

use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use omnizap_contract::{Cancel, Channels};
use tokio::task::JoinHandle;

use super::*;
use crate::testing::call;

/// Says what it runs, and runs it when it is allowed to.
struct Gated {
    runs: Mutex<mpsc::Sender<Vec<String>>>,
    gate: Mutex<mpsc::Receiver<()>>,
}

/// The test's side of it.
struct Control {
    runs: mpsc::Receiver<Vec<String>>,
    gate: mpsc::Sender<()>,
}

impl Gated {
    fn new() -> (Self, Control) {
        let (started, runs) = mpsc::channel();
        let (gate, allowed) = mpsc::channel();
        let runs_of = Self {
            runs: Mutex::new(started),
            gate: Mutex::new(allowed),
        };
        (runs_of, Control { runs, gate })
    }

    fn run(&self, batch: Vec<String>) -> Result<Vec<Vec<f32>>, String> {
        let count = batch.len();
        let breaks = batch.iter().any(|item| item == "break");
        let panics = batch.iter().any(|item| item == "panic");
        let _ = self
            .runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(batch);
        // The test that dropped its side lets everything pass.
        let _ = self
            .gate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        assert!(!panics, "told to panic");
        if breaks {
            Err("told to break".into())
        } else {
            Ok(vec![vec![1.0]; count])
        }
    }
}

impl Control {
    /// Waits for the next run to begin and says what is in it.
    fn next(&self) -> Vec<String> {
        let patience = std::time::Duration::from_secs(20);
        self.runs
            .recv_timeout(patience)
            .expect("the pool starts a run")
    }

    /// Lets one run finish.
    fn allow(&self) {
        self.gate.send(()).expect("the pool is alive");
    }
}

impl Encoder for Gated {
    type Prepared = String;
    type Error = String;

    fn prepare(&self, image: &Image) -> Result<String, String> {
        if image.width == 13 {
            Err("unlucky".into())
        } else {
            Ok(format!("image {}", image.width))
        }
    }

    fn encode_images(&self, batch: &[String]) -> Result<Vec<Vec<f32>>, String> {
        self.run(batch.to_vec())
    }

    fn encode_texts(&self, batch: &[&str], form: TextForm) -> Result<Vec<Vec<f32>>, String> {
        let mark = if form == TextForm::Label {
            "label "
        } else {
            ""
        };
        self.run(batch.iter().map(|text| format!("{mark}{text}")).collect())
    }

    fn cost(&self, text: &str, form: TextForm) -> f32 {
        let of_form = if form == TextForm::Label { 4.0 } else { 1.0 };
        if text.starts_with("brief") {
            of_form / 4.0
        } else {
            of_form
        }
    }
}

fn pool(change: impl FnOnce(&mut PoolLimits)) -> (Arc<Pool<Gated>>, Control) {
    let mut limits = PoolLimits {
        max_waiting_images: 4,
        max_waiting_texts: 8,
        max_batch_images: 2,
        max_batch_texts: 8,
        preparation_threads: 1,
        ..PoolLimits::default()
    };
    change(&mut limits);
    let (encoder, control) = Gated::new();
    (Arc::new(Pool::start(encoder, limits).unwrap()), control)
}

type Task<T> = JoinHandle<Result<T, Error>>;

fn image(pool: &Arc<Pool<Gated>>, width: u32, call: Call) -> Task<Arc<[f32]>> {
    let pool = pool.clone();
    let pixels = Bytes::from(vec![0; width as usize]);
    let image = Arc::new(Image::new(width, 1, Channels::Gray, pixels).unwrap());
    tokio::spawn(async move { pool.embed_image(image, &call).await })
}

fn texts(pool: &Arc<Pool<Gated>>, texts: &[&str], form: TextForm) -> Task<Vec<Arc<[f32]>>> {
    texts_of(pool, call(), texts, form)
}

fn texts_of(
    pool: &Arc<Pool<Gated>>,
    call: Call,
    texts: &[&str],
    form: TextForm,
) -> Task<Vec<Arc<[f32]>>> {
    let pool = pool.clone();
    let texts: Vec<Arc<str>> = texts.iter().map(|&text| text.into()).collect();
    tokio::spawn(async move { pool.embed_texts(&texts, form, &call).await })
}

/// A call of another request.
fn owned(owner: &str) -> Call {
    Call {
        request_id: owner.into(),
        ..call()
    }
}

/// Waits until this many texts wait or are run.
async fn waiting_texts(pool: &Pool<Gated>, texts: usize) {
    for _ in 0..2000 {
        if pool.shared.queue.waiting().1 == texts {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let (_, waiting) = pool.shared.queue.waiting();
    panic!("{waiting} of {texts} texts wait");
}

/// Waits until this many pictures are in the pool and all of them are prepared.
async fn waiting(pool: &Pool<Gated>, images: usize) {
    for _ in 0..2000 {
        if pool.shared.queue.ready() == (images, images) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{:?} of {images} pictures wait", pool.shared.queue.ready());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_becomes_one_batch_up_to_its_bound() {
    let (pool, control) = pool(|_| {});
    let first = image(&pool, 1, call());
    assert_eq!(control.next(), ["image 1"]);
    let rest: Vec<_> = [2, 3, 4]
        .into_iter()
        .map(|width| image(&pool, width, call()))
        .collect();
    waiting(&pool, 3).await;
    control.allow();
    assert_eq!(control.next().len(), 2);
    control.allow();
    assert_eq!(control.next().len(), 1);
    control.allow();
    for task in rest.into_iter().chain([first]) {
        assert_eq!(*task.await.unwrap().unwrap(), [1.0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_refused_at_once_with_the_limits_name() {
    let (pool, control) = pool(|_| {});
    let _running = image(&pool, 1, call());
    control.next();
    let _waiting: Vec<_> = (2..6).map(|width| image(&pool, width, call())).collect();
    waiting(&pool, 4).await;
    let error = image(&pool, 9, call()).await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Busy, "model_queue_full")
    );
    assert!(error.retry_after().is_some());
    assert!(error.message().contains("max_waiting_images"), "{error}");
    let many: Vec<String> = (0..9).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let error = texts(&pool, &many, TextForm::Raw)
        .await
        .unwrap()
        .unwrap_err();
    assert!(error.message().contains("max_waiting_texts"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_one_picture_wait_as_many_at_a_time_as_one_batch_takes() {
    let (pool, control) = pool(|_| {});
    let frames: Vec<_> = (1..=5)
        .map(|width| {
            let pixels = Bytes::from(vec![0; width as usize]);
            Arc::new(Image::new(width, 1, Channels::Gray, pixels).unwrap())
        })
        .collect();
    let running = tokio::spawn({
        let pool = pool.clone();
        async move { pool.embed_frames(&frames, &call()).await }
    });
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let batch = control.next();
        let (waiting, _) = pool.shared.queue.waiting();
        assert!(batch.len() + waiting <= 2, "{batch:?} and {waiting}");
        seen.extend(batch);
        control.allow();
    }
    assert_eq!(
        seen,
        ["image 1", "image 2", "image 3", "image 4", "image 5"]
    );
    assert_eq!(running.await.unwrap().unwrap().len(), 5);
    // Where not all of a batch may wait, none does.
    let _running = image(&pool, 1, call());
    control.next();
    let _waiting: Vec<_> = (2..5).map(|width| image(&pool, width, call())).collect();
    waiting(&pool, 3).await;
    let pixels = Bytes::from(vec![0; 1]);
    let frame = Arc::new(Image::new(1, 1, Channels::Gray, pixels).unwrap());
    let frames = [frame.clone(), frame];
    let error = pool.embed_frames(&frames, &call()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    waiting(&pool, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_is_over_never_reaches_the_model() {
    let (pool, control) = pool(|_| {});
    let running = image(&pool, 1, call());
    control.next();
    let cancelled = Call {
        cancel: Cancel::default(),
        ..call()
    };
    let late = Call {
        deadline: Instant::now(),
        ..call()
    };
    let gone = image(&pool, 2, call());
    let tasks = [image(&pool, 3, cancelled.clone()), image(&pool, 4, late)];
    // The picture that is late already never gets as far as being prepared.
    while pool.shared.queue.ready() != (2, 2) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    cancelled.cancel.cancel();
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    let last = image(&pool, 5, call());
    waiting(&pool, 3).await;
    control.allow();
    assert_eq!(control.next(), ["image 5"]);
    control.allow();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap_err().kind(), ErrorKind::Deadline);
    }
    running.await.unwrap().unwrap();
    last.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_are_run_once_and_kept() {
    let (pool, control) = pool(|_| {});
    let first = texts(&pool, &["a", "b", "a"], TextForm::Raw);
    assert_eq!(control.next(), ["a", "b"]);
    let second = texts(&pool, &["b", "c"], TextForm::Raw);
    control.allow();
    assert_eq!(first.await.unwrap().unwrap().len(), 3);
    // "b" was asked for before it was known; it is known when its turn comes.
    let run = control.next();
    assert!(run.contains(&"c".to_owned()), "{run:?}");
    control.allow();
    assert_eq!(second.await.unwrap().unwrap().len(), 2);
    assert_eq!(
        texts(&pool, &["c", "a", "b"], TextForm::Raw)
            .await
            .unwrap()
            .unwrap()
            .len(),
        3
    );
    assert!(control.runs.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_text_behind_many_requests_of_many_is_in_the_next_batch() {
    let (pool, control) = pool(|limits| limits.max_waiting_texts = 16_384);
    let mut tasks = Vec::new();
    for owner in 0..40 {
        let many: Vec<String> = (0..256).map(|text| format!("{owner} {text}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        tasks.push(texts_of(
            &pool,
            owned(&owner.to_string()),
            &many,
            TextForm::Raw,
        ));
        waiting_texts(&pool, (owner + 1) * 256).await;
    }
    control.next();
    let one = texts_of(&pool, owned("one"), &["one"], TextForm::Raw);
    waiting_texts(&pool, 40 * 256 + 1).await;
    control.allow();
    let run = control.next();
    assert_eq!(run.len(), 8);
    assert!(run.contains(&"one".to_owned()), "{run:?}");
    control.allow();
    assert_eq!(one.await.unwrap().unwrap().len(), 1);
    control.next();
    // Whoever leaves takes what waits along.
    for task in &tasks {
        task.abort();
    }
    for task in tasks {
        assert!(task.await.unwrap_err().is_cancelled());
    }
    let last = texts_of(&pool, owned("last"), &["last"], TextForm::Raw);
    control.allow();
    assert_eq!(control.next(), ["last"]);
    control.allow();
    last.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_several_ask_for_is_run_once_and_for_those_who_stay() {
    let (pool, control) = pool(|_| {});
    let running = texts_of(&pool, owned("a"), &["x"], TextForm::Raw);
    assert_eq!(control.next(), ["x"]);
    // It counts once, whoever waits for it, and also where it runs already.
    let gone = texts_of(&pool, owned("b"), &["x", "y"], TextForm::Raw);
    waiting_texts(&pool, 2).await;
    let mut same = Vec::new();
    for owner in ["c", "d", "e", "f", "g", "h", "i", "j"] {
        let task = texts_of(&pool, owned(owner), &["y", "x"], TextForm::Raw);
        same.push(task);
    }
    // The one who asked first leaves, and the text is still waited for.
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    waiting_texts(&pool, 2).await;
    control.allow();
    running.await.unwrap().unwrap();
    assert_eq!(control.next(), ["y"]);
    control.allow();
    for task in same {
        assert_eq!(task.await.unwrap().unwrap().len(), 2);
    }
    assert!(control.runs.try_recv().is_err());
    waiting_texts(&pool, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_texts_wait_there_is_room_for_one() {
    let (pool, control) = pool(|limits| limits.max_waiting_texts = 64);
    let first = texts_of(&pool, owned("first"), &["first"], TextForm::Raw);
    control.next();
    let mut refused = 0;
    let mut waiting = Vec::new();
    for owner in 0..20 {
        let many: Vec<String> = (0..16).map(|text| format!("{owner} {text}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let call = owned(&owner.to_string());
        let mut task = texts_of(&pool, call, &many, TextForm::Raw);
        let patience = std::time::Duration::from_millis(200);
        match tokio::time::timeout(patience, &mut task).await {
            Ok(answer) => {
                assert_eq!(answer.unwrap().unwrap_err().kind(), ErrorKind::Busy);
                refused += 1;
            }
            Err(_) => waiting.push(task),
        }
    }
    assert!(refused >= 17, "{refused} of 20 were refused");
    let one = texts_of(&pool, owned("one"), &["one"], TextForm::Raw);
    waiting_texts(&pool, 1 + waiting.len() * 16 + 1).await;
    control.allow();
    let run = control.next();
    assert!(run.contains(&"one".to_owned()), "{run:?}");
    drop(control);
    first.await.unwrap().unwrap();
    one.await.unwrap().unwrap();
    for task in waiting {
        task.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_that_could_not_be_done_in_time_are_refused_at_once() {
    let (pool, control) = pool(|limits| limits.max_waiting_texts = 1000);
    let many: Vec<String> = (0..400).map(|text| text.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let slow = texts_of(&pool, owned("slow"), &many, TextForm::Raw);
    for _ in 0..3 {
        control.next();
        tokio::time::sleep(std::time::Duration::from_millis(80)).await;
        control.allow();
    }
    control.next();
    // About 10 ms each: a hundred take a second, and as many of the others come between.
    let hurried = |texts: usize| {
        let call = Call {
            deadline: Instant::now() + std::time::Duration::from_millis(1500),
            ..owned("hurried")
        };
        let texts: Vec<String> = (0..texts).map(|text| format!("new {text}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        texts_of(&pool, call, &texts, TextForm::Raw)
    };
    let error = hurried(100).await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Busy, "model_queue_slow")
    );
    assert!(error.retry_after().is_some());
    let few = hurried(1);
    waiting_texts(&pool, 400 - 3 * 8 + 1).await;
    control.allow();
    let run = control.next();
    assert!(run.contains(&"new 0".to_owned()), "{run:?}");
    drop(control);
    few.await.unwrap().unwrap();
    slow.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_count_their_templates_and_pictures_pass_between_batches() {
    let (pool, control) = pool(|_| {});
    let labels = texts(&pool, &["a", "b", "c"], TextForm::Label);
    // 8 texts a run, 4 templates a label.
    assert_eq!(control.next(), ["label a", "label b"]);
    let picture = image(&pool, 1, call());
    waiting(&pool, 1).await;
    control.allow();
    assert_eq!(control.next(), ["image 1"]);
    control.allow();
    assert_eq!(control.next(), ["label c"]);
    control.allow();
    picture.await.unwrap().unwrap();
    assert_eq!(labels.await.unwrap().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_texts_that_cost_less_more_are_run_at_once() {
    let (pool, control) = pool(|limits| limits.max_waiting_texts = 50);
    let brief: Vec<String> = (0..40).map(|number| format!("brief {number}")).collect();
    let brief: Vec<&str> = brief.iter().map(String::as_str).collect();
    let shared: Vec<Arc<str>> = brief.iter().map(|&text| text.into()).collect();
    assert_eq!(pool.of_one_run(&shared, TextForm::Raw), 32);
    assert_eq!(pool.of_one_run(&shared, TextForm::Label), 8);
    assert_eq!(pool.of_one_run(&shared[..5], TextForm::Raw), 5);
    assert_eq!(pool.of_one_run(&[], TextForm::Raw), 0);
    let task = texts(&pool, &brief, TextForm::Raw);
    // 8 texts a run, and four of these cost as much as one.
    assert_eq!(control.next(), brief[..32]);
    control.allow();
    assert_eq!(control.next(), brief[32..]);
    control.allow();
    assert_eq!(task.await.unwrap().unwrap().len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_model_fails_its_batch_and_nothing_else() {
    let (pool, control) = pool(|_| {});
    for bad in ["break", "panic"] {
        let task = texts(&pool, &[bad], TextForm::Raw);
        assert_eq!(control.next(), [bad]);
        control.allow();
        assert_eq!(task.await.unwrap().unwrap_err().kind(), ErrorKind::Internal);
    }
    let task = image(&pool, 13, call());
    assert_eq!(task.await.unwrap().unwrap_err().kind(), ErrorKind::Internal);
    let good = image(&pool, 1, call());
    control.next();
    control.allow();
    good.await.unwrap().unwrap();
    // The picture that could not be prepared has left its place in the queue.
    assert_eq!(pool.shared.queue.ready(), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_the_pool_ends_all_waiting() {
    let (pool, control) = pool(|_| {});
    let running = image(&pool, 1, call());
    control.next();
    let queued = image(&pool, 2, call());
    waiting(&pool, 1).await;
    pool.shared.queue.close();
    // Another try finds another pool.
    let is_away = |error: Error| (error.kind(), error.retry_after().is_some());
    let away = (ErrorKind::Unavailable, true);
    assert_eq!(is_away(queued.await.unwrap().unwrap_err()), away);
    control.allow();
    running.await.unwrap().unwrap();
    // A closed pool refuses instead of letting anyone wait for ever.
    let late = image(&pool, 3, call()).await.unwrap();
    assert_eq!(is_away(late.unwrap_err()), away);
    let late = texts(&pool, &["a"], TextForm::Raw).await.unwrap();
    assert_eq!(is_away(late.unwrap_err()), away);
}
