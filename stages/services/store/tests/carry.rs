//! What was learned before judgements had rows of their own is carried over.

use sea_orm::ConnectionTrait;

use super::{databases, evidence, feedback, hash, image, tally};
use crate::store::connect::Target;

/// The step that makes the rows.
const STEP: &str = "judgements";

#[tokio::test]
async fn judgements_of_older_versions_count_for_the_label_that_was_first() {
    for database in databases().await {
        let store = database.store();
        let names = store.migrate().await.unwrap();
        let later = names.iter().rev().take_while(|name| !name.ends_with(STEP));
        let later = u32::try_from(later.count()).unwrap();
        store.rollback(later + 1).await.unwrap();
        fill(&database).await;
        store.migrate().await.unwrap();

        let kind = database.kind;
        let labels = ["cat", "dog", "emu"];
        let found = evidence(&store, "t", &labels, &["x", "y", "named", "unseen"]).await;
        // Of (1, 0.5, 0.5) the first has half, which is a quarter of the way from a third.
        let [cat, dog, emu] = found.labels[..] else {
            panic!("three labels");
        };
        let weight = |count: f64| (count * 0.25 * 1e9).round();
        let shares = [cat.accepted, cat.rejected].map(|share| (share * 1e9).round());
        assert_eq!(shares, [weight(6.0), weight(2.0)], "{kind}");
        // Alone, or of a name that is no hash of bytes.
        assert_eq!((dog, emu), (tally(2.0, 1.0), tally(0.0, 0.0)), "{kind}");
        let tallies = found.images.iter().map(|image| image.tally);
        let tallies: Vec<_> = tallies.collect();
        let expected = [(6.0, 2.0), (1.0, 1.0), (1.0, 0.0), (3.0, 0.0)];
        assert_eq!(tallies, expected.map(|(a, r)| tally(a, r)), "{kind}");
        assert_eq!(found.images[0].credited.len(), 1, "{kind}");

        // What was seen then is what is judged now; what was not waits as it did.
        store
            .record_feedback(&feedback("y", "t", true))
            .await
            .unwrap();
        store
            .remember(image("unseen", &[1.0], &[("emu", 1.0), ("cat", 0.0)]))
            .await
            .unwrap();
        let found = evidence(&store, "t", &labels, &[]).await;
        assert_eq!(found.labels[1], tally(3.0, 1.0), "{kind}");
        assert_eq!(found.labels[2], tally(3.0, 0.0), "{kind}");
        // The bytes that go by a name have what was said of it.
        let asked = crate::store::Asked {
            image_hash: &hash("bytes"),
            content_hash: Some(&hash("bytes")),
        };
        let of_bytes = store
            .theme_evidence("t", &[], &[asked], crate::store::limits::READ)
            .await
            .unwrap();
        assert_eq!(of_bytes.images[0].tally, tally(1.0, 0.0), "{kind}");
        store.close().await;
        database.drop().await;
    }
}

/// Rows as the version before wrote them.
async fn fill(database: &super::Fixture) {
    let target = Target::of(&database.config).unwrap();
    let db = target.open(1).await.unwrap();
    let yes = match database.kind {
        "postgres" => ["true", "false"],
        _ => ["1", "0"],
    };
    for (name, verified, labels) in [
        ("x", yes[0], r#"[["Cat",1.0],["dog",0.5],["emu",0.5]]"#),
        ("y", yes[0], r#"[["dog",1.0]]"#),
        ("named", yes[1], r#"[["dog",1.0]]"#),
        ("broken", yes[0], "{]"),
    ] {
        let sql = format!(
            "INSERT INTO omnizap_image_labels (image_hash, verified, labels_json) \
             VALUES ('{}', {verified}, '{labels}')",
            hash(name)
        );
        db.execute_unprepared(&sql).await.unwrap();
    }
    for (name, accepted, total, credited) in [
        ("x", 6, 8, true),
        ("y", 1, 2, true),
        ("named", 1, 1, true),
        ("broken", 1, 1, true),
        ("unseen", 3, 3, false),
    ] {
        let (done_accepted, done) = if credited { (accepted, total) } else { (0, 0) };
        let sql = format!(
            "INSERT INTO clip_image_theme_feedback (image_hash, theme, acceptance_count, \
             total_assignments, credited_accepted, credited_total) \
             VALUES ('{}', 't', {accepted}, {total}, {done_accepted}, {done})",
            hash(name)
        );
        db.execute_unprepared(&sql).await.unwrap();
    }
    for label in ["cat", "dog"] {
        let sql = format!(
            "INSERT INTO omnizap_theme_labels (theme, label_key, label, accepted, rejected) \
             VALUES ('t', '{}', '{label}', 9, 9)",
            hash(label)
        );
        db.execute_unprepared(&sql).await.unwrap();
    }
    let vector = match database.kind {
        "postgres" => "'\\x0000803f'",
        _ => "x'0000803f'",
    };
    let sql = format!(
        "INSERT INTO clip_image_embedding_cache (image_hash, content_hash, model_name, \
         embedding_dim, embedding) VALUES ('{}', '{}', 'm@1', 1, {vector})",
        hash("named"),
        hash("bytes")
    );
    db.execute_unprepared(&sql).await.unwrap();
    db.close().await.unwrap();
}
