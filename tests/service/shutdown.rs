//! SIGTERM under load: what was begun is answered.

use std::time::{Duration, Instant};

use super::answers::file;
use crate::support::program::{Server, picture};

#[test]
fn sigterm_loses_no_answer_that_was_begun() {
    const CLIENTS: usize = 32;
    let mut server = Server::start();
    let data = picture("baseline_420.jpg");
    let address = server.address;
    let begun_before = begun(&server);
    let answers = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let data = &data;
                scope.spawn(move || {
                    let mut client = crate::support::http::Client::new(address);
                    client.try_post_form("/classify", &[file(data)])
                })
            })
            .collect();
        // All of them are in the pipeline, few of them are answered.
        let deadline = Instant::now() + Duration::from_secs(30);
        while begun(&server) < begun_before + CLIENTS as u64 {
            assert!(Instant::now() < deadline, "the requests did not arrive");
            std::thread::sleep(Duration::from_millis(1));
        }
        server.terminate();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect::<Vec<_>>()
    });
    for answer in answers {
        assert_eq!(answer.expect("the answer was lost").status, 200);
    }
    assert_eq!(server.wait(), Some(0), "{}", server.log());
    assert!(
        std::net::TcpStream::connect(address).is_err(),
        "nothing listens any more"
    );
}

/// How many requests the first stage of the pipeline has seen.
fn begun(server: &Server) -> u64 {
    let pipelines = server.client().get("/pipelines").json();
    let classify = pipelines["pipelines"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["pipeline"] == "classify");
    classify.unwrap()["stages"][0]["counters"]["ran"]
        .as_u64()
        .unwrap()
}

#[test]
fn a_reload_swaps_the_pipelines_and_a_mistake_changes_nothing() {
    let folder = tempfile::TempDir::new().unwrap();
    let toml =
        std::fs::read_to_string(crate::support::program::root().join("pipelines/classify.toml"))
            .unwrap();
    let path = folder.path().join("classify.toml");
    std::fs::write(&path, &toml).unwrap();
    let server = Server::start_with(&crate::support::program::Settings {
        pipelines: Some(folder.path()),
        environment: &[("CLIP_TOP_K", "2")],
        ..Default::default()
    });
    let top_k = || server.client().get("/labels").json()["top_k"].clone();
    assert_eq!(top_k(), 2);
    std::fs::write(&path, toml.replace("uses = \"decode\"", "uses = \"decod\"")).unwrap();
    server.signal("HUP");
    wait_for(|| server.log().contains("nothing reloaded"));
    assert_eq!(top_k(), 2);
    std::fs::write(&path, toml.replace("${CLIP_TOP_K:-5}", "3")).unwrap();
    server.signal("HUP");
    wait_for(|| top_k() == 3);
}

fn wait_for(happened: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !happened() {
        assert!(Instant::now() < deadline, "it never happened");
        std::thread::sleep(Duration::from_millis(10));
    }
}
