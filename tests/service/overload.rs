//! More than can be answered: requests, pixels, labels. Whoever is taken is answered in good time,
//! the others learn at once when to come again, and nobody's work holds up the others'.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::answers::file;
use crate::support::http::Part;
use crate::support::pictures::gray_tiff;
use crate::support::program::{Server, Settings, picture};

/// What a stage of `classify` counts.
fn counters(server: &Server, stage: &str) -> Json {
    server.client().counters("classify", stage)
}

#[test]
fn decoded_pixels_take_no_more_room_than_there_is_and_a_large_picture_works_alone() {
    const SIDE: u32 = 2500;
    /// Less than one of the pictures takes while it is decoded, more than one does afterwards.
    const BUDGET: u64 = 20 << 20;
    const PICTURES: u8 = 6;
    let budget = BUDGET.to_string();
    let server = Server::start_with(&Settings {
        environment: &[("OMNIZAP_MAX_DECODED_BYTES", &budget)],
        ..Settings::default()
    });
    let idle = server.resident();
    let is_over = AtomicBool::new(false);
    let (most, most_resident) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let (mut most, mut most_resident) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                let now = counters(&server, "decode");
                most = most.max(now["decoded_bytes"].as_u64().unwrap());
                most_resident = most_resident.max(server.resident());
                std::thread::sleep(Duration::from_millis(5));
            }
            (most, most_resident)
        });
        let senders: Vec<_> = (0..PICTURES)
            .map(|shade| {
                let server = &server;
                scope.spawn(move || {
                    let data = gray_tiff(SIDE, 8, |x, y| ((x ^ y) & 0x7F) | u32::from(shade));
                    let answer = server.client().post_form("/classify", &[file(&data)]);
                    answer.fine();
                })
            })
            .collect();
        let answers: Vec<_> = senders.into_iter().map(|sender| sender.join()).collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(answers.iter().all(Result::is_ok), "not all were answered");
        watching.join().unwrap()
    });
    assert!(0 < most && most <= BUDGET, "{most} of {BUDGET} bytes");
    // All at a time would take 110 MB for the pixels alone; the uploads take 6 MB each.
    let grown = most_resident.saturating_sub(idle);
    println!("{most} bytes of pixels at most, memory grew by {grown}");
    let then = counters(&server, "decode");
    assert_eq!(
        (&then["decoded_bytes"], &then["waiting_for_room"]),
        (&json!(0), &json!(0)),
        "{then}"
    );
    assert_eq!(then["max_decoded_bytes"], BUDGET);
}

#[test]
fn one_new_label_does_not_wait_for_the_many_of_others() {
    const MANY: usize = 8;
    let server = Server::start();
    let data = picture("pixel.jpg");
    let ask = |labels: Vec<String>| {
        let labels = json!(labels).to_string();
        let parts = [file(&data), Part::Text("labels", &labels)];
        server.client().post_form("/classify", &parts).fine()
    };
    // The picture is known from here on.
    ask(vec!["first".into(), "second".into()]);
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for owner in 0..MANY {
            let (ask, done) = (&ask, &done);
            scope.spawn(move || {
                let labels = (0..256).map(|label| format!("thing {label} of {owner}"));
                ask(labels.collect());
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        let in_flight = || {
            let classify = server.client().pipeline("classify");
            classify["in_flight"].as_u64().unwrap()
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while in_flight() < MANY as u64 && done.load(Ordering::SeqCst) == 0 {
            assert!(Instant::now() < deadline, "they do not come");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(50));
        let begun = Instant::now();
        ask(vec!["one that nobody asked for".into(), "second".into()]);
        let before = done.load(Ordering::SeqCst);
        println!("{:?}, {before} of {MANY} before it", begun.elapsed());
        assert!(
            before <= MANY / 2,
            "{before} of {MANY} were answered before"
        );
    });
    assert_eq!(done.load(Ordering::SeqCst), MANY);
}

/// How long each request took that was taken, and each that was refused.
#[derive(Default)]
struct Seen {
    taken: Vec<Duration>,
    refused: Vec<Duration>,
}

impl Seen {
    fn join(mut self, other: Self) -> Self {
        self.taken.extend(other.taken);
        self.refused.extend(other.refused);
        self
    }

    fn median(times: &mut [Duration]) -> Duration {
        times.sort_unstable();
        times[times.len() / 2]
    }
}

/// So many clients, each of which asks again when it was answered, and waits a little when it was
/// told that there are too many. Each picture is new: of those that were seen before a fast machine
/// answers more than there are clients, in no time.
fn load(server: &Server, clients: usize, time: Duration) -> Seen {
    let data = picture("pixel.jpg");
    let until = Instant::now() + time;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = server.client();
                    let mut seen = Seen::default();
                    while Instant::now() < until {
                        let data = commented(&data);
                        let begun = Instant::now();
                        let answer = client.post_form("/classify", &[file(&data)]);
                        let took = begun.elapsed();
                        match answer.status {
                            200 => seen.taken.push(took),
                            429 => {
                                assert_eq!(answer.json()["code"], "overloaded");
                                assert!(answer.header("retry-after").is_some());
                                seen.refused.push(took);
                                std::thread::sleep(Duration::from_millis(400));
                            }
                            other => panic!("{other}: {}", answer.json()),
                        }
                    }
                    seen
                })
            })
            .collect();
        let seen = threads.into_iter().map(|thread| thread.join().unwrap());
        seen.fold(Seen::default(), Seen::join)
    })
}

/// The same JPEG with another comment each time (ITU-T T.81, B.2.4.5).
fn commented(jpeg: &[u8]) -> Vec<u8> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::SeqCst).to_be_bytes();
    let (start, rest) = jpeg.split_at(2);
    let comment = [0xff, 0xfe, 0, 2 + number.len() as u8];
    [start, &comment, &number, rest].concat()
}

#[test]
fn more_requests_than_can_be_answered_are_refused_early_and_the_others_answered_soon() {
    let server = Server::start_with(&Settings {
        // 48 are a burst, however slow the machine is.
        environment: &[("OMNIZAP_ADMISSION_BURST", "12")],
        ..Settings::default()
    });
    let time = Duration::from_millis(2_500);
    // As many as are a burst: all are taken, and wait for one another.
    let mut some = load(&server, 48, time);
    assert!(some.refused.is_empty(), "{} refused", some.refused.len());
    let mut many = load(&server, 150, time);
    let (of_some, of_many) = (Seen::median(&mut some.taken), Seen::median(&mut many.taken));
    assert!(!many.refused.is_empty());
    let refused = Seen::median(&mut many.refused);
    println!(
        "48 clients: {} answered in {of_some:?}; 150: {} in {of_many:?}, {} refused in {refused:?}",
        some.taken.len(),
        many.taken.len(),
        many.refused.len(),
    );
    // Three times as many would wait three times as long.
    assert!(of_many < 2 * of_some, "{of_many:?} of {of_some:?}");
    assert!(refused < of_some, "{refused:?} of {of_some:?}");
    assert!(
        2 * many.taken.len() > some.taken.len(),
        "{} of {}",
        many.taken.len(),
        some.taken.len()
    );
    // Whoever comes afterwards is answered.
    std::thread::sleep(Duration::from_millis(1_100));
    assert!(
        load(&server, 8, Duration::from_millis(200))
            .refused
            .is_empty()
    );
}

#[test]
fn the_operator_says_how_many_are_always_taken_and_how_many_are_a_burst() {
    let start = |always: &str, burst: &str| {
        Server::start_with(&Settings {
            environment: &[
                ("OMNIZAP_ADMISSION_ALWAYS", always),
                ("OMNIZAP_ADMISSION_BURST", burst),
            ],
            ..Settings::default()
        })
    };
    let shown = |server: &Server| server.client().pipeline("classify")["admission"].clone();
    let time = Duration::from_millis(1_500);
    let all = start("256", "4");
    let seen = load(&all, 150, time);
    assert!(seen.refused.is_empty(), "{} refused", seen.refused.len());
    let now = shown(&all);
    assert_eq!((&now["always"], &now["burst"]), (&json!(256), &json!(4)));
    assert_eq!(now["refused"], 0);
    drop(all);
    let few = start("1", "2");
    // After a reload too.
    few.signal("HUP");
    few.log_with("pipelines reloaded");
    let now = shown(&few);
    assert_eq!((&now["always"], &now["burst"]), (&json!(1), &json!(2)));
    let seen = load(&few, 150, time);
    assert!(!seen.refused.is_empty() && !seen.taken.is_empty());
    assert!(shown(&few)["refused"].as_u64() >= Some(1));
}
