//! Many pictures by `omnizap classify`, whatever ends it on the way, and `omnizap similar` over
//! what is stored.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::pictures::gray_tiff;
use crate::support::program::{omnizap, root};

/// Labels of a picture, and no database.
const LABELS: &str = r#"
[pipeline]
name = "classify"
[request]
file = { type = "bytes", required = true }
labels = { type = "text_list", default = ["black", "white"] }
[[stage]]
uses = "hash"
[[stage]]
uses = "decode"
[[stage]]
uses = "embed"
[[stage]]
uses = "score"
with = { keep_default_labels = false }
[[stage]]
uses = "rank"
"#;

/// Within which something is done.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which of the pictures comes late: some come before it, some after it.
const LATE: &str = "m.tiff";

/// Pictures in folders, and what is none.
struct Files {
    folder: TempDir,
    data: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            folder: TempDir::new().unwrap(),
            data: TempDir::new().unwrap(),
        };
        files.write("pipelines/classify.toml", LABELS.as_bytes());
        for (shade, name) in ["a.tiff", "b/c.tif", "b/d/e.TIFF", LATE, "x.tiff", "y.tiff"]
            .iter()
            .enumerate()
        {
            files.picture(name, 20 + 30 * shade as u32);
        }
        files.write("pictures/broken.png", b"no picture");
        files.write("pictures/notes.txt", b"no picture");
        files.write("pictures/.hidden.png", b"no picture");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn picture(&self, name: &str, shade: u32) {
        let picture = gray_tiff(16, 8, |x, y| (shade + x * y) % 256);
        self.write(&format!("pictures/{name}"), &picture);
    }

    /// The command, in the folder of the pictures and of the results.
    fn classify(&self, arguments: &[&str]) -> Command {
        let mut command = omnizap(self.data.path());
        command.current_dir(self.folder.path());
        command.args(["classify", "--pipelines", "pipelines"]);
        command.args(arguments);
        command
    }

    #[track_caller]
    fn ends(&self, code: i32, arguments: &[&str]) -> Output {
        let output = self.classify(arguments).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        output
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The files in a folder and what is in them.
    fn tree(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.path(name)];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder)
                .unwrap()
                .map(|it| it.unwrap().path())
            {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(self.path(name)).unwrap();
                    found.push((name.display().to_string(), std::fs::read(&path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn rows(bytes: &[u8]) -> Vec<Json> {
    let lines = text(bytes);
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let told = Command::new("kill")
        .args([&format!("-{name}"), &id])
        .status();
    assert!(told.unwrap().success());
}

#[track_caller]
fn until(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn each_file_has_a_row_in_the_order_of_the_paths() {
    let files = Files::new();
    let all = ["pictures", "--recursive", "--out", "all.jsonl"];
    let output = files.ends(1, &all);
    let said = text(&output.stderr);
    let told = "error: 1 of 7 files were not classified: their rows in all.jsonl say why";
    assert!(said.contains(told), "{said}");
    assert!(output.stdout.is_empty());
    let found = rows(&files.read("all.jsonl"));
    let paths: Vec<_> = found
        .iter()
        .map(|row| row["path"].as_str().unwrap())
        .collect();
    let expected = [
        "a.tiff",
        "b/c.tif",
        "b/d/e.TIFF",
        "broken.png",
        LATE,
        "x.tiff",
        "y.tiff",
    ];
    assert_eq!(paths, expected);
    for row in &found {
        if row["path"] == "broken.png" {
            assert_eq!(row["ok"], false);
            assert!(
                row["error_code"].is_string() && row["label"].is_null(),
                "{row}"
            );
            assert!(row["error"].as_str().unwrap().contains("decode"), "{row}");
            assert!(row.get("answer").is_none(), "{row}");
            continue;
        }
        assert_eq!(row["ok"], true);
        assert_eq!(row["label"], row["answer"]["category"]);
        assert_eq!(row["confidence"], row["answer"]["confidence"]);
        assert_eq!(row["labels"].as_array().unwrap().len(), 2);
        assert_eq!(row["labels"][0]["label"], row["label"]);
        assert_eq!(row["image_hash"], row["answer"]["image_hash"]);
        assert!(row["nsfw"].is_null() && row["error"].is_null());
    }
    // One by one the answers are the same.
    let alone = files.ends(0, &["pictures/b/c.tif", "--json"]);
    let alone: Json = serde_json::from_slice(&alone.stdout).unwrap();
    assert_eq!(alone, found[1]["answer"]);

    let flat = files.ends(1, &["pictures", "--out", "-", "--format", "csv"]);
    let mut reader = csv::Reader::from_reader(&*flat.stdout);
    let columns = reader.headers().unwrap().clone();
    assert_eq!(columns.get(0), Some("path"));
    let paths: Vec<String> = reader
        .records()
        .map(|row| row.unwrap()[0].to_owned())
        .collect();
    assert_eq!(paths, ["a.tiff", "broken.png", LATE, "x.tiff", "y.tiff"]);
    let people = files.ends(1, &["pictures"]);
    assert!(text(&people.stdout).starts_with("a.tiff ("));
    assert!(text(&people.stderr).contains("error: broken.png: "));

    let omitted = [
        "pictures/a.tiff",
        "--out",
        "few.jsonl",
        "--omit",
        "raw_logits, labels",
    ];
    files.ends(0, &omitted);
    let answer = &rows(&files.read("few.jsonl"))[0]["answer"];
    assert!(answer.get("raw_logits").is_none() && answer.get("labels").is_none());
    assert!(answer["category"].is_string());
}

/// Ended by SIGKILL, then by Ctrl-C, then torn, then gone on with: all is as if it had run through.
#[track_caller]
fn goes_on(format: &str) {
    let files = Files::new();
    let late = format!("pictures/{LATE}");
    let picture = files.read(&late);
    let out = format!("rows.{format}");
    // A picture that does not come holds up those behind it.
    std::fs::remove_file(files.path(&late)).unwrap();
    let made = Command::new("mkfifo").arg(files.path(&late)).status();
    assert!(made.unwrap().success());
    let growing = if format == "parquet" {
        files.path("rows.parquet.part")
    } else {
        files.path(&out)
    };
    let arguments = ["pictures", &late, "-r", "--out", &out, "--jobs", "3"];
    let ends = |more: &[&str], name: &str, has_come: &dyn Fn(&[u8]) -> bool| {
        let mut command = files.classify(&[&arguments[..], more].concat());
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        until(|| std::fs::read(&growing).is_ok_and(|rows| has_come(&rows)));
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let (code, _) = ends(&[], "KILL", &|rows| text(rows).contains("b/d/e.TIFF"));
    assert_eq!(code, None);
    let rows = std::fs::read(&growing).unwrap();
    assert!(!text(&rows).contains("m.tiff"), "it has not come");
    let refused = files.ends(2, &arguments);
    assert!(text(&refused.stderr).contains("--resume goes on with it"));
    let kept = std::fs::read(&growing).unwrap();
    assert_eq!(kept, rows, "nothing is lost");

    let torn = &rows[..rows.len() - 7];
    std::fs::write(&growing, torn).unwrap();
    let (code, said) = ends(&["--resume"], "INT", &|rows| rows.len() > torn.len());
    assert_eq!(code, Some(130), "{said}");
    let is_told = said.contains("interrupted: ") && said.contains("--resume goes on");
    assert!(is_told, "{said}");
    assert!(!files.path(&out).exists() || format != "parquet");

    std::fs::remove_file(files.path(&late)).unwrap();
    std::fs::write(files.path(&late), picture).unwrap();
    files.ends(1, &[&arguments[..], &["--resume"]].concat());
    let whole = format!("whole.{format}");
    files.ends(
        1,
        &["pictures", &late, "-r", "--out", &whole, "--jobs", "1"],
    );
    let (found, expected) = (files.read(&out), files.read(&whole));
    assert!(found == expected, "{}\n\n{}", text(&found), text(&expected));
    // Once more there is nothing to do, and nothing changes.
    files.ends(1, &[&arguments[..], &["--resume"]].concat());
    assert!(files.read(&out) == expected);
    let left = files.tree("").into_iter().map(|(name, _)| name);
    let left: Vec<_> = left
        .filter(|name| name.contains("rows") || name.contains("whole"))
        .collect();
    assert_eq!(left, [out, whole], "nothing is left beside them");
    if format == "parquet" {
        let file = std::fs::File::open(files.path("whole.parquet")).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        assert_eq!(reader.metadata().file_metadata().num_rows(), 7);
    }
}

#[test]
fn lines_of_json_go_on_where_they_ended() {
    goes_on("jsonl");
}

#[test]
fn a_table_goes_on_where_it_ended() {
    goes_on("csv");
}

#[test]
fn columns_go_on_where_they_ended() {
    goes_on("parquet");
}

#[test]
fn results_are_never_overwritten_or_mixed() {
    let files = Files::new();
    let all = ["pictures", "--out", "rows.jsonl"];
    files.ends(1, &all);
    let before = files.read("rows.jsonl");
    for (more, code, part) in [
        (&[][..], 2, "rows.jsonl is there already: --resume goes on"),
        (&["--resume", "--labels", "red,blue"], 2, "other settings"),
        (
            &["--resume", "--format", "csv"],
            2,
            "its first line is not path,ok,",
        ),
        (&["--resume", "--overwrite"], 2, "cannot be used with"),
    ] {
        let output = files.ends(code, &[&all[..], more].concat());
        let said = text(&output.stderr);
        assert!(said.contains(part), "{said}");
        assert_eq!(files.read("rows.jsonl"), before);
    }
    files.write("diary.jsonl", b"dear diary");
    for (out, code, part) in [
        ("diary.jsonl", 2, "no row of `omnizap classify`"),
        ("rows.json", 2, ".jsonl, .csv or .parquet"),
        ("pictures", 2, ".jsonl, .csv or .parquet"),
        ("none/rows.csv", 1, "cannot write"),
    ] {
        let output = files.ends(code, &["pictures", "--resume", "--out", out]);
        let said = text(&output.stderr);
        assert!(said.contains(part), "{out}: {said}");
    }
    assert_eq!(files.read("diary.jsonl"), b"dear diary");

    // What could not be classified may be tried again, and what is new is put in its place.
    files.picture("broken.png", 200);
    files.picture("aa.tiff", 210);
    let again = [&all[..], &["--resume"]].concat();
    files.ends(1, &again);
    files.ends(0, &[&again[..], &["--retry-failed"]].concat());
    let mended = files.read("rows.jsonl");
    files.ends(0, &[&all[..], &["--overwrite"]].concat());
    assert_eq!(text(&files.read("rows.jsonl")), text(&mended));
    assert_eq!(rows(&mended).len(), 6);

    let misspelt = files.ends(1, &["picture", "-r", "--out", "none.csv"]);
    assert!(text(&misspelt.stderr).contains("there is no file or folder picture"));
    let nothing = files.ends(1, &["pipelines", "--out", "none.csv"]);
    assert!(text(&nothing.stderr).contains("no pictures in pipelines: expected files that end"));
    assert!(!files.path("none.csv").exists());
}

#[test]
fn files_are_sorted_by_their_labels() {
    let files = Files::new();
    let labels = r#"["dark/black", "white"]"#;
    for (name, shade) in [
        ("n1/same.tiff", 0),
        ("n2/same.tiff", 5),
        ("n3/same.tiff", 0),
    ] {
        files.picture(name, shade);
    }
    let sort = ["pictures", "-r", "--out", "rows.csv", "--labels", labels];
    let sort = [&sort[..], &["--sort-into", "pictures/sorted"]].concat();
    files.ends(1, &sort);
    let sorted = files.tree("pictures/sorted");
    assert_eq!(sorted.len(), 9, "one of each: {sorted:?}");
    let is_named = |name: &str| sorted.iter().any(|(path, _)| path.ends_with(name));
    assert!(
        is_named("/same.tiff") && is_named("/same (2).tiff"),
        "{sorted:?}"
    );
    for (path, _) in &sorted {
        let folder = path.split('/').next().unwrap();
        let is_safe = folder == "white" || folder.starts_with("dark_black-");
        assert!(is_safe && path.matches('/').count() == 1, "{path}");
    }
    let rows = files.read("rows.csv");
    let again = [&sort[..], &["--resume"]].concat();
    files.ends(1, &again);
    assert!(
        files.tree("pictures/sorted") == sorted,
        "a second time changes nothing"
    );
    // What somebody took away is there again, and nobody's file is written over.
    let (gone, theirs) = (&sorted[0].0, &sorted[1].0);
    std::fs::remove_file(files.path("pictures/sorted").join(gone)).unwrap();
    files.write(&format!("pictures/sorted/{theirs}"), b"theirs");
    files.ends(1, &again);
    assert!(files.path("pictures/sorted").join(gone).exists());
    assert_eq!(files.read(&format!("pictures/sorted/{theirs}")), b"theirs");
    assert_eq!(files.read("rows.csv"), rows);

    let itself = [
        "pictures",
        "-r",
        "--out",
        "it.csv",
        "--sort-into",
        "pictures",
    ];
    let refused = files.ends(2, &itself);
    assert!(text(&refused.stderr).contains("--sort-into must not hold pictures"));
    let moved = [
        "pictures/b",
        "-r",
        "--out",
        "it.csv",
        "--sort-into",
        "moved",
        "--move",
    ];
    files.ends(0, &moved);
    assert_eq!(files.tree("moved").len(), 2);
    assert!(files.tree("pictures/b").is_empty());
    files.ends(0, &[&moved[..], &["--resume"]].concat());
    assert_eq!(files.tree("moved").len(), 2);
}

#[test]
fn stored_pictures_are_found_by_one_and_by_a_text() {
    let data = TempDir::new().unwrap();
    let images = root().join("tests/fixtures/images");
    let pictures = ["rgb.png", "gray.png", "lossy.webp"].map(|name| images.join(name));
    let run = |arguments: &[&str], files: &[&Path]| {
        let mut command = omnizap(data.path());
        command.args(arguments).args(files).output().unwrap()
    };
    let similar = |arguments: &[&str], files: &[&Path]| {
        let output = run(&[&["similar"], arguments].concat(), files);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        (text(&output.stdout), said)
    };
    let [rgb, gray, lossy] = &pictures;
    let (found, said) = similar(&[], &[rgb]);
    assert!(
        found.is_empty() && said.contains("no stored picture is that near"),
        "{said}"
    );
    let all = [&**rgb, gray, lossy];
    assert!(run(&["classify"], &all).status.success());

    let (found, _) = similar(&["--json"], &[rgb]);
    let answer: Json = serde_json::from_str(&found).unwrap();
    let near = answer["similar_images"].as_array().unwrap();
    assert_eq!(near.len(), 2, "itself is left out: {answer}");
    let cosines: Vec<_> = near
        .iter()
        .map(|it| it["similarity"].as_f64().unwrap())
        .collect();
    assert!(cosines[0] >= cosines[1], "{answer}");
    let first = near[0]["image_hash"].as_str().unwrap();
    let (found, _) = similar(&["--limit", "1"], &[rgb]);
    assert_eq!(found.lines().count(), 1);
    assert!(found.contains(first), "{found}");
    let (found, _) = similar(&["--threshold", "1"], &[rgb]);
    assert!(found.is_empty(), "{found}");
    let (found, _) = similar(&["--text", "a cat", "--threshold", "-1"], &[]);
    assert_eq!(found.lines().count(), 3, "{found}");

    for (arguments, part) in [
        (&["similar"][..], "required"),
        (
            &["similar", "a.png", "--text", "a cat"],
            "cannot be used with",
        ),
        (
            &["similar", "--text", "a cat", "--limit", "0"],
            "from 1 to 100",
        ),
        (
            &["similar", "--text", "a cat", "--threshold", "2"],
            "from -1 to 1",
        ),
    ] {
        let output = run(arguments, &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(part), "{said}");
    }
    assert!(!run(&["similar", "--text", " "], &[]).status.success());
}
