//! Documents name only files, tests, metrics and settings that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{root, rust_files};

/// The documents whose names of files, tests, metrics and settings must exist: all but the decisions and the changes,
/// which are true of their day.
fn documents() -> Vec<PathBuf> {
    let mut documents: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root().join(name)).into();
    let folder = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    documents.extend(folder.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    documents
}

/// A word that a document has in backticks or in a block of code.
struct Word<'a> {
    line: usize,
    is_in_block: bool,
    text: &'a str,
}

fn words_in_backticks(text: &str) -> Vec<Word<'_>> {
    let (mut is_in_block, mut words) = (false, Vec::new());
    for (index, line) in text.lines().enumerate() {
        is_in_block ^= line.starts_with("```");
        let spans = line.split('`').enumerate().filter(|(part, _)| is_in_block || part % 2 == 1);
        let texts = spans.flat_map(|(_, span)| span.split_whitespace());
        words.extend(texts.map(|text| Word { line: index + 1, is_in_block, text }));
    }
    words
}

/// What documents may name: the paths of source files, the text of `src/`, and the settings as `section.name`.
struct Existing {
    sources: Vec<PathBuf>,
    code: String,
    settings: BTreeSet<String>,
}

impl Existing {
    fn read() -> Self {
        let all = |folder: &str| rust_files(&root().join(folder));
        let code = all("src").iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        let (mut settings, mut section) = (BTreeSet::new(), String::new());
        for line in fs::read_to_string(root().join("config.default.toml")).unwrap().lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = format!("{}.", name.trim_end_matches(']'));
                settings.insert(section.clone());
            } else if let Some((name, _)) = line.split_once(" = ") {
                settings.insert(format!("{section}{name}"));
            }
        }
        Self { sources: ["src", "tests", "benches"].map(all).concat(), code, settings }
    }

    /// Whether a word of a document names a file, a metric or a setting that does not exist. A word with `<` or `*` is a
    /// pattern. In a block of code, `api.connect` is no setting.
    fn is_missing(&self, word: &str, is_in_block: bool) -> bool {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let name_len = word.find(|c: char| !is_name(c)).unwrap_or(word.len());
        let (name, rest) = word.split_at(name_len);
        let has_folder = ["src", "tests", "benches", "docs", "migrations"].contains(&name) && rest.starts_with('/');
        if word.contains(['<', '*', '…']) {
            false
        } else if has_folder || word.ends_with(".rs") {
            !root().join(word).exists() && !self.sources.iter().any(|path| path.ends_with(word))
        } else if name.starts_with("ingle_") {
            !self.code.contains(&format!("\"{name}\"")) && !self.code.contains(&format!(" {name} = "))
        } else if let Some(setting) = rest.strip_prefix('.').filter(|_| self.settings.contains(&format!("{name}."))) {
            let is_file = ["json", "key", "pem"].contains(&setting);
            !is_in_block && !is_file && !self.settings.contains(&format!("{name}.{setting}"))
        } else {
            false
        }
    }
}

/// Whether `cargo test --test ingle` with this filter runs any test, judging by the files of tests.
fn is_test_module(filter: &str) -> bool {
    let path = root().join("tests").join(filter.replace("::", "/"));
    path.exists() || path.with_extension("rs").exists()
}

#[test]
fn documents_name_only_what_exists() {
    let existing = Existing::read();
    let mut missing = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let words = words_in_backticks(&text);
        for (index, Word { line, is_in_block, text }) in words.iter().enumerate() {
            let word = text.trim_matches([',', ';', ':', '(', ')', '"', '\'', '.', '\\']);
            let is_filter = index >= 2 && words[index - 2].text == "--test" && words[index - 1].text == "ingle";
            if existing.is_missing(word, *is_in_block) || (is_filter && !is_test_module(word)) {
                missing.push(format!("{}:{line}: {word}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "documents name what does not exist:\n{}", missing.join("\n"));
}

/// The text of the event that a call of a `tracing` macro logs. `call` begins after the opening parenthesis. Values that
/// are put into the text are shown as `…`.
fn event_text(call: &str) -> String {
    let literal = call.split_once('"').unwrap().1;
    let (mut text, mut characters, mut is_value) = (String::new(), literal.chars(), false);
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => {
                // The end of a line of the source, with the indentation of the next line.
                let rest = characters.as_str().trim_start();
                characters = rest.chars();
            }
            '{' => is_value = true,
            '}' => {
                is_value = false;
                text.push('…');
            }
            '`' => {}
            _ if is_value => {}
            other => text.push(other),
        }
    }
    text
}

#[test]
fn the_page_about_the_log_lists_every_event() {
    let page = fs::read_to_string(root().join("docs/logging.md")).unwrap();
    let (mut found, mut missing) = (0, Vec::new());
    for path in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        for level in ["error", "warn", "info", "debug"] {
            for call in text.split(&format!("tracing::{level}!(")).skip(1) {
                let event = event_text(call);
                found += 1;
                // The text of the other events is a value, which the page describes.
                if event != "…" && !page.contains(&format!("| {level} | `{event}` |")) {
                    missing.push(format!("{}: {level} {event}", path.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "docs/logging.md does not list:\n{}", missing.join("\n"));
    assert!(found > 60, "only {found} events were seen");
}

#[test]
fn the_page_about_the_log_describes_every_reason_of_a_refusal() {
    let page = fs::read_to_string(root().join("docs/logging.md")).unwrap();
    for reason in ingle::refusals::Reason::ALL {
        let row = format!("| `{}` | `{}` |", reason.name(), reason.description());
        assert!(page.contains(&row), "docs/logging.md has no row {row}");
    }
}

/// Everyday words that stood for a term of the field, and the term. They read like riddles, so they are not used again.
const RETIRED: [(&str, &str); 9] = [
    ("ear", "subscriber"),
    ("ears", "subscribers"),
    ("hears", "receives"),
    ("heard", "received"),
    ("told", "sent, reported or received"),
    ("wish", "desired value"),
    ("wishes", "desired values"),
    ("wished", "desired"),
    ("abroad", "held_elsewhere"),
];

#[test]
fn retired_words_do_not_come_back() {
    let is_text = |path: &PathBuf| path.extension().is_some_and(|name| name == "rs" || name == "py" || name == "js");
    let sources = ["src", "tests", "benches"].map(|name| files(&root().join(name)));
    let sources = sources.into_iter().flatten().filter(is_text).filter(|path| !path.ends_with("tidy/documents.rs"));
    for path in sources.chain(documents()) {
        let text = fs::read_to_string(&path).unwrap();
        for (index, line) in text.lines().enumerate() {
            // The column of a migration that has landed.
            let line = line.replace("is_told", "");
            let words = line.split(|sign: char| !sign.is_ascii_alphabetic()).map(str::to_lowercase);
            for word in words {
                let retired = RETIRED.iter().find(|(retired, _)| *retired == word);
                assert!(retired.is_none(), "{}:{}: {retired:?}", path.display(), index + 1);
            }
        }
    }
}

/// All files below a folder, without what Python and npm install.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let entries = entries.filter(|path| !path.ends_with("node_modules") && !path.ends_with("__pycache__"));
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
