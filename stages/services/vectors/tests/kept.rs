//! The partition on disk: read where it is whole, built anew where it is not.

use std::collections::HashSet;

use super::recall::{clustered, filled};
use super::*;

fn only_file(folder: &std::path::Path) -> PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0).unwrap().path()
}

/// An index over the rows in that folder, tended as the store does; with the number of
/// partitions that were built.
fn start(folder: &std::path::Path, rows: &[Vec<f32>]) -> (VectorIndex, u64) {
    let index = VectorIndex::kept_in(folder.into(), IndexConfig::default());
    index.restore();
    filled(&index, rows);
    index.tend();
    let built = index.built();
    (index, built)
}

/// How soon searches end.
fn freedom(index: &VectorIndex) -> f32 {
    let models = index.read();
    models["m@1"].partition.as_ref().unwrap().freedom
}

#[test]
fn a_second_start_builds_nothing_and_finds_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let rows = clustered(4_000, 21);
    let (first, built) = start(folder.path(), &rows);
    assert_eq!(built, 1);
    let (second, built) = start(folder.path(), &rows);
    assert_eq!((built, second.partitioned()), (0, 4_000));
    let [built, read] = [&first, &second].map(freedom);
    assert!(built > 0.0);
    assert_eq!(built, read, "searches end as early");
    for vector in rows.iter().step_by(100) {
        let asked = Query {
            threshold: -1.0,
            scan: 1,
            ..query(vector)
        };
        assert_eq!(first.search(&asked), second.search(&asked));
    }
    // Images that came after the file was written are taken in.
    let (third, built) = start(folder.path(), &clustered(4_500, 21));
    assert_eq!((built, third.partitioned()), (0, 4_500));
}

#[test]
fn a_file_that_comes_after_the_rows_is_taken_too() {
    let folder = tempfile::tempdir().unwrap();
    let rows = clustered(3_000, 22);
    start(folder.path(), &rows);
    let late = VectorIndex::kept_in(folder.path().into(), IndexConfig::default());
    filled(&late, &rows);
    late.restore();
    late.tend();
    assert_eq!((late.built(), late.partitioned()), (0, 3_000));
}

#[test]
fn a_file_that_is_damaged_cut_off_or_of_another_version_is_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    let rows = clustered(2_500, 23);
    start(folder.path(), &rows);
    let path = only_file(folder.path());
    let whole = std::fs::read(&path).unwrap();
    let changed = |place: usize| {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        bytes
    };
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("one byte", vec![b'O']),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("one byte short", whole[..whole.len() - 1].to_vec()),
        ("one byte long", [whole.as_slice(), &[0]].concat()),
        ("another version", changed(7)),
        ("a wrong length", changed(16)),
        ("a wrong centroid", changed(200)),
        ("a wrong checksum", changed(whole.len() - 1)),
        (
            "something else",
            b"not an index at all, but long enough to be looked at".to_vec(),
        ),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let (index, built) = start(folder.path(), &rows);
        assert_eq!((built, index.partitioned()), (1, 2_500), "{what}");
        assert_eq!(std::fs::read(&path).unwrap(), whole, "{what}: written anew");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(start(folder.path(), &rows).1, 1, "missing");
    assert_eq!(start(folder.path(), &rows).1, 0);
}

/// Where the process to be killed writes.
const FOLDER: &str = "OMNIZAP_TEST_INDEX_FOLDER";
const KILLS: u32 = 25;
/// Most kills, where none has hit the writing of both files or within one.
const MOST_KILLS: u32 = 400;

#[test]
#[ignore = "the process that `kill_9_leaves_the_file_before_or_the_file_after` kills"]
fn writes_until_it_is_killed() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let all = clustered(3_500, 27);
    let indexes = [&all[..2_500], &all].map(|rows| start(&folder, rows).0);
    println!("ready");
    for turn in 0.. {
        indexes[turn % 2].save(&"m@1".into());
    }
}

#[test]
fn kill_9_leaves_the_file_before_or_the_file_after() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    let folder = tempfile::tempdir().unwrap();
    let rows = clustered(3_500, 27);
    assert_eq!(start(folder.path(), &rows).1, 1);
    let mut random = fastrand::Rng::with_seed(28);
    let (mut sizes, mut unfinished) = (HashSet::new(), 0);
    for round in 0..MOST_KILLS {
        if round >= KILLS && sizes.len() == 2 && unfinished > 0 {
            break;
        }
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--nocapture", "writes_until_it_is_killed"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("ready")), "{round}");
        std::thread::sleep(std::time::Duration::from_micros(random.u64(0..20_000)));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let files = std::fs::read_dir(folder.path()).unwrap();
        for file in files.map(Result::unwrap) {
            if file.path().extension().is_some_and(|e| e == "index") {
                sizes.insert(file.metadata().unwrap().len());
            } else {
                unfinished += 1;
                std::fs::remove_file(file.path()).unwrap();
            }
        }
        let (index, built) = start(folder.path(), &rows);
        assert_eq!((built, index.partitioned()), (0, 3_500), "{round}");
    }
    assert_eq!(sizes.len(), 2, "kills hit the writing of both files");
    assert!(unfinished > 0, "kills hit the writing of a file");
}

#[test]
fn what_a_killed_process_left_is_removed_once_it_is_old() {
    let folder = tempfile::tempdir().unwrap();
    let [old, young, other] = ["unfinished-a", "unfinished-b", "notes"].map(|name| {
        let path = folder.path().join(name);
        std::fs::write(&path, "half").unwrap();
        path
    });
    let hours_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7_300);
    for path in [&old, &other] {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(hours_ago).unwrap();
    }
    VectorIndex::kept_in(folder.path().into(), IndexConfig::default()).restore();
    assert_eq!(
        [old, young, other].map(|path| path.exists()),
        [false, true, true]
    );
}

#[test]
fn a_file_of_other_vectors_gives_no_wrong_answer() {
    let folder = tempfile::tempdir().unwrap();
    start(folder.path(), &clustered(2_500, 24));
    let others = clustered(2_600, 25);
    let (index, built) = start(folder.path(), &others);
    assert_eq!(built, 0, "the same names: its lists are believed");
    for (number, vector) in others.iter().enumerate().step_by(50) {
        let exact = index.search(&query(vector));
        assert_eq!(&*exact[0].image_hash, number.to_string());
        let near = Query {
            scan: 1,
            ..query(vector)
        };
        for hit in index.search(&near) {
            assert!(exact.contains(&hit), "what is found is as like as it says");
        }
    }
}

#[test]
fn a_folder_that_cannot_be_written_costs_nothing_but_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("a file");
    std::fs::write(&blocked, "").unwrap();
    let (index, built) = start(&blocked.join("index"), &clustered(2_100, 26));
    assert_eq!((built, index.partitioned()), (1, 2_100));
    assert!(!index.is_due(), "not tried again at once");
}

#[test]
fn a_file_of_as_many_rows_as_there_may_be_is_not_too_large() {
    for rows in [1_024, 1_000_000, 50_000_000] {
        let lists = train::lists(rows) as u64;
        let most = lists * 4_096 * 4 + rows as u64 * 12;
        let read = file::most_bytes(rows);
        assert!(read > most && read < most + (128 << 20), "{rows}: {read}");
    }
    assert_eq!(file::most_bytes(usize::MAX), u64::MAX);
}
