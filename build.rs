//! Generates `include/inferno.h` and `include/inferno.json`, and sets how the shared object is linked.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "include/bindings/describe.rs"]
mod describe;

/// The nouns, in the order in which the header tells them.
const SOURCES: [&str; 20] = [
    "status",
    "tensor",
    "log",
    "runtime",
    "memory",
    "reader",
    "limits",
    "model",
    "session",
    "ports",
    "run",
    "metrics",
    "subscription",
    "profile",
    "job",
    "queue",
    "image",
    "audio",
    "scores",
    "boxes",
];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed=cbindgen.toml");
    println!("cargo::rerun-if-changed=include/preamble.h");
    for source in SOURCES {
        println!("cargo::rerun-if-changed=src/ffi/{source}.rs");
    }
    header(&root);
    description(&root);
    link_args();
    build_id(&root);
}

/// A hash of all sources, and of what they are built with: what one build compiled is
/// nothing to another.
fn build_id(root: &Path) {
    let mut files = vec![
        root.join("Cargo.toml"),
        root.join("build.rs"),
        root.join("include/bindings/describe.rs"),
    ];
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        println!("cargo::rerun-if-changed={}", folder.display());
        for entry in fs::read_dir(&folder).expect("src is readable").flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let mut hash = DefaultHasher::new();
    for file in files.iter().chain([&root.join("Cargo.lock")]) {
        println!("cargo::rerun-if-changed={}", file.display());
        file.strip_prefix(root).unwrap_or(file).hash(&mut hash);
        fs::read(file).unwrap_or_default().hash(&mut hash);
    }
    for name in ["PROFILE", "OPT_LEVEL", "TARGET", "CARGO_CFG_TARGET_FEATURE", "RUSTC"] {
        env::var(name).unwrap_or_default().hash(&mut hash);
    }
    println!("cargo::rustc-env=INFERNO_BUILD_ID={:016x}", hash.finish());
}

/// Writes the header where it stands in the tree when that copy differs, and
/// always into `OUT_DIR`, where the test that diffs the two finds it.
fn header(root: &Path) {
    let mut config =
        cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    let version = env::var("CARGO_PKG_VERSION").expect("cargo sets it");
    let preamble = fs::read_to_string(root.join("include/preamble.h")).expect("preamble.h");
    config.header = Some(preamble.trim_end().to_owned());
    config.after_includes = Some(version_macros(&version));
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root.join(format!("src/ffi/{source}.rs")));
    }
    let bindings = builder.generate().expect("src/ffi must be readable by cbindgen");
    let mut text = Vec::new();
    bindings.write(&mut text);
    put(root, "inferno.h", "INFERNO_GENERATED_HEADER", &text);
}

/// Describes the same for programs.
fn description(root: &Path) {
    let version = env::var("CARGO_PKG_VERSION").expect("cargo sets it");
    let text = describe::describe(root, &SOURCES, &version);
    put(root, "inferno.json", "INFERNO_GENERATED_JSON", text.as_bytes());
}

/// Writes a generated file into `OUT_DIR`, of which `variable` tells the compiler, and where
/// it is committed when that is asked for.
fn put(root: &Path, name: &str, variable: &str, text: &[u8]) {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join(name);
    fs::write(&out, text).expect("OUT_DIR is writable");
    println!("cargo::rustc-env={variable}={}", out.display());
    // A packaged or read-only source tree keeps its copy: the test compares.
    if env::var_os("INFERNO_UPDATE_HEADER").is_some() {
        fs::write(root.join("include").join(name), text).expect("include is writable");
    }
    println!("cargo::rerun-if-env-changed=INFERNO_UPDATE_HEADER");
}

fn version_macros(version: &str) -> String {
    let mut parts = version.split('.').map(|p| p.parse::<u32>().expect("a numeric version"));
    let mut next = || parts.next().expect("three parts");
    let (major, minor, patch) = (next(), next(), next());
    format!(
        "\n/** The version of this header. */\n\
         #define INFERNO_VERSION_MAJOR {major}\n\
         #define INFERNO_VERSION_MINOR {minor}\n\
         #define INFERNO_VERSION_PATCH {patch}\n\
         /** The same as one number, as `inferno_version` gives it. */\n\
         #define INFERNO_VERSION {}",
        major * 1_000_000 + minor * 1_000 + patch
    )
}

/// The soname changes with the ABI; `nodelete` keeps the code mapped after
/// `dlclose`, because threads and thread-locals of a Rust library do not
/// survive unmapping.
fn link_args() {
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        let major = env::var("CARGO_PKG_VERSION_MAJOR").expect("cargo sets it");
        println!("cargo::rustc-link-arg-cdylib=-Wl,-soname,libinferno.so.{major}");
        println!("cargo::rustc-link-arg-cdylib=-Wl,-z,nodelete");
    }
}
