//! Similar images over a database, beside brute force: half of the rows are those of the
//! Python service. `OMNIZAP_SIMILARITY_ROWS=20000,200000` asks more of it, with vectors as
//! long as the model's: `OMNIZAP_SIMILARITY_DIM=520`.

use std::time::{Duration, Instant};

use sea_orm::{ActiveValue, EntityTrait};

use super::{databases, hash, until};
use crate::store::connect::Target;
use crate::store::image_embedding::{ActiveModel, Entity};
use crate::store::vector::to_bytes;
use crate::store::{Store, StoreConfig};
use crate::vectors::{Hit, IndexConfig, Kept, Query};

/// Rows of the usual runs.
const ROWS: [usize; 5] = [500, 1_500, 2_100, 3_000, 5_000];
const LIMITS: [usize; 4] = [0, 1, 500, 3_000];
const QUESTIONS: usize = 100;
/// Rows a statement: PostgreSQL takes 65,535 values, SQLite 32,766.
const STATEMENT_ROWS: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(600);

fn numbers(variable: &str, default: &[usize]) -> Vec<usize> {
    let Ok(set) = std::env::var(variable) else {
        return default.to_vec();
    };
    let numbers = set.split(',').map(|number| number.trim().parse());
    numbers.map(|number| number.expect(variable)).collect()
}

/// Vectors of length 1 in clusters of uneven sizes.
fn clustered(rows: usize, dim: usize) -> Vec<Vec<f32>> {
    let mut random = fastrand::Rng::with_seed(61);
    let mut normal = || (0..4).map(|_| random.f32() - 0.5).sum::<f32>();
    let clusters = (rows / 20).clamp(20, 2_000);
    let centres: Vec<Vec<f32>> = (0..clusters)
        .map(|_| (0..dim).map(|_| normal()).collect())
        .collect();
    let mut choice = fastrand::Rng::with_seed(62);
    let mut place = || {
        let number = choice.f32();
        ((number * number) * clusters as f32) as usize
    };
    (0..rows)
        .map(|_| {
            let noisy = centres[place()].iter().map(|x| x + 0.4 * normal());
            let vector: Vec<f32> = noisy.collect();
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vector.iter().map(|x| x / length).collect()
        })
        .collect()
}

/// Every second row is one of the Python service.
fn row(number: usize, vector: &[f32]) -> ActiveModel {
    let name = hash(&number.to_string());
    let is_adopted = number.is_multiple_of(2);
    ActiveModel {
        id: ActiveValue::NotSet,
        image_hash: ActiveValue::Set(name.clone()),
        content_hash: ActiveValue::Set((!is_adopted).then_some(name)),
        asset_id: ActiveValue::Set(None),
        model_name: ActiveValue::Set(if is_adopted { "m" } else { "m@1" }.into()),
        embedding_dim: ActiveValue::Set(vector.len() as i32),
        embedding: ActiveValue::Set(to_bytes(vector)),
    }
}

/// How like every row is to a question, to six decimals.
fn similarities(rows: &[Vec<f32>], question: &[f32]) -> Vec<f64> {
    let cosine = |row: &Vec<f32>| {
        let pairs = row.iter().zip(question);
        pairs
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>()
    };
    let rows = rows.iter();
    rows.map(|row| (cosine(row) * 1e6).round() / 1e6).collect()
}

/// The best of the newest rows by plain comparison: names, and how like they are.
fn brute(all: &[f64], threshold: f64, limit: usize, newest: usize) -> Vec<(String, f64)> {
    let rows = all.iter().copied().enumerate().rev().take(newest);
    let mut best: Vec<_> = rows
        .filter(|(_, similarity)| *similarity >= threshold)
        .collect();
    let order = |a: &(usize, f64), b: &(usize, f64)| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0));
    if best.len() > limit {
        best.select_nth_unstable_by(limit, order);
        best.truncate(limit);
    }
    best.sort_by(order);
    let named = best.into_iter();
    named
        .map(|(number, similarity)| (hash(&number.to_string()), similarity))
        .collect()
}

/// The answer of a database that is there: on a machine that has too much to do it may be late, and
/// is asked again.
async fn exact(store: &Store, query: Query) -> Vec<Hit> {
    let begun = Instant::now();
    loop {
        let similar = store.similar_images(query.clone()).await;
        if similar.is_exact {
            return similar.images;
        }
        assert!(begun.elapsed() < PATIENCE, "estimates only");
    }
}

#[tokio::test]
async fn similar_images_are_those_of_brute_force() {
    let dim = numbers("OMNIZAP_SIMILARITY_DIM", &[65])[0];
    for rows in numbers("OMNIZAP_SIMILARITY_ROWS", &ROWS) {
        let made = clustered(rows + QUESTIONS, dim);
        let (vectors, questions) = made.split_at(rows);
        let questions = questions.iter().chain(vectors.iter().step_by(rows / 20));
        let questions = questions.map(|question| (question, similarities(vectors, question)));
        let questions: Vec<_> = questions.collect();
        for database in databases().await {
            let store = database.store();
            store.migrate().await.unwrap();
            let db = Target::of(&database.config).unwrap().open(1).await.unwrap();
            for (part, vectors) in vectors.chunks(STATEMENT_ROWS).enumerate() {
                let rows = vectors.iter().enumerate();
                let rows = rows.map(|(place, vector)| row(part * STATEMENT_ROWS + place, vector));
                Entity::insert_many(rows)
                    .exec_without_returning(&db)
                    .await
                    .unwrap();
            }
            db.close().await.unwrap();
            store.close().await;
            for kept in [Kept::Vectors, Kept::Codes] {
                let index = IndexConfig {
                    kept,
                    ..IndexConfig::default()
                };
                let store = Store::new(StoreConfig {
                    index,
                    ..database.config.clone()
                });
                store.start().unwrap();
                until("loading", PATIENCE, async || store.is_loaded()).await;
                let index = store.index();
                assert_eq!(index.len(), rows, "{}", database.kind);
                // Both before there are lists, where no partition was built yet, and after.
                let half = rows / 2;
                let lists = if half >= crate::vectors::PARTITION_FROM {
                    2
                } else {
                    0
                };
                let partitioned = if lists > 0 { rows } else { 0 };
                until("lists", PATIENCE, async || {
                    index.partitioned() == partitioned
                })
                .await;
                for scan in LIMITS {
                    let are_all_compared = lists == 0 || scan == 0 || scan >= rows;
                    for (threshold, limit) in [(0.85, 25), (-1.0, 10), (-1.0, 25)] {
                        let (mut found, mut there) = (0, 0);
                        let mut missed = Vec::new();
                        for (question, all) in &questions {
                            let query = Query {
                                model: "m@1".into(),
                                vector: question.as_slice().into(),
                                threshold,
                                limit,
                                scan,
                                image_hash: None,
                                content_hash: None,
                            };
                            let hits = exact(&store, query).await;
                            let expected = brute(all, threshold, limit, rows);
                            let is_told = |(name, similarity): &&(String, f64)| {
                                hits.iter().any(|hit| {
                                    // Sums of f32 may round to the next millionth.
                                    *hit.image_hash == **name
                                        && (hit.similarity - similarity).abs() < 1.5e-6
                                })
                            };
                            there += expected.len();
                            let told = expected.iter().filter(is_told).count();
                            found += told;
                            if told < expected.len() {
                                let hits =
                                    hits.iter().map(|hit| hit.similarity).collect::<Vec<_>>();
                                missed.push((
                                    hits,
                                    expected.iter().map(|(_, one)| *one).collect::<Vec<_>>(),
                                ));
                            }
                            // Of the newest none is missed.
                            let last = hits.last().filter(|_| hits.len() == limit);
                            let least = last.map_or(threshold, |hit| hit.similarity) + 2e-6;
                            let newest = if scan == 0 { rows } else { scan };
                            for (name, similarity) in brute(all, threshold, limit, newest) {
                                let is_found = hits.iter().any(|hit| *hit.image_hash == *name);
                                assert!(is_found || similarity < least, "{rows}, {scan}, {name}");
                            }
                        }
                        let recall = found as f64 / there.max(1) as f64;
                        eprintln!(
                            "{}, {kept:?}: {rows} rows, scan limit {scan}, threshold {threshold}, limit \
                         {limit}: recall {recall:.5} of {there}",
                            database.kind
                        );
                        let least = if are_all_compared { 1.0 } else { 0.99 };
                        assert!(recall >= least, "{recall}: found and there {missed:?}");
                    }
                }
                store.close().await;
            }
            database.drop().await;
        }
    }
}
