//! The house stays as it is drawn in `src/lib.rs`: who may call whom, where
//! tract's types may stand, where `unsafe` may.

use std::fs;
use std::path::{Path, PathBuf};

/// Each layer, and whom it may use.
const LAYERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("sync", &[]),
    ("panics", &["host"]),
    ("tensor", &["error"]),
    ("log", &["sync"]),
    ("host", &["error"]),
    ("pool", &["error", "host", "sync"]),
    ("crew", &["error", "host", "panics", "sync"]),
    ("metrics", &["error", "host", "log", "panics", "pool", "sync"]),
    ("work", &["error", "log", "panics", "pool", "sync"]),
    (
        "model",
        &["error", "host", "kernels", "log", "metrics", "panics", "pool", "sync", "tensor", "work"],
    ),
    ("kernels", &["error"]),
    ("prep", &["error", "kernels"]),
    ("plan", &["crew", "error", "kernels", "metrics", "model", "panics", "pool", "tensor", "work"]),
    ("session", &["crew", "error", "metrics", "model", "plan", "pool", "tensor", "work"]),
    (
        "queue",
        &[
            "error", "host", "kernels", "metrics", "model", "panics", "plan", "pool", "session",
            "sync", "tensor",
        ],
    ),
    ("runtime", &["error", "log", "sync"]),
    (
        "audit",
        &[
            "crew", "error", "ffi", "host", "kernels", "log", "metrics", "model", "panics", "plan",
            "pool", "prep", "queue", "runtime", "session", "sync", "tensor", "work",
        ],
    ),
    (
        "ffi",
        &[
            "crew", "error", "host", "kernels", "log", "metrics", "model", "panics", "plan",
            "pool", "prep", "queue", "runtime", "session", "sync", "tensor",
        ],
    ),
];

const TRACT: &[&str] = &["model", "plan"];
const UNSAFE: &[&str] = &[
    "crew",
    "ffi",
    "kernels",
    "pool",
    "host/clock.rs",
    "host/jobs.rs",
    "host/loaded.rs",
    "host/memory.rs",
    "host/mapped.rs",
    "host/place.rs",
    "work",
    "session/bind.rs",
    "queue/lent.rs",
    "queue/owned.rs",
    "queue/core.rs",
    "queue/step.rs",
];

struct Source {
    /// Relative to `src`, with `/`.
    path: String,
    layer: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let relative = path.strip_prefix(&root).unwrap().to_str().unwrap();
                let relative = relative.replace('\\', "/");
                let layer = relative.split('/').next().unwrap().trim_end_matches(".rs");
                found.push(Source {
                    layer: layer.to_owned(),
                    text: code(&fs::read_to_string(&path).unwrap()),
                    path: relative,
                });
            }
        }
    }
    found
}

/// Without comments; tests are held to the same rules.
fn code(text: &str) -> String {
    let kept = text.lines().map(|l| l.split_once("//").map_or(l, |(code, _)| code));
    kept.collect::<Vec<_>>().join("\n")
}

fn used_layers(text: &str) -> Vec<String> {
    let mut used = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        // `$crate::` in a macro is the same; `tract_onnx::…crate::` does not exist.
        let rest = &text[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or("").split(',').map(str::trim).collect(),
            None => vec![rest],
        };
        for name in names {
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
            used.push(name[..end].to_owned());
        }
    }
    used
}

#[test]
fn layers_call_downwards_only() {
    for source in sources().iter().filter(|s| s.layer != "lib") {
        let (_, allowed) = LAYERS
            .iter()
            .find(|(layer, _)| *layer == source.layer)
            .unwrap_or_else(|| panic!("{}: a layer that LAYERS does not know", source.path));
        for used in used_layers(&source.text) {
            let known = LAYERS.iter().any(|(layer, _)| *layer == used);
            assert!(
                !known || used == source.layer || allowed.contains(&used.as_str()),
                "{} uses crate::{used}: {} may use {allowed:?}",
                source.path,
                source.layer
            );
        }
    }
}

#[test]
fn tract_stays_in_model_and_plan() {
    for source in sources() {
        let uses = source.text.contains("tract_onnx");
        assert!(!uses || TRACT.contains(&source.layer.as_str()), "{} names tract", source.path);
    }
}

#[test]
fn unsafe_stays_at_the_boundary() {
    for source in sources() {
        let uses =
            source.text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "unsafe");
        let may = UNSAFE.iter().any(|u| source.layer == *u || source.path == *u);
        assert!(!uses || may, "{} has unsafe code", source.path);
    }
}

#[test]
fn files_stay_small_enough_to_live_in() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= 700, "{} has {lines} lines", source.path);
    }
}
