//! Nobody keeps others out: by doing nothing, by sending half of something, by sending more than
//! there is room for, by reading nothing.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use engine::http::Limits;
use omnizap_contract::{Output, PortType};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::answers::file;
use super::bodies::{Serving, serving};
use super::requests::rests;
use crate::support::http::{Answer, Client, begin_form, connect, read_answer};
use crate::support::kinds::{TestKind, waiting};
use crate::support::program::{Server, Settings, picture, run};

/// Within which a new client is answered, on a machine that does much else.
const PROMPT: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);

/// A language model that takes questions and answers none, and pipelines that ask it about every
/// picture: their requests last as long as a test.
pub(super) struct Mute {
    pipelines: TempDir,
    url: String,
    _listener: TcpListener,
}

impl Mute {
    pub(super) fn new() -> Self {
        let pipelines = TempDir::new().unwrap();
        let over = "extends = \"builtin:classify\"\n[pipeline]\ndeadline_ms = 120000\n[[stage]]\n\
                    name = \"llm-expand\"\nwith = { entropy_max = 1.0, margin_min = 0.0 }\n";
        std::fs::write(pipelines.path().join("classify.toml"), over).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        Self {
            pipelines,
            url,
            _listener: listener,
        }
    }

    pub(super) fn pipelines(&self) -> &Path {
        self.pipelines.path()
    }

    pub(super) fn environment(&self) -> Vec<(&str, &str)> {
        vec![
            ("OPENAI_API_KEY", "sk-of-nobody"),
            ("OPENAI_BASE_URL", &self.url),
            ("LLM_LABEL_EXPANSION_TIMEOUT_MS", "60000"),
        ]
    }
}

/// A stage that does not come to its end.
pub(super) fn lasts() -> TestKind {
    let done = Output::new("done", PortType::Text, "never").published(Json::Null);
    let never = waiting(|_, _| std::future::pending());
    TestKind::new("lasts", vec![], vec![done], never)
}

/// What of each bound is in use.
fn budgets(address: SocketAddr) -> Json {
    Client::new(address).budgets()
}

/// Waits until the budgets are as they should be.
#[track_caller]
fn until(address: SocketAddr, what: &str, is_so: impl Fn(&Json) -> bool) {
    let begun = Instant::now();
    loop {
        let budgets = budgets(address);
        if is_so(&budgets) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "never {what}: {budgets}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Takes a place of a server whose requests last, until it is dropped.
#[track_caller]
pub(super) fn take_a_place(address: SocketAddr) -> TcpStream {
    let before = budgets(address)["requests_in_flight"]["now"].clone();
    let taken = begin_form(address, "/classify", &[file(&picture("lossy.webp"))]).unwrap();
    until(address, "another request in flight", |budgets| {
        budgets["requests_in_flight"]["now"].as_u64() > before.as_u64()
    });
    taken
}

/// Asks on a connection of its own, within the time for it.
#[track_caller]
fn is_answered(address: SocketAddr) {
    let begun = Instant::now();
    assert_eq!(Client::new(address).get("/health/live").status, 200);
    assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
}

/// True once the server has closed a connection, whatever it says before.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => !matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        ),
    }
}

/// A request whose body has begun and does not end.
fn half_a_body(address: SocketAddr, sent: &[u8], len: usize) -> std::io::Result<TcpStream> {
    let mut stream = connect(address)?;
    let head = format!(
        "POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {len}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(sent)?;
    Ok(stream)
}

#[track_caller]
fn is_told(answer: &Answer, status: u16, code: &str) {
    let error = answer.refused(status, code);
    assert_eq!(answer.header("retry-after"), Some("1"), "{error}");
}

#[test]
fn silent_connections_keep_nobody_out() {
    let address = serving(Limits {
        max_connections: 50,
        head_timeout: PATIENCE,
        ..Limits::default()
    });
    // Of several kinds: nothing, half a head, one request and then nothing, a beginning of HTTP/2.
    let begun: [&[u8]; 4] = [
        b"",
        b"POST /t HTTP/1.1\r\nHost: local",
        b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ];
    let mut silent = Vec::new();
    for number in 0..200 {
        let mut stream = connect(address).unwrap();
        // It may have been closed already.
        let _ = stream.write_all(begun[number % begun.len()]);
        silent.push(stream);
        if number % 20 == 19 {
            is_answered(address);
        }
    }
    is_answered(address);
    let now = budgets(address);
    let connections = &now["connections"];
    assert!(connections["now"].as_u64() <= Some(50), "{now}");
    assert!(connections["gave_way"].as_u64() >= Some(150), "{now}");
    assert_eq!(connections["most"], 50);
    assert!(is_closed(&mut silent[0]), "the one that waited longest");
    // Who is at a request keeps its connection.
    let mut upload = half_a_body(address, b"{", 2).unwrap();
    until(address, "a body", |now| now["bodies"]["now"] == 1);
    let more: Vec<_> = (0..100).map(|_| connect(address).unwrap()).collect();
    is_answered(address);
    upload.write_all(b"}").unwrap();
    assert_eq!(read_answer(&mut upload, "POST").unwrap().status, 200);
    drop(more);
}

#[test]
fn a_process_without_files_left_closes_who_waits() {
    let server = Server::start();
    let pid = server.pid().to_string();
    let folder = format!("/proc/{pid}/fd");
    let open = || std::fs::read_dir(&folder).unwrap().count();
    // Less than what it counts on.
    let few = open() + 40;
    let lowered = Command::new("prlimit")
        .args(["--pid", &pid, &format!("--nofile={few}:{few}")])
        .status();
    match lowered {
        Ok(status) => assert!(status.success(), "prlimit"),
        Err(error) => {
            eprintln!("prlimit is not here: not tried: {error}");
            return;
        }
    }
    let silent: Vec<_> = (0..150).map(|_| connect(server.address).unwrap()).collect();
    is_answered(server.address);
    let now = budgets(server.address);
    assert!(now["connections"]["gave_way"].as_u64() > Some(0), "{now}");
    assert!(open() <= few);
    drop(silent);
    let data = picture("lossy.webp");
    let answer = server.client().post_form("/classify", &[file(&data)]);
    assert_eq!(answer.status, 200, "{}", server.log());
}

#[test]
fn who_is_late_with_a_head_or_with_another_request_is_closed() {
    let soon = Duration::from_millis(700);
    let address = serving(Limits {
        head_timeout: soon,
        ..Limits::default()
    });
    let mut silent = connect(address).unwrap();
    let mut half = connect(address).unwrap();
    half.write_all(b"GET /health/live HTTP/1.1\r\nHo").unwrap();
    // However steadily it comes, over either version.
    let second = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\nGET /heal";
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let ping = b"\0\0\x08\x06\0\0\0\0\0abcdefgh";
    let trickling = [(&b"GET /"[..], &b"x"[..]), (second, b"x"), (http2, ping)];
    let trickling = trickling.map(|(begun, more)| {
        let mut stream = connect(address).unwrap();
        stream.write_all(begun).unwrap();
        let mut writing = stream.try_clone().unwrap();
        let trickle = std::thread::spawn(move || {
            let begun = Instant::now();
            while writing.write_all(more).is_ok() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        (stream, trickle)
    });
    assert!(is_closed(&mut silent) && is_closed(&mut half));
    for (mut stream, trickle) in trickling {
        assert!(is_closed(&mut stream));
        trickle.join().unwrap();
    }
    // A body may take longer than a head.
    let mut slow = half_a_body(address, b"{", 2).unwrap();
    std::thread::sleep(soon * 2);
    slow.write_all(b"}").unwrap();
    assert_eq!(read_answer(&mut slow, "POST").unwrap().status, 200);
    let late = budgets(address)["connections"]["late"].as_u64();
    assert!(late >= Some(5), "{late:?}");

    let address = serving(Limits {
        idle_timeout: soon,
        ..Limits::default()
    });
    let mut idle = connect(address).unwrap();
    idle.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    assert_eq!(read_answer(&mut idle, "GET").unwrap().status, 200);
    assert!(is_closed(&mut idle));
}

#[test]
fn an_old_connection_makes_place_for_another() {
    let age = Duration::from_millis(300);
    let address = serving(Limits {
        max_connection_age: age,
        ..Limits::default()
    });
    let mut busy = half_a_body(address, b"{", 2).unwrap();
    let mut idle = connect(address).unwrap();
    idle.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    assert_eq!(read_answer(&mut idle, "GET").unwrap().status, 200);
    assert!(is_closed(&mut idle));
    until(address, "two old ones", |now| {
        now["connections"]["old"].as_u64() >= Some(2)
    });
    // What it is at is finished, and the client told.
    busy.write_all(b"}").unwrap();
    let answer = read_answer(&mut busy, "POST").unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(is_closed(&mut busy));
}

#[test]
fn who_reads_no_answer_is_left() {
    let address = serving(Limits {
        write_timeout: Duration::from_millis(300),
        ..Limits::default()
    });
    let mut stream = connect(address).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let many = b"GET /pipelines HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    // Answers to all of them are more than any buffer between holds.
    for _ in 0..50 {
        if stream.write_all(&many).is_err() {
            break;
        }
    }
    until(address, "a stalled one", |now| {
        now["connections"]["stalled"] == 1
    });
    is_answered(address);
}

#[test]
fn only_where_all_are_at_requests_a_connection_is_refused() {
    const LASTS: &str = "[pipeline]\nname = \"t\"\nroute = \"GET /t\"\ndeadline_ms = 60000\n\
        [[stage]]\nuses = \"lasts\"\n";
    let limits = Limits {
        max_connections: 3,
        ..Limits::default()
    };
    let serving = Serving {
        limits,
        ..Serving::default()
    };
    let address = serving.start(vec![lasts()], LASTS);
    let ask = |stream: &mut TcpStream, path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
    };
    let mut lasting = [(); 3].map(|()| connect(address).unwrap());
    ask(&mut lasting[0], "/t");
    ask(&mut lasting[1], "/t");
    let begun = Instant::now();
    loop {
        ask(&mut lasting[2], "/pipelines");
        let shown = read_answer(&mut lasting[2], "GET").unwrap().json();
        if shown["budgets"]["requests_in_flight"]["now"] == 2 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{shown}");
    }
    ask(&mut lasting[2], "/t");
    // Until it is at its request it would give way.
    std::thread::sleep(Duration::from_millis(500));
    let mut next = connect(address).unwrap();
    ask(&mut next, "/health/live");
    let answer = read_answer(&mut next, "GET").unwrap();
    is_told(&answer, 503, "too_many_connections");
    assert_eq!(answer.header("connection"), Some("close"));
    drop(lasting);
    let begun = Instant::now();
    while Client::new(address)
        .send("GET", "/health/live", &[], &[])
        .map_or(0, |answer| answer.status)
        != 200
    {
        assert!(begun.elapsed() < PATIENCE, "there is no place again");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A pipeline over GET with a stage.
fn get_of(stage: &str) -> String {
    format!(
        "[pipeline]\nname = \"t\"\nroute = \"GET /t\"\ndeadline_ms = 60000\n\
         [[stage]]\nuses = \"{stage}\"\n"
    )
}

#[test]
fn at_the_bound_of_connections_whoever_has_asked_is_answered() {
    const CLIENTS: usize = 96;
    let limits = Limits {
        max_connections: 64,
        ..Limits::default()
    };
    let serving = Serving {
        limits,
        ..Serving::default()
    };
    let address = serving.start(vec![rests()], &get_of("rests"));
    let ask = || {
        let mut stream = connect(address)?;
        stream.write_all(b"GET /t HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        read_answer(&mut stream, "GET")
    };
    // Each on a connection of its own, and none of them reset or closed without a word.
    let answers = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(move || [(); 4].map(|()| ask())))
            .collect();
        let answers = clients.into_iter();
        answers
            .flat_map(|client| client.join().unwrap())
            .collect::<Vec<_>>()
    });
    let mut fine = 0;
    for answer in answers {
        let answer = answer.expect("a request without an answer");
        match answer.status {
            200 => fine += 1,
            // There is no place for its connection, or for it.
            503 => is_told(&answer, 503, "too_many_connections"),
            _ => is_told(&answer, 429, "overloaded"),
        }
    }
    assert!(fine > 0);
}

#[test]
fn an_idle_connection_that_gives_way_is_ended_and_not_reset() {
    let address = serving(Limits {
        max_connections: 2,
        ..Limits::default()
    });
    let live = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let ask = |stream: &mut TcpStream| {
        stream.write_all(live).unwrap();
        assert_eq!(read_answer(stream, "GET").unwrap().status, 200);
    };
    let mut idle = [(); 2].map(|()| connect(address).unwrap());
    idle.iter_mut().for_each(ask);
    let mut next = connect(address).unwrap();
    ask(&mut next);
    // One of them gave way, and asks just then: the end is all that it sees, as of any connection
    // that was kept for another request. The other is answered.
    let gave_way = idle.iter_mut().filter_map(|stream| {
        let _ = stream.write_all(live);
        let read = stream.read(&mut [0; 1]).unwrap();
        (read == 0).then_some(())
    });
    assert_eq!(gave_way.count(), 1);
}

#[test]
fn who_gives_way_with_half_a_request_is_told_so() {
    let limits = Limits {
        max_connections: 3,
        ..Limits::default()
    };
    let address = serving(limits);
    let mut watch = Client::new(address);
    // Both are read as far as they have come: nothing shows that of the head.
    let mut body = half_a_body(address, b"{", 100).unwrap();
    let mut head = connect(address).unwrap();
    head.write_all(b"GET /t HTTP/1.1\r\nHo").unwrap();
    let begun = Instant::now();
    while watch.budgets()["bodies"]["now"] != 1 {
        assert!(begun.elapsed() < PATIENCE, "no body");
    }
    std::thread::sleep(Duration::from_secs(2));
    drop(watch);
    let mut more: Vec<TcpStream> = Vec::new();
    for (what, stream) in [("head", &mut head), ("body", &mut body)] {
        for _ in 0..3 {
            more.push(half_a_body(address, b"{", 100).unwrap());
            std::thread::sleep(Duration::from_millis(200));
        }
        let answer = read_answer(stream, "GET");
        let answer = answer.unwrap_or_else(|error| panic!("half a {what}: {error}"));
        is_told(&answer, 503, "too_many_connections");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(is_closed(stream));
    }
}

#[test]
fn half_sent_bodies_take_no_place() {
    let address = serving(Limits {
        max_requests_in_flight: 4,
        ..Limits::default()
    });
    let half: Vec<_> = (0..64)
        .map(|number| half_a_body(address, &b"{"[..number % 2], 100).unwrap())
        .collect();
    until(address, "all bodies", |now| now["bodies"]["now"] == 64);
    let answer = Client::new(address).post_json("/t", &json!({ "theme": "a" }));
    assert_eq!(answer.json()["seen"], json!({ "theme": "a" }));
    let now = budgets(address);
    assert_eq!(now["requests_in_flight"]["now"], 0, "{now}");
    drop(half);
    until(address, "no body", |now| {
        now["bodies"]["now"] == 0 && now["body_bytes"]["now"] == 0
    });
}

#[test]
fn of_too_many_bodies_the_oldest_gives_way() {
    let address = serving(Limits {
        max_coming_bodies: 20,
        ..Limits::default()
    });
    let mut oldest = half_a_body(address, b"{", 100).unwrap();
    // On a busy machine a later one might be looked at sooner.
    until(address, "the oldest", |now| now["bodies"]["now"] == 1);
    let half: Vec<_> = (1..60)
        .map(|_| half_a_body(address, b"{", 100).unwrap())
        .collect();
    until(address, "forty that gave way", |now| {
        now["bodies"]["gave_way"].as_u64() >= Some(40)
    });
    let answer = Client::new(address).post_json("/t", &json!({}));
    assert_eq!(answer.status, 200);
    is_told(&read_answer(&mut oldest, "POST").unwrap(), 503, "no_room");
    assert!(budgets(address)["bodies"]["now"].as_u64() <= Some(20));
    drop(half);
}

#[test]
fn bodies_that_are_held_back_leave_room_for_others() {
    const LEN: usize = 1 << 20;
    const MOST: usize = 4 << 20;
    let address = serving(Limits {
        max_body_bytes: LEN,
        max_held_bytes: MOST,
        ..Limits::default()
    });
    let almost = vec![b' '; LEN - 1];
    let mut held = Vec::new();
    for _ in 0..30 {
        held.push(half_a_body(address, &almost, LEN).unwrap());
        let now = budgets(address);
        assert!(
            now["body_bytes"]["now"].as_u64() <= Some(MOST as u64),
            "{now}"
        );
        // Small ones and fairly large ones.
        for len in [10, LEN / 4] {
            let answer = Client::new(address).post_json("/t", &json!({ "theme": "a".repeat(len) }));
            let is_read = [200, 422].contains(&answer.status);
            assert!(is_read, "{len}: {}", String::from_utf8_lossy(&answer.body));
        }
    }
    until(address, "most of them gave way", |now| {
        now["bodies"]["gave_way"].as_u64() >= Some(26)
    });
    is_told(&read_answer(&mut held[0], "POST").unwrap(), 503, "no_room");
}

#[test]
fn the_memory_of_bodies_is_bounded() {
    const LEN: usize = 4 << 20;
    let server = Server::start_with(&Settings {
        environment: &[
            ("OMNIZAP_MAX_BODY_BYTES", "4194304"),
            ("OMNIZAP_MAX_HELD_BYTES", "16777216"),
        ],
        ..Settings::default()
    });
    let data = picture("lossy.webp");
    let mut client = server.client();
    assert_eq!(client.post_form("/classify", &[file(&data)]).status, 200);
    let before = server.resident();
    let almost = vec![b' '; LEN - 1];
    let mut held = Vec::new();
    for _ in 0..50 {
        let mut stream = connect(server.address).unwrap();
        let head = format!(
            "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {LEN}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&almost).unwrap();
        held.push(stream);
    }
    let grown = server.resident().saturating_sub(before);
    // The bound, and what the allocator and buffers of connections have; without it 200 MiB.
    assert!(grown < 100 << 20, "{grown}");
    assert_eq!(client.post_form("/classify", &[file(&data)]).status, 200);
}

#[test]
fn the_end_of_the_server_waits_for_no_half_request() {
    let mut server = Server::start_with(&Settings {
        environment: &[("OMNIZAP_SHUTDOWN_GRACE_MS", "6000")],
        ..Settings::default()
    });
    let mut half_body = connect(server.address).unwrap();
    half_body
        .write_all(b"POST /feedback HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        .unwrap();
    let mut half_head = connect(server.address).unwrap();
    half_head.write_all(b"GET /health HTTP/1.1\r\nHo").unwrap();
    let mut silent = connect(server.address).unwrap();
    until(server.address, "a body", |now| now["bodies"]["now"] == 1);
    server.terminate();
    is_told(
        &read_answer(&mut half_body, "POST").unwrap(),
        503,
        "shutting_down",
    );
    assert!(is_closed(&mut half_head) && is_closed(&mut silent));
    assert_eq!(server.wait(), Some(0), "{}", server.log());
}

#[test]
fn the_end_waits_for_a_body_only_while_it_comes() {
    let mut server = Server::start();
    let half = |sent: &[u8], len: usize| {
        let mut stream = connect(server.address).unwrap();
        let head = format!(
            "POST /feedback HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {len}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(sent).unwrap();
        stream
    };
    let feedback = json!({ "image_hash": "ab".repeat(32), "theme": "a" }).to_string();
    let (begun, rest) = feedback.as_bytes().split_at(feedback.len() - 12);
    let mut comes = half(begun, feedback.len());
    let mut stalls: Vec<_> = (0..8).map(|_| half(b"{", 100)).collect();
    until(server.address, "all bodies", |now| {
        now["bodies"]["now"] == 9
    });
    server.terminate();
    let (last, rest) = rest.split_last().unwrap();
    for byte in rest {
        std::thread::sleep(Duration::from_millis(250));
        comes.write_all(&[*byte]).unwrap();
    }
    // While one is waited for that comes, those that do not come are over.
    for stream in &mut stalls {
        is_told(&read_answer(stream, "POST").unwrap(), 503, "shutting_down");
    }
    comes.write_all(&[*last]).unwrap();
    assert_eq!(read_answer(&mut comes, "POST").unwrap().status, 200);
    assert_eq!(server.wait(), Some(0), "{}", server.log());
    drop(stalls);
}

#[test]
fn every_bound_can_be_set_and_is_shown() {
    let server = Server::start_with(&Settings {
        environment: &[
            ("OMNIZAP_MAX_CONNECTIONS", "11"),
            ("OMNIZAP_MAX_REQUESTS_IN_FLIGHT", "12"),
            ("OMNIZAP_MAX_COMING_BODIES", "13"),
            ("OMNIZAP_MAX_HELD_BYTES", "1000000"),
            ("OMNIZAP_MAX_STREAMS", "14"),
            ("OMNIZAP_HEAD_TIMEOUT_MS", "1000"),
            ("OMNIZAP_IDLE_TIMEOUT_MS", "60000"),
            ("OMNIZAP_WRITE_TIMEOUT_MS", "60000"),
            ("OMNIZAP_MAX_CONNECTION_AGE_MS", "60000"),
            ("OMNIZAP_ADMISSION_ALWAYS", "15"),
            ("OMNIZAP_ADMISSION_BURST", "5"),
        ],
        ..Settings::default()
    });
    let budgets = budgets(server.address);
    for (name, most) in [
        ("connections", 11),
        ("requests_in_flight", 12),
        ("bodies", 13),
        ("body_bytes", 1_000_000),
    ] {
        assert_eq!(budgets[name]["most"], most, "{name}: {budgets}");
        assert!(budgets[name]["now"].is_u64(), "{name}: {budgets}");
    }
    assert!(budgets["read_on"]["most"].is_u64(), "{budgets}");
    let admission = &budgets["admission"]["classify"];
    assert_eq!(
        (&admission["always"], &admission["burst"]),
        (&json!(15), &json!(5)),
        "{budgets}"
    );
    // A single body is not larger than all may be together.
    let mut client = server.client();
    let large = client.post_form("/classify", &[file(&vec![0; 1_100_000])]);
    assert_eq!(large.status, 413);
    assert_eq!(streams(server.address), Some(14));
    assert!(is_closed(&mut connect(server.address).unwrap()));

    for flag in [
        "--max-connections",
        "--head-timeout-ms",
        "--idle-timeout-ms",
        "--write-timeout-ms",
        "--max-connection-age-ms",
        "--max-streams",
        "--max-coming-bodies",
        "--max-held-bytes",
        "--admission-always",
    ] {
        let output = run(&["serve", flag, "0"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{flag}: {said}");
        assert!(said.contains("expected a whole number from 1"), "{said}");
    }
}

/// How many requests at one time the server says that it takes over HTTP/2.
fn streams(address: SocketAddr) -> Option<u32> {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let mut stream = connect(address).unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    let mut settings = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut settings).unwrap();
    let found = settings
        .chunks_exact(6)
        .find(|setting| u16::from_be_bytes([setting[0], setting[1]]) == MAX_CONCURRENT_STREAMS);
    found.map(|setting| u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]))
}
