//! The page at `/`, as it stands in the program. It knows what answers look like, as a client does;
//! the engine, which serves it, knows nothing of it.

use engine::http::Page;

/// A file of the folder `page`, under the path that the page asks for it by.
macro_rules! file {
    ($name:literal) => {
        (
            concat!("/page/", $name),
            include_bytes!(concat!("page/", $name)).as_slice(),
        )
    };
}

/// A picture to try.
macro_rules! example {
    ($name:literal) => {
        (
            concat!("/page/examples/", $name),
            include_bytes!(concat!("../../models/embedded/samples/", $name)).as_slice(),
        )
    };
}

const FILES: [(&str, &[u8]); 30] = [
    ("/", include_bytes!("page/index.html").as_slice()),
    file!("icon.svg"),
    file!("base.css"),
    file!("parts.css"),
    file!("answer.css"),
    file!("views.css"),
    file!("colours.js"),
    file!("app.js"),
    file!("answer.js"),
    file!("dom.js"),
    file!("examples.js"),
    file!("feedback.js"),
    file!("fields.js"),
    file!("graph.js"),
    file!("keyboard.js"),
    file!("layout.js"),
    file!("options.js"),
    file!("pipelines.js"),
    file!("review.js"),
    file!("sections.js"),
    file!("service.js"),
    file!("session.js"),
    file!("snippets.js"),
    file!("thumbs.js"),
    example!("cat-sticker.webp"),
    example!("dog-sticker.webp"),
    example!("pizza-sticker.webp"),
    example!("bar-chart.png"),
    example!("chat.png"),
    example!("qr-code.png"),
];

/// The page, with all its files.
pub(super) fn page() -> Page {
    Page::new(FILES)
}

/// The pictures to try, by their names.
pub(super) fn examples() -> Vec<(&'static str, &'static [u8])> {
    let files = FILES.into_iter();
    let examples = files.filter_map(|(path, bytes)| {
        let name = path.strip_prefix("/page/examples/")?;
        Some((name, bytes))
    });
    examples.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn text(name: &str) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/cli/page");
        std::fs::read_to_string(folder.join(name)).unwrap()
    }

    /// Files that a text names between these.
    fn named<'t>(text: &'t str, before: &'t str, after: char) -> impl Iterator<Item = &'t str> {
        let found = text
            .match_indices(before)
            .map(move |(at, _)| &text[at + before.len()..]);
        found.filter_map(move |rest| rest.split(after).next())
    }

    #[test]
    fn what_the_page_asks_for_is_there_and_all_of_it_is_asked_for() {
        let index = text("index.html");
        let mut asked: BTreeSet<String> = ["href=\"page/", "src=\"page/"]
            .into_iter()
            .flat_map(|before| named(&index, before, '"'))
            .map(str::to_owned)
            .collect();
        let mut read = BTreeSet::new();
        while let Some(name) = asked.iter().find(|name| !read.contains(*name)).cloned() {
            if name.ends_with(".js") {
                let script = text(&name);
                asked.extend(named(&script, "from \"./", '"').map(str::to_owned));
                if name == "examples.js" {
                    let list = named(&script, "\n  [\"", '"');
                    asked.extend(list.map(|name| format!("examples/{name}")));
                }
            }
            read.insert(name);
        }
        let mut served: BTreeSet<String> = FILES
            .iter()
            .filter_map(|(path, _)| path.strip_prefix("/page/"))
            .map(str::to_owned)
            .collect();
        assert_eq!(asked, served);
        served.insert("index.html".to_owned());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/cli/page");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_part = [".js", ".css", ".html", ".svg"];
            if is_part.iter().any(|end| name.ends_with(end)) {
                assert!(served.contains(&name), "{name} is not served");
            }
        }
    }

    #[test]
    fn nothing_in_it_needs_what_the_policy_forbids() {
        let index = text("index.html");
        for forbidden in [
            "<style",
            " style=",
            "<script>",
            " onclick",
            "javascript:",
            "http:",
            "https:",
        ] {
            assert!(!index.contains(forbidden), "{forbidden}");
        }
        for (path, bytes) in FILES {
            if !path.ends_with(".js") {
                continue;
            }
            let script = std::str::from_utf8(bytes).unwrap();
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacent",
                "eval(",
                "document.write",
            ] {
                assert!(!script.contains(forbidden), "{path}: {forbidden}");
            }
        }
    }
}
