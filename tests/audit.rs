//! `src/audit.rs` names every type that is public or says itself that it may
//! cross threads, and every static; and the tests that it names are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The sources of the library without comments and tests, by path.
fn sources() -> Vec<(String, String)> {
    let mut folders = vec![root().join("src")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("\n#[cfg(test)]\nmod tests").next().unwrap();
                let text = text.split("\n#[cfg(all(test").next().unwrap();
                let lines = text.lines().map(|l| l.split("//").next().unwrap());
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push((name, lines.collect::<Vec<_>>().join("\n")));
            }
        }
    }
    found
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The words of `src/audit.rs` between its brackets.
fn named() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("src/audit.rs")).unwrap();
    let table = &text[text.find("\naudit! {").unwrap()..];
    let mut names = BTreeSet::new();
    for part in table.split('[').skip(1) {
        let list = &part[..part.find(']').unwrap()];
        for name in list.split(|c: char| !c.is_alphanumeric() && c != '_') {
            names.insert(name.to_owned());
        }
    }
    names
}

#[test]
fn every_public_type_is_audited() {
    let (named, mut seen) = (named(), 0);
    for (path, text) in sources().iter().filter(|(path, _)| !path.ends_with("audit.rs")) {
        for line in text.lines() {
            for kind in ["pub struct ", "pub enum ", "pub union "] {
                let Some(rest) = line.strip_prefix(kind) else { continue };
                seen += 1;
                let name = word(rest);
                assert!(named.contains(name), "{path}: {name} is public and not in src/audit.rs");
            }
        }
    }
    assert!(seen > 60, "only {seen} types were found");
}

#[test]
fn every_type_that_says_it_may_cross_threads_is_audited() {
    let (named, mut seen) = (named(), 0);
    for (path, text) in sources() {
        for line in text.lines().filter(|l| l.trim_start().starts_with("unsafe impl")) {
            let Some((_, rest)) = line.split_once(" for ") else { continue };
            if !line.contains("Send for") && !line.contains("Sync for") {
                continue;
            }
            seen += 1;
            let name = word(rest.trim());
            assert!(named.contains(name), "{path}: {name} is not in src/audit.rs");
        }
    }
    assert!(seen > 10, "only {seen} were found");
}

#[test]
fn every_static_is_audited() {
    let (named, mut seen) = (named(), 0);
    for (path, text) in sources() {
        for line in text.lines() {
            let line = line.trim_start();
            let line = line.strip_prefix("pub(super) ").unwrap_or(line);
            let Some(rest) = line.strip_prefix("static ") else { continue };
            seen += 1;
            let name = word(rest);
            assert!(named.contains(name), "{path}: static {name} is not in src/audit.rs");
        }
    }
    assert!(seen > 20, "only {seen} were found");
}

#[test]
fn the_tests_it_names_are_there() {
    let text = fs::read_to_string(root().join("src/audit.rs")).unwrap();
    let mut seen = 0;
    for name in
        text.split('"').filter(|part| part.starts_with("tests/") || part.starts_with("src/"))
    {
        seen += 1;
        assert!(root().join(name).is_file(), "{name} is not there");
        let text = fs::read_to_string(root().join(name)).unwrap();
        let tests = text.contains("#[test]") || text.contains("RUN(") || name.ends_with(".sh");
        assert!(tests, "{name} has no tests");
    }
    assert!(seen > 30, "only {seen} were found");
}
