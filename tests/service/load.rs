//! Many requests at a time, good ones and broken ones.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::answers::file;
use crate::support::program::{Server, Settings, picture};

/// Requests of a run in CI; `OMNIZAP_LOAD_REQUESTS=10000` makes a long one.
const REQUESTS: usize = 2_000;
const CONCURRENCY: usize = 64;
/// Growth after the warm-up that is not a leak: the allocator's own arenas.
const SLACK: u64 = 48 << 20;

#[test]
fn a_mix_of_good_and_broken_pictures_makes_no_server_error_and_no_leak() {
    let requests = std::env::var("OMNIZAP_LOAD_REQUESTS")
        .ok()
        .and_then(|count| count.parse().ok());
    let requests: usize = requests.unwrap_or(REQUESTS);
    let server = Server::start_with(&Settings {
        // That many at one time are a burst, however slow the machine is.
        environment: &[("OMNIZAP_ADMISSION_BURST", "16")],
        ..Settings::default()
    });
    let good = [
        "lossy.webp",
        "baseline_420.jpg",
        "palette_transparent.png",
        "plain.gif",
        "cmyk.jpg",
    ];
    let broken = ["truncated.jpg", "empty.png", "text.png", "bomb.png"];
    let good: Vec<_> = good.iter().map(|name| picture(name)).collect();
    let broken: Vec<_> = broken.iter().map(|name| picture(name)).collect();

    let run = |requests: usize| -> Vec<Duration> {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CONCURRENCY)
                .map(|_| {
                    scope.spawn(|| {
                        let mut client = server.client();
                        let mut times = Vec::new();
                        loop {
                            let index = next.fetch_add(1, Ordering::Relaxed);
                            if index >= requests {
                                return times;
                            }
                            let bad = index % 4 == 3;
                            let pictures = if bad { &broken } else { &good };
                            let begun = Instant::now();
                            let answer = client
                                .post_form("/classify", &[file(&pictures[index % pictures.len()])]);
                            times.push(begun.elapsed());
                            let expected = if bad { [422, 413] } else { [200, 200] };
                            let text = String::from_utf8_lossy(&answer.body);
                            assert!(
                                expected.contains(&answer.status),
                                "{}: {text}",
                                answer.status
                            );
                        }
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        })
    };

    run(requests / 4);
    let warm = server.resident();
    let begun = Instant::now();
    let mut times = run(requests);
    let elapsed = begun.elapsed();
    let after = server.resident();
    times.sort();
    let percentile = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{requests} requests at concurrency {CONCURRENCY}: {:.0}/s, p50 {:.1?}, p99 {:.1?}, memory {} -> {} MiB",
        requests as f64 / elapsed.as_secs_f64(),
        percentile(0.5),
        percentile(0.99),
        warm >> 20,
        after >> 20,
    );
    assert!(
        after < warm + SLACK,
        "memory grew from {warm} to {after} bytes"
    );
}
