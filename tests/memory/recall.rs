//! A picture that was seen before is neither decoded nor embedded nor checked for nsfw again,
//! and its answer is the same.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::Value as Json;

use super::{classify, counter, ran_and_skipped};
use crate::support::database::{Data, Kind, not_tested};
use crate::support::program::{Server, Settings, picture, root};

/// An answer without what grows from one request to the next.
fn stable(mut answer: Json) -> Json {
    answer.as_object_mut().unwrap().remove("similar_images");
    answer
}

/// Pictures that the nsfw model should have looked at: none where the set does not ask it.
fn looks(pipelines: &str, count: u64) -> Option<u64> {
    (pipelines == "pipelines").then_some(count)
}

#[test]
fn a_picture_seen_before_is_not_decoded_and_its_answer_is_the_same() {
    for pipelines in ["pipelines", "pipelines/compat"] {
        let data = Arc::new(Data::new());
        let folder = root().join(pipelines);
        let start = |environment| {
            Server::start_with(&Settings {
                pipelines: Some(&folder),
                environment,
                data: Some(data.clone()),
            })
        };
        let names = ["palette_transparent.png", "lossy.webp", "cmyk.jpg"];
        let pictures = names.map(picture);
        let ask = |server: &Server| {
            // Else `similar_complete` tells that it is not.
            server.ready();
            let mut client = server.client();
            pictures
                .each_ref()
                .map(|picture| stable(classify(&mut client, picture, &[])))
        };
        let computed = {
            let server = start(&[]);
            let computed = ask(&server);
            server.settle();
            assert_eq!(ran_and_skipped(&server, "embed"), (3, 0));
            assert_eq!(counter(&server, "nsfw", "computed"), looks(pipelines, 3));
            computed
        };
        // Another start, so that nothing can come from memory.
        let server = start(&[]);
        assert_eq!(ask(&server), computed, "{pipelines}");
        for stage in ["decode", "embed"] {
            assert_eq!(ran_and_skipped(&server, stage), (0, 3), "{stage}");
        }
        assert_eq!(counter(&server, "nsfw", "computed"), looks(pipelines, 0));
        assert_eq!(computed[0]["device"], "cpu");
        drop(server);

        let without = start(&[("ENABLE_EMBEDDING_CACHE", "false")]);
        assert_eq!(ask(&without), computed, "{pipelines}");
        for stage in ["decode", "embed"] {
            assert_eq!(ran_and_skipped(&without, stage), (3, 0), "{stage}");
        }
        assert_eq!(counter(&without, "nsfw", "computed"), looks(pipelines, 3));
    }
}

#[test]
fn pictures_that_were_prepared_otherwise_are_not_recalled() {
    let data = Arc::new(Data::new());
    // Transparent pixels: the sets give them different colours.
    let image = picture("palette_transparent.png");
    let mut answers = Vec::new();
    for pipelines in ["pipelines", "pipelines/compat"] {
        let folder = root().join(pipelines);
        let server = Server::start_with(&Settings {
            pipelines: Some(&folder),
            environment: &[],
            data: Some(data.clone()),
        });
        answers.push(classify(&mut server.client(), &image, &[])["raw_logits"].clone());
        server.settle();
        assert_eq!(ran_and_skipped(&server, "embed"), (1, 0), "{pipelines}");
    }
    assert_ne!(answers[0], answers[1]);
}

#[test]
fn only_what_is_missing_is_computed() {
    let data = Arc::new(Data::new());
    let image = picture("lossy.webp");
    // A server of this mode sees the picture: how often it decodes, embeds and checks it.
    let ask = |mode| {
        let server = Server::start_with(&Settings {
            environment: &[("NSFW_MODE", mode)],
            data: Some(data.clone()),
            ..Settings::default()
        });
        let answer = classify(&mut server.client(), &image, &[]);
        server.settle();
        let ran = |stage| ran_and_skipped(&server, stage).0;
        let computed = counter(&server, "nsfw", "computed");
        (answer, [ran("decode"), ran("embed")], computed)
    };
    // In another mode the picture is kept without its classes, as older versions kept it.
    let (answer, ran, computed) = ask("label");
    assert_eq!((ran, computed), ([1, 1], None));
    assert_eq!(answer.get("nsfw_classes"), None);
    // The classes are missing: decoded for them alone.
    let (first, ran, computed) = ask("model");
    assert_eq!((ran, computed), ([1, 0], Some(1)));
    assert!(first["nsfw_classes"].is_object(), "{first}");
    // Nothing is missing, in any mode.
    let (again, ran, computed) = ask("model");
    assert_eq!((ran, computed), ([0, 0], Some(0)));
    assert_eq!(again["nsfw_classes"], first["nsfw_classes"]);
    for mode in ["contrast", "label"] {
        let (_, ran, computed) = ask(mode);
        assert_eq!((ran, computed), ([0, 0], None), "{mode}");
    }
    // The embedding is missing: the classes are not computed again.
    data.execute("DELETE FROM clip_image_embedding_cache");
    let (other, ran, computed) = ask("model");
    assert_eq!((ran, computed), ([1, 1], Some(0)));
    assert_eq!(other["nsfw_classes"], first["nsfw_classes"]);
}

/// Holds the write lock of SQLite until it is let go.
fn hold(data: &Data, until: &Receiver<()>, held: &Sender<()>) {
    let url = format!("sqlite://{}", data.folder().join("omnizap.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let db = sea_orm::Database::connect(url).await.unwrap();
        let holding = db.begin().await.unwrap();
        let sql = "UPDATE seaql_migrations SET applied_at = applied_at + 1";
        holding.execute_unprepared(sql).await.unwrap();
        held.send(()).unwrap();
        // Also where the test fails.
        let _ = until.recv();
        holding.rollback().await.unwrap();
        db.close().await.unwrap();
    });
}

#[test]
fn pictures_that_come_again_take_no_place_of_new_ones_that_wait() {
    const AGAIN: usize = 10;
    const NEW: u8 = 20;
    if Kind::of_the_suite() != Kind::Sqlite {
        not_tested("a queue that waits for a lock, but SQLite's");
        return;
    }
    let server = Server::start();
    server.ready();
    let mut client = server.client();
    let seen = ["lossy.webp", "cmyk.jpg", "plain.gif"].map(picture);
    let fields = [("labels", "a cat,a dog")];
    for image in &seen {
        classify(&mut client, image, &fields);
        server.settle();
    }
    let embedded = ran_and_skipped(&server, "embed").0;
    let (held, is_held) = channel();
    let (let_go, until) = channel::<()>();
    std::thread::scope(|scope| {
        let data = server.data();
        scope.spawn(move || hold(data, &until, &held));
        // It goes with the scope, also where the test fails.
        let let_go = let_go;
        is_held.recv().unwrap();
        for _ in 0..AGAIN {
            for image in &seen {
                classify(&mut client, image, &fields);
            }
        }
        let mut new = picture("pixel.png");
        for number in 0..NEW {
            new.push(number);
            classify(&mut client, &new, &fields);
        }
        let health = client.get("/health").json();
        assert_eq!(health["images_waiting"], NEW, "{health}");
        assert_eq!(health["images_dropped"], 0, "{health}");
        drop(let_go);
    });
    server.settle();
    assert_eq!(
        ran_and_skipped(&server, "embed").0,
        embedded + u64::from(NEW),
        "what is stored can be read all the while"
    );
    let [images] = server
        .data()
        .numbers("SELECT COUNT(*) FROM clip_image_embedding_cache");
    assert_eq!(images, seen.len() as i64 + i64::from(NEW));
}
