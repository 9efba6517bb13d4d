//! What people change beside the program and change back: rights, tables, and themes that were
//! written in another case.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection};

use super::{Fixture, databases, evidence, feedback, hash, image, tally, until};
use crate::store::connect::Target;
use crate::store::{Store, StoreError};

const PATIENCE: Duration = Duration::from_secs(30);

async fn rate(store: &Store, theme: &str) -> Result<(), StoreError> {
    store.record_feedback(&feedback("x", theme, true)).await
}

async fn by_hand(database: &Fixture) -> DatabaseConnection {
    Target::of(&database.config).unwrap().open(1).await.unwrap()
}

/// A connection of MySQL and MariaDB keeps the rights with which it was opened.
#[tokio::test]
async fn rights_that_come_back_are_used_without_a_restart() {
    let Some(mut database) = Fixture::server("mysql", "OMNIZAP_TEST_MYSQL_URL").await else {
        return;
    };
    let url = database.config.url.take().unwrap();
    let (admin, name) = database.admin.as_ref().unwrap();
    let user = format!("r{}", &name[name.len() - 16..]);
    let run = async |sql: String| admin.execute_unprepared(&sql).await.map(drop);
    run(format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'secret'"))
        .await
        .unwrap();
    let grant = format!("GRANT ALL ON {name}.* TO '{user}'@'%'");
    run(grant.clone()).await.unwrap();
    let (_, host) = url.split_once('@').unwrap();
    database.config.url = Some(format!("mysql://{user}:secret@{host}"));

    let store = database.store();
    rate(&store, "t").await.unwrap();
    run(format!(
        "REVOKE INSERT, UPDATE ON {name}.* FROM '{user}'@'%'"
    ))
    .await
    .unwrap();
    // Those of before go on with what they had.
    let end = format!(
        "SELECT GROUP_CONCAT(CONCAT('KILL ', id) SEPARATOR ';') FROM \
         information_schema.PROCESSLIST WHERE user = '{user}'"
    );
    let backend = admin.get_database_backend();
    let row = admin
        .query_one_raw(sea_orm::Statement::from_string(backend, end))
        .await
        .unwrap()
        .unwrap();
    let kills: Option<String> = row.try_get_by_index(0).unwrap();
    for kill in kills
        .unwrap_or_default()
        .split(';')
        .filter(|kill| !kill.is_empty())
    {
        // It may just have ended.
        let _ = run(kill.to_owned()).await;
    }
    until("being refused", PATIENCE, async || {
        rate(&store, "t").await.is_err()
    })
    .await;
    for _ in 0..8 {
        assert!(rate(&store, "t").await.is_err());
        assert!(store.degraded().is_some());
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    run(grant).await.unwrap();
    until("writing again", PATIENCE, async || {
        rate(&store, "t").await.is_ok()
    })
    .await;
    until("being well", PATIENCE, async || store.degraded().is_none()).await;
    for _ in 0..20 {
        rate(&store, "t").await.unwrap();
    }
    store.close().await;
    run(format!("DROP USER '{user}'@'%'")).await.unwrap();
    database.config.url = Some(url);
    database.drop().await;
}

#[tokio::test]
async fn a_table_that_somebody_dropped_is_told_as_that_all_along() {
    const TABLE: &str = "clip_image_theme_feedback";
    for database in databases().await {
        let store = database.store();
        rate(&store, "t").await.unwrap();
        let hand = by_hand(&database).await;
        hand.execute_unprepared(&format!("DROP TABLE {TABLE}"))
            .await
            .unwrap();
        assert!(rate(&store, "t").await.is_err(), "{}", database.kind);
        let is_told = async || {
            let said = store.degraded().unwrap_or_default();
            said.contains("does not pass by itself")
        };
        until("being told", PATIENCE, is_told).await;
        for _ in 0..12 {
            assert!(rate(&store, "t").await.is_err(), "{}", database.kind);
            assert!(is_told().await, "{}: {:?}", database.kind, store.degraded());
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let other = database.store();
        let error = rate(&other, "t").await.unwrap_err();
        assert!(error.lasts(), "{error}");
        let said = error.to_string();
        for word in [TABLE, "m20261122_000004_feedback", "seaql_migrations"] {
            assert!(said.contains(word), "{said}");
        }
        other.close().await;

        // As it says.
        let sql = "DELETE FROM seaql_migrations WHERE version >= 'm20261122_000004_feedback'";
        hand.execute_unprepared(sql).await.unwrap();
        until("making it", PATIENCE, async || {
            rate(&store, "t").await.is_ok()
        })
        .await;
        until("being well", PATIENCE, async || store.degraded().is_none()).await;
        let found = evidence(&store, "t", &[], &["x"]).await;
        assert_eq!(found.images[0].tally, tally(1.0, 0.0), "{}", database.kind);
        hand.close().await.unwrap();
        store.close().await;
        database.drop().await;
    }
}

/// Every step applied again makes what is missing, and takes nothing from what is there.
#[tokio::test]
async fn steps_that_are_applied_again_lose_nothing() {
    for database in databases().await {
        let store = database.store();
        store
            .remember(image("x", &[1.0], &[("cat", 1.0), ("dog", 0.0)]))
            .await
            .unwrap();
        rate(&store, "t").await.unwrap();
        let hand = by_hand(&database).await;
        for sql in [
            "DELETE FROM seaql_migrations",
            "DROP TABLE clip_image_embedding_cache",
        ] {
            hand.execute_unprepared(sql).await.unwrap();
        }
        assert!(!store.migrate().await.unwrap().is_empty());
        let found = evidence(&store, "t", &["cat"], &["x"]).await;
        assert_eq!(found.labels, [tally(1.0, 0.0)], "{}", database.kind);
        assert_eq!(found.images[0].tally, tally(1.0, 0.0), "{}", database.kind);
        hand.close().await.unwrap();
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn themes_that_were_written_in_another_case_become_one() {
    for database in databases().await {
        let kind = database.kind;
        let store = database.store();
        let target = Target::of(&database.config).unwrap();
        for name in ["x", "y"] {
            store
                .remember(image(name, &[1.0], &[("cat", 1.0), ("dog", 0.0)]))
                .await
                .unwrap();
        }
        for number in 0..60 {
            let theme = ["Ação", " AÇÃO", "ação"][number % 3];
            let name = ["x", "y", "z"][number / 3 % 3];
            let mut judged = feedback(name, theme, number % 2 == 0);
            if number % 5 == 0 {
                judged.label = Some("cat".into());
            }
            store.record_feedback(&judged).await.unwrap();
        }
        let hand = by_hand(&database).await;
        // More than are folded at once.
        let rows =
            (0..600).map(|number| format!("('{}', 'Party', 1, 1)", hash(&number.to_string())));
        let rows = rows.collect::<Vec<_>>().join(", ");
        let insert = "INSERT INTO clip_image_theme_feedback \
                      (image_hash, theme, acceptance_count, total_assignments) VALUES";
        hand.execute_unprepared(&format!("{insert} {rows}"))
            .await
            .unwrap();
        let long = "İ".repeat(100);
        rate(&store, &long).await.unwrap();
        let sums = async |theme: &str| {
            let found = evidence(&store, theme, &["cat"], &["x", "y", "z", "7"]).await;
            let images = found.images.iter().fold(tally(0.0, 0.0), |sum, image| {
                let it = image.tally;
                tally(sum.accepted + it.accepted, sum.rejected + it.rejected)
            });
            (found.labels[0], images)
        };
        let mut before = (tally(0.0, 0.0), tally(0.0, 0.0));
        for theme in ["Ação", " AÇÃO", "ação"] {
            let (label, images) = sums(theme).await;
            for (sum, more) in [(&mut before.0, label), (&mut before.1, images)] {
                sum.accepted += more.accepted;
                sum.rejected += more.rejected;
            }
        }
        assert_eq!(before.1, tally(30.0, 30.0), "{kind}");

        // As they are in a database of a former version.
        let sql = "DELETE FROM seaql_migrations WHERE version >= 'm20261126_000009_themes'";
        hand.execute_unprepared(sql).await.unwrap();
        hand.execute_unprepared("UPDATE omnizap_looks SET theme = 'Party'")
            .await
            .unwrap();
        let applied = target.migrate().await.unwrap();
        assert!(
            applied.iter().any(|step| step.ends_with("themes")),
            "{applied:?}"
        );

        let (label, images) = sums("ação").await;
        assert_eq!(images, before.1, "{kind}");
        assert!((label.accepted - before.0.accepted).abs() < 1e-9, "{kind}");
        assert!((label.rejected - before.0.rejected).abs() < 1e-9, "{kind}");
        assert_eq!(sums("party").await.1, tally(1.0, 0.0), "{kind}");
        for theme in ["Ação", " AÇÃO", "Party"] {
            assert_eq!(
                sums(theme).await,
                (tally(0.0, 0.0), tally(0.0, 0.0)),
                "{kind}"
            );
        }
        // One that has no room once it is folded stays.
        assert_eq!(sums(&long).await.1, tally(1.0, 0.0), "{kind}");
        let count = async |sql: &str| {
            let statement = sea_orm::Statement::from_string(hand.get_database_backend(), sql);
            let row = hand.query_one_raw(statement).await.unwrap().unwrap();
            row.try_get_by_index::<i64>(0).unwrap()
        };
        let looks = "SELECT COUNT(*) FROM omnizap_looks WHERE theme = 'party'";
        assert_eq!(count(looks).await, 2, "{kind}");
        let rows = format!(
            "SELECT COUNT(*) FROM clip_image_theme_feedback WHERE image_hash = '{}'",
            hash("x")
        );
        assert_eq!(count(&rows).await, 2, "{kind}");
        // A second time there is nothing to do.
        hand.execute_unprepared(sql).await.unwrap();
        target.migrate().await.unwrap();
        assert_eq!(sums("ação").await.1, before.1, "{kind}");
        hand.close().await.unwrap();
        store.close().await;
        database.drop().await;
    }
}
