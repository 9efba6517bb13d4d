//! `pull` against a hub of our own that breaks connections, sends wrong bytes and says no.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use omnizap_contract::common::digest::Sha256Hex;
use omnizap_models::hub::{Hub, PullError, pull};
use omnizap_models::{Cache, Preset};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the hub does wrong, and what it was asked.
#[derive(Default)]
struct Behaviour {
    /// Connections to break, and after how many bytes of content.
    breaks: Vec<usize>,
    /// Break every connection at once.
    always_breaks: bool,
    /// Send one wrong byte, once.
    wrong_byte: bool,
    /// Ignore `Range`.
    no_ranges: bool,
    /// Answer this instead of anything else.
    status: Option<&'static str>,
    /// The files whose names contain this do not exist.
    missing: Option<&'static str>,
    /// First byte asked for by each request for content.
    asked: Vec<usize>,
    /// Paths whose description was asked for.
    resolved: Vec<String>,
    /// `Authorization` headers seen.
    tokens: Vec<String>,
}

struct FakeHub {
    endpoint: String,
    behaviour: Arc<Mutex<Behaviour>>,
    content: Arc<Vec<u8>>,
}

impl FakeHub {
    fn start(behaviour: Behaviour) -> Self {
        let content: Vec<u8> = (0..3_000_000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hub = Self {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            behaviour: Arc::new(Mutex::new(behaviour)),
            content: Arc::new(content),
        };
        let (behaviour, content) = (Arc::clone(&hub.behaviour), Arc::clone(&hub.content));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (behaviour, content) = (Arc::clone(&behaviour), Arc::clone(&content));
                std::thread::spawn(move || answer(stream, &behaviour, &content));
            }
        });
        hub
    }

    fn hub(&self) -> Hub {
        Hub::at(&self.endpoint).with_patience(Duration::from_millis(1))
    }
}

/// Answers one request and closes.
fn answer(mut stream: TcpStream, behaviour: &Mutex<Behaviour>, content: &[u8]) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let request = lines.next()?.ok()?;
    let headers: Vec<String> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let header = |name: &str| {
        headers.iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let path = request.split(' ').nth(1)?;
    let mut behaviour = behaviour.lock().unwrap();
    behaviour.tokens.extend(header("authorization"));
    let mut head = |status: &str, more: &str| {
        write!(
            stream,
            "HTTP/1.1 {status}\r\nConnection: close\r\n{more}\r\n"
        )
        .ok()
    };
    if let Some(status) = behaviour.status {
        return head(status, "Content-Length: 0\r\n");
    }
    let missing = behaviour.missing;
    if missing.is_some_and(|name| request.contains(name)) {
        return head("404 Not Found", "Content-Length: 0\r\n");
    }
    if request.contains("/resolve/") {
        if request.starts_with("HEAD") {
            behaviour.resolved.push(path.to_owned());
        }
        let file = path.rsplit('/').next()?;
        let content = content_of(file, content);
        let hash = Sha256Hex::of(content);
        let more = format!(
            "Location: /content/{file}\r\nX-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{hash}\"\r\nX-Linked-Size: {}\r\nContent-Length: 0\r\n",
            content.len()
        );
        return head("302 Found", &more);
    }
    let content = content_of(path, content);
    let range = header("range").filter(|_| !behaviour.no_ranges);
    let (first, last) = match &range {
        Some(range) => {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            (
                first.parse().ok()?,
                last.parse::<usize>().ok()?.min(content.len() - 1),
            )
        }
        None => (0, content.len() - 1),
    };
    behaviour.asked.push(first);
    let mut body = content[first..=last].to_vec();
    if behaviour.wrong_byte {
        behaviour.wrong_byte = false;
        let middle = body.len() / 2;
        body[middle] ^= 1;
    }
    let mut more = format!("Content-Length: {}\r\n", body.len());
    if range.is_some() {
        more += &format!("Content-Range: bytes {first}-{last}/{}\r\n", content.len());
    }
    head(
        if range.is_some() {
            "206 Partial Content"
        } else {
            "200 OK"
        },
        &more,
    )?;
    if behaviour.always_breaks {
        body.clear();
    } else if !behaviour.breaks.is_empty() {
        body.truncate(behaviour.breaks.remove(0));
    }
    drop(behaviour);
    stream.write_all(&body).ok()
}

/// What lies beside the weights is shorter, the longer its name the more.
fn content_of<'a>(path: &str, content: &'a [u8]) -> &'a [u8] {
    let file = path.rsplit('/').next().unwrap_or(path);
    match file.ends_with(".json") {
        true => &content[file.len()..][..1000],
        false => content,
    }
}

fn preset() -> &'static Preset {
    Preset::find("MobileCLIP-S1").unwrap()
}

#[test]
fn a_connection_that_breaks_twice_is_resumed() {
    let fake = FakeHub::start(Behaviour {
        breaks: vec![1_000_000, 500_000],
        ..Default::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    let mut seen = Vec::new();
    let weights = preset().default_weights();
    let path = pull(&fake.hub(), &cache, preset(), weights, &mut |progress| {
        seen.push((progress.done, progress.total))
    })
    .unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), *fake.content);
    assert_eq!(
        fake.behaviour.lock().unwrap().asked,
        [0, 1_000_000, 1_500_000]
    );
    assert!(
        seen.windows(2).all(|pair| pair[0].0 <= pair[1].0),
        "progress went back"
    );
    assert_eq!(seen.last(), Some(&(3_000_000, 3_000_000)));
    // Where the Python tools look for it, and where we do.
    let repository = folder.path().join("models--apple--MobileCLIP-S1-OpenCLIP");
    assert_eq!(
        path,
        repository
            .join("snapshots")
            .join(COMMIT)
            .join("open_clip_model.safetensors")
    );
    assert_eq!(
        std::fs::read_to_string(repository.join("refs/main")).unwrap(),
        COMMIT
    );
    assert_eq!(cache.find(weights), Some(path));
    // Nothing is fetched twice.
    pull(&fake.hub(), &cache, preset(), weights, &mut |_| {}).unwrap();
    assert_eq!(fake.behaviour.lock().unwrap().asked.len(), 3);
}

#[test]
fn a_wrong_byte_is_refused() {
    let fake = FakeHub::start(Behaviour {
        wrong_byte: true,
        ..Default::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    let weights = preset().default_weights();
    let error = pull(&fake.hub(), &cache, preset(), weights, &mut |_| {}).unwrap_err();
    assert!(
        matches!(error, PullError::WrongChecksum { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("SHA-256"), "{error}");
    assert_eq!(cache.find(weights), None);
    let blobs = folder
        .path()
        .join("models--apple--MobileCLIP-S1-OpenCLIP/blobs");
    assert_eq!(
        std::fs::read_dir(blobs).unwrap().count(),
        0,
        "what is wrong should not be kept"
    );
    let path = pull(&fake.hub(), &cache, preset(), weights, &mut |_| {}).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), *fake.content);
}

#[test]
fn what_was_begun_is_gone_on_with_later() {
    let fake = FakeHub::start(Behaviour {
        breaks: vec![1_234_567],
        always_breaks: false,
        ..Default::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    let weights = preset().default_weights();
    let mut first = true;
    let error = pull(&fake.hub(), &cache, preset(), weights, &mut |progress| {
        // As soon as something has arrived the hub is gone.
        if first && progress.done > 0 {
            first = false;
            let behaviour = Arc::clone(&fake.behaviour);
            std::thread::spawn(move || behaviour.lock().unwrap().always_breaks = true);
            std::thread::sleep(Duration::from_millis(100));
        }
    })
    .unwrap_err();
    assert!(
        matches!(
            error,
            PullError::Interrupted {
                done: 1_234_567,
                total: 3_000_000,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(cache.find(weights), None);
    fake.behaviour.lock().unwrap().always_breaks = false;
    let path = pull(&fake.hub(), &cache, preset(), weights, &mut |_| {}).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), *fake.content);
    assert_eq!(
        fake.behaviour.lock().unwrap().asked.last(),
        Some(&1_234_567)
    );
}

#[test]
fn a_server_without_ranges_starts_again() {
    let fake = FakeHub::start(Behaviour {
        breaks: vec![2_000_000],
        no_ranges: true,
        ..Default::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let path = pull(
        &fake.hub(),
        &Cache::at(folder.path()),
        preset(),
        preset().default_weights(),
        &mut |_| {},
    )
    .unwrap();
    assert_eq!(std::fs::read(path).unwrap(), *fake.content);
}

#[test]
fn the_other_file_is_taken_when_the_first_is_not_there() {
    let fake = FakeHub::start(Behaviour {
        missing: Some("safetensors"),
        ..Default::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let path = pull(
        &fake.hub(),
        &Cache::at(folder.path()),
        preset(),
        preset().default_weights(),
        &mut |_| {},
    )
    .unwrap();
    assert_eq!(path.file_name().unwrap(), "open_clip_pytorch_model.bin");
}

#[test]
fn what_belongs_beside_the_weights_comes_with_them() {
    for (name, beside) in [
        ("ViT-B-16-SigLIP2", "tokenizer.json"),
        ("TinyCLIP-ViT-40M-32-Text-19M", "config.json"),
    ] {
        let fake = FakeHub::start(Behaviour::default());
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let preset = Preset::find(name).unwrap();
        let weights = preset.default_weights();
        let path = pull(&fake.hub(), &cache, preset, weights, &mut |_| {}).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), *fake.content);
        assert_eq!(
            std::fs::read(path.with_file_name(beside)).unwrap(),
            content_of(beside, &fake.content)
        );
        // Of the revision that the weights are of, whatever has become of `main` since.
        let repository = weights.repository;
        let file = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(
            fake.behaviour.lock().unwrap().resolved,
            [
                format!("/{repository}/resolve/main/{file}"),
                format!("/{repository}/resolve/{COMMIT}/{beside}"),
            ]
        );
        assert_eq!(cache.find(weights), Some(path));
    }
}

#[test]
fn without_what_belongs_beside_them_there_are_no_weights() {
    let fake = FakeHub::start(Behaviour {
        missing: Some("tokenizer.json"),
        ..Default::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    let preset = Preset::find("ViT-B-16-SigLIP2").unwrap();
    let weights = preset.default_weights();
    let error = pull(&fake.hub(), &cache, preset, weights, &mut |_| {}).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("timm/ViT-B-16-SigLIP2 has none of tokenizer.json"),
        "{error}"
    );
    assert_eq!(cache.find(weights), None);
}

#[test]
fn a_refusal_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    for (status, wanted) in [
        (
            "401 Unauthorized",
            "accept its licence on the hub and set HF_TOKEN",
        ),
        (
            "404 Not Found",
            "has none of open_clip_model.safetensors, open_clip_pytorch_model.bin",
        ),
        ("500 Internal Server Error", "500"),
    ] {
        let fake = FakeHub::start(Behaviour {
            status: Some(status),
            ..Default::default()
        });
        let error = pull(
            &fake.hub(),
            &cache,
            preset(),
            preset().default_weights(),
            &mut |_| {},
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains(wanted), "{status}: {error}");
    }
    // Nobody listens at this address any more.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = pull(
        &Hub::at(&format!("http://{free}")),
        &cache,
        preset(),
        preset().default_weights(),
        &mut |_| {},
    )
    .unwrap_err();
    assert!(matches!(error, PullError::Unreachable { .. }), "{error:?}");
    assert!(
        error.to_string().contains("set HF_ENDPOINT to a mirror"),
        "{error}"
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing should be left behind"
    );
}
