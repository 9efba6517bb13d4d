//! The `.env` of the working folder, over the real program: the values that python-dotenv reads, so
//! that the file of the Python service is taken over as it is.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::database::not_tested;
use crate::support::program::{omnizap, root};

/// Variables that a run of the program is asked for: as many as one list of prompts may have.
const AT_ONCE: usize = 250;

/// What stands for a variable that is not set, or is set to nothing.
const UNSET: &str = "(not set)";

/// The one variable of the environment that the files name.
const OUTER: (&str, &str) = ("OUTER", "from outside");

/// A command of the program in a folder.
fn in_folder(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = omnizap(&folder.join("data"));
    command.current_dir(folder).args(arguments);
    command
}

/// What it printed; it must have ended well.
#[track_caller]
fn printed(output: &Output) -> Json {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The options of a stage, in what `graph --format json` prints.
#[track_caller]
fn options(graph: &Json, stage: &str) -> Json {
    let pipelines = graph.as_array().unwrap();
    let mut stages = pipelines
        .iter()
        .flat_map(|pipeline| pipeline["stages"].as_array().unwrap());
    let stage = stages.find(|one| one["uses"] == stage).unwrap();
    stage["options"].clone()
}

/// The values of variables, as a pipeline of a program sees them that is started in the folder.
fn seen(folder: &Path, names: &[&str]) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    for names in names.chunks(AT_ONCE) {
        let prompts: Vec<_> = names
            .iter()
            .map(|name| format!("\"<${{{name}:-{UNSET}}}>\""))
            .collect();
        let text = format!(
            "extends = \"builtin:classify\"\n[[stage]]\nname = \"nsfw\"\n\
             with = {{ mode = \"contrast\", safe_prompts = [\"safe\"], unsafe_prompts = [{}] }}\n",
            prompts.join(", ")
        );
        let file = folder.join("asks.toml");
        std::fs::write(&file, text).unwrap();
        let mut command = in_folder(folder, &["graph", "--format", "json", "asks.toml"]);
        let output = command.env(OUTER.0, OUTER.1).output().unwrap();
        let values = options(&printed(&output), "nsfw")["unsafe_prompts"].clone();
        let values = values.as_array().unwrap().iter();
        assert_eq!(values.len(), names.len());
        for (name, value) in names.iter().zip(values) {
            let value = value.as_str().unwrap();
            let value = value.strip_prefix('<').and_then(|v| v.strip_suffix('>'));
            seen.insert((*name).to_owned(), value.unwrap().to_owned());
        }
    }
    seen
}

/// That a program which is started beside this file sees what python-dotenv reads.
#[track_caller]
fn assert_same(env: &[u8], expected: &str) {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join(".env"), env).unwrap();
    let expected: BTreeMap<String, Option<String>> = serde_json::from_str(expected).unwrap();
    assert!(expected.len() >= 878);
    // Pipelines name variables as shells do; the others are values of those.
    let is_inner = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let is_name = |name: &str| {
        !name.starts_with(|char: char| char.is_ascii_digit()) && name.chars().all(is_inner)
    };
    let names: Vec<_> = expected
        .keys()
        .map(String::as_str)
        .filter(|name| is_name(name))
        .collect();
    let seen = seen(folder.path(), &names);
    for name in names {
        let value = expected[name].clone().filter(|value| !value.is_empty());
        let value = value.unwrap_or_else(|| UNSET.to_owned());
        assert_eq!(seen[name], value, "{name}");
    }
}

#[test]
fn variables_of_all_forms_have_the_values_that_python_dotenv_reads() {
    let fixtures = root().join("tests/fixtures/dotenv");
    let env = std::fs::read(fixtures.join("many.env")).unwrap();
    let expected = std::fs::read_to_string(fixtures.join("many.json")).unwrap();
    assert_same(&env, &expected);
}

/// The script that asks python-dotenv.
fn reference(arguments: &[&str]) -> Option<Output> {
    let script = root().join("tests/reference/dotenv_values.py");
    let mut python = Command::new("python3");
    python.arg(script).args(arguments).env(OUTER.0, OUTER.1);
    python.output().ok()
}

/// True where it is the version whose rules are followed, or a later one: those before it take a
/// comment for the value where there is none.
fn is_new_enough() -> bool {
    let asked = Command::new("python3")
        .args([
            "-c",
            "import importlib.metadata as m; print(m.version('python-dotenv'))",
        ])
        .output();
    let version = asked.map(|output| output.stdout).unwrap_or_default();
    let version = String::from_utf8_lossy(&version).into_owned();
    let numbers: Vec<u32> = version
        .trim()
        .split('.')
        .map_while(|n| n.parse().ok())
        .collect();
    numbers.as_slice() >= &[1, 2, 4][..]
}

#[test]
fn other_variables_have_them_too_where_python_dotenv_can_be_asked() {
    let is_there = reference(&["--available"]).is_some_and(|output| output.status.success());
    if !is_there || !is_new_enough() {
        not_tested("python-dotenv itself: pip install -r tests/reference/requirements.txt");
        return;
    }
    let seed = fastrand::u32(..).to_string();
    let folder = TempDir::new().unwrap();
    let made = reference(&["--random", &seed, folder.path().to_str().unwrap()]).unwrap();
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success(), "seed {seed}: {said}");
    println!("seed {seed}");
    let env = std::fs::read(folder.path().join("many.env")).unwrap();
    let expected = std::fs::read_to_string(folder.path().join("many.json")).unwrap();
    assert_same(&env, &expected);
}

/// A folder with a `.env`, its text; and what the program logs there, its graph.
#[track_caller]
fn graph_beside(env: &[u8], environment: &[(&str, &str)]) -> (Json, String) {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join(".env"), env).unwrap();
    let mut command = in_folder(folder.path(), &["graph", "--format", "json"]);
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    (printed(&output), log)
}

#[track_caller]
fn top_k(env: &str, environment: &[(&str, &str)]) -> Json {
    let (graph, log) = graph_beside(env.as_bytes(), environment);
    assert_eq!(log, "", "{env}");
    options(&graph, "rank")["top_k"].clone()
}

#[test]
fn the_file_of_the_python_service_is_taken_over() {
    for (env, expected) in [
        ("BOT_NAME=Conta padrao do bot\nCLIP_TOP_K=3\n", 3),
        (
            "GREETING=it's me\nPATTERN=^\\d+$\nHOURS={9..17}\nCLIP_TOP_K=3 # best\n",
            3,
        ),
        (
            "my-key=1\nother.key=2\n2nd=3\nFLAG\nCLIP_TOP_K='3'\r\nX=1\r\n",
            3,
        ),
        ("export CLIP_TOP_K=3\n", 3),
        ("\u{feff}CLIP_TOP_K=3\n", 3),
        ("CLIP_TOP_K=1\nCLIP_TOP_K=3\n", 3),
        ("K=3\nCLIP_TOP_K=${K}\n", 3),
        ("CLIP_TOP_K=${NO_SUCH:-3}\n", 3),
        ("A='one\nCLIP_TOP_K=9\n'\nCLIP_TOP_K=3\n", 3),
        ("CLIP_TOP_K=\n", 5),
        ("CLIP_TOP_K= # how many\n", 5),
        ("CLIP_TOP_K='  '\n", 5),
        ("CLIP_TOP_K\n", 5),
        ("#CLIP_TOP_K=3\n", 5),
    ] {
        assert_eq!(top_k(env, &[]), expected, "{env}");
    }
}

#[test]
fn the_environment_wins_also_where_it_says_nothing() {
    let env = "CLIP_TOP_K=3\n";
    assert_eq!(top_k(env, &[("CLIP_TOP_K", "4")]), 4);
    assert_eq!(top_k(env, &[("CLIP_TOP_K", "")]), 5);
    assert_eq!(
        top_k(env, &[("CLIP_TOP_K", " \t")]),
        5,
        "blanks are nothing"
    );
}

#[test]
fn a_line_that_cannot_be_read_is_told_by_its_number_and_never_by_its_text() {
    let env = "# one\nDB_PASSWORD='a' topsecret1\nOPENAI_API_KEY=\"sk-topsecret2\nCLIP_TOP_K=3\n\
        =topsecret3\nCLIP_DEFAULT_LABELS_PATH=/caf\u{e9}\n";
    // The last line as Latin-1.
    let env: Vec<u8> = env
        .chars()
        .map(|char| u8::try_from(char).unwrap())
        .collect();
    let (graph, log) = graph_beside(&env, &[]);
    assert_eq!(options(&graph, "rank")["top_k"], 3);
    let told: Vec<_> = log.lines().collect();
    assert_eq!(told.len(), 4, "{log}");
    for (line, number) in told.iter().zip([2, 3, 5, 6]) {
        let place = format!(".env:{number}: passed over");
        assert!(line.contains(" WARN ") && line.contains(&place), "{log}");
    }
    assert!(!log.contains("topsecret") && !log.contains("caf"), "{log}");
}

#[test]
fn only_the_file_of_the_working_folder_is_read() {
    let folder = TempDir::new().unwrap();
    let below = folder.path().join("below");
    std::fs::create_dir(&below).unwrap();
    std::fs::write(
        folder.path().join(".env"),
        "CLIP_TOP_K=3\nDATABASE_URL=file:./dev.db\nOMNIZAP_LOG=nonsense\n",
    )
    .unwrap();
    let output = in_folder(&below, &["graph", "--format", "json"]).output();
    assert_eq!(options(&printed(&output.unwrap()), "rank")["top_k"], 5);
    // A folder of that name is none.
    std::fs::create_dir(below.join(".env")).unwrap();
    let output = in_folder(&below, &["graph", "--format", "json"]).output();
    assert_eq!(options(&printed(&output.unwrap()), "rank")["top_k"], 5);
}

#[test]
fn a_comment_does_not_become_a_key() {
    let env = b"OPENAI_API_KEY= # set me\nOPENAI_BASE_URL= # and me\n";
    let (graph, log) = graph_beside(env, &[]);
    assert_eq!(log, "");
    assert!(!graph.to_string().contains("set me"), "{graph}");
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join(".env"), env).unwrap();
    let names = ["OPENAI_API_KEY", "OPENAI_BASE_URL"];
    let seen = seen(folder.path(), &names);
    assert!(seen.values().all(|value| value == UNSET), "{seen:?}");
}

#[test]
fn what_is_no_file_holds_nothing_up_and_is_told() {
    let folder = TempDir::new().unwrap();
    let env = folder.path().join(".env");
    let told = |part: &str, top_k: u32| {
        let output = in_folder(folder.path(), &["graph", "--format", "json"]).output();
        let output = output.unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(options(&printed(&output), "rank")["top_k"], top_k, "{part}");
        assert_eq!(log.lines().count(), usize::from(!part.is_empty()), "{log}");
        let is_told = log.contains(" WARN .env is not read: ") && log.contains(part);
        assert!(part.is_empty() || is_told, "{part}: {log}");
    };
    std::fs::create_dir(&env).unwrap();
    told("it is a folder", 5);
    std::fs::remove_dir(&env).unwrap();
    let socket = UnixListener::bind(&env).unwrap();
    told("it is a socket", 5);
    drop(socket);
    std::fs::remove_file(&env).unwrap();
    // A pipe into which nobody writes, and one that a keeper of secrets serves.
    let made = Command::new("mkfifo").arg(&env).status().unwrap();
    assert!(made.success());
    told("it is a pipe that nobody wrote", 5);
    let path = env.clone();
    let keeper = std::thread::spawn(move || std::fs::write(path, "CLIP_TOP_K=3\n"));
    told("", 3);
    keeper.join().unwrap().unwrap();
}

#[test]
fn a_file_that_is_too_large_is_refused_by_its_size() {
    let folder = TempDir::new().unwrap();
    let env = File::create(folder.path().join(".env")).unwrap();
    env.set_len((1 << 20) + 1).unwrap();
    let output = in_folder(folder.path(), &["graph"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("larger than 1048576 bytes"), "{said}");
}

#[test]
fn a_file_that_everybody_may_write_to_is_not_read_and_that_is_told() {
    let folder = TempDir::new().unwrap();
    let env = folder.path().join(".env");
    std::fs::write(&env, "CLIP_TOP_K=3\n").unwrap();
    std::fs::set_permissions(&env, Permissions::from_mode(0o666)).unwrap();
    let output = in_folder(folder.path(), &["graph", "--format", "json"]).output();
    let output = output.unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(options(&printed(&output), "rank")["top_k"], 5);
    for part in [" WARN ", ".env is not read", "(mode 666)", "chmod o-w .env"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn a_wrong_value_of_the_file_is_told_by_its_variable() {
    for (env, said) in [
        ("OMNIZAP_LISTEN=nowhere\n", "OMNIZAP_LISTEN"),
        ("OMNIZAP_SAFE=perhaps\n", "OMNIZAP_SAFE"),
    ] {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join(".env"), env).unwrap();
        let output = in_folder(folder.path(), &["graph"]).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn values_may_be_written_as_people_write_them() {
    // A port that is taken, so that the address shows in the message, and nothing is served.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (listen, shown) in [
        (format!("127.0.0.1:{port}"), format!("127.0.0.1:{port}")),
        (format!(" localhost:{port} "), format!("localhost:{port}")),
        (format!("localhost:{port}\r"), format!("localhost:{port}")),
        (format!(":{port}"), format!("0.0.0.0:{port}")),
        (format!("{port}"), format!("127.0.0.1:{port}")),
    ] {
        let folder = TempDir::new().unwrap();
        let output = in_folder(folder.path(), &["serve"])
            .env("OMNIZAP_LISTEN", &listen)
            .env("OMNIZAP_SAFE", "T\r")
            .env("OMNIZAP_MAX_BODY_BYTES", " 1000\r")
            .env("OMNIZAP_SHUTDOWN_GRACE_MS", "")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{listen}: {said}");
        let wanted = format!("cannot listen on {shown}: is it in use?");
        assert!(said.contains(&wanted), "{listen}: {said}");
    }
    for (name, value, wanted) in [
        ("OMNIZAP_LISTEN", "localhost", "127.0.0.1:8008"),
        ("OMNIZAP_LISTEN", "http://localhost:1", "localhost:8008"),
        ("OMNIZAP_SAFE", "2", "true or false"),
        ("OMNIZAP_MAX_REQUESTS_IN_FLIGHT", "0", "from 1 to 65536"),
    ] {
        let folder = TempDir::new().unwrap();
        let mut command = in_folder(folder.path(), &["serve"]);
        let output = command.env(name, value).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        for part in [name, value, wanted] {
            assert!(said.contains(part), "{name}={value}: {said}");
        }
    }
}
