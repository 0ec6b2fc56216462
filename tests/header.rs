//! The committed header is the one that the sources give.

use std::fs;

#[test]
fn the_committed_header_is_current() {
    let generated = fs::read_to_string(env!("INFERNO_GENERATED_HEADER")).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/include/inferno.h");
    let committed = fs::read_to_string(path).unwrap();
    assert!(
        generated == committed,
        "include/inferno.h is not what src/ffi gives: run INFERNO_UPDATE_HEADER=1 cargo build"
    );
}

#[test]
fn the_committed_description_is_current() {
    let generated = fs::read_to_string(env!("INFERNO_GENERATED_JSON")).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/include/inferno.json");
    let committed = fs::read_to_string(path).unwrap();
    assert!(
        generated == committed,
        "include/inferno.json is not what src/ffi gives: run INFERNO_UPDATE_HEADER=1 cargo build"
    );
}

#[test]
fn every_function_tells_its_threads_and_since() {
    let header = fs::read_to_string(env!("INFERNO_GENERATED_HEADER")).unwrap();
    let mut comment = String::new();
    let mut functions = 0;
    for line in header.lines() {
        if line.starts_with("/**") {
            comment.clear();
        }
        comment.push_str(line);
        let declares = line.contains(" inferno_") || line.contains("*inferno_");
        if declares && line.contains('(') && !line.starts_with([' ', '/', 't', '#']) {
            functions += 1;
            for block in ["Threads:", "Since:"] {
                assert!(comment.contains(block), "{line}: no {block} in its comment");
            }
            if line.starts_with("enum inferno_status") {
                assert!(comment.contains("Errors:"), "{line}: no Errors: in its comment");
            }
            comment.clear();
        }
    }
    assert!(functions > 40, "only {functions} functions found");
}
