//! Files of a cache, whole and not.

use super::*;

fn folder() -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().to_str().unwrap(), &LoadOptions::default()).unwrap();
    (dir, cache)
}

#[test]
fn what_differs_is_refused() {
    let (dir, cache) = folder();
    let key = [7; 32];
    cache.write_plain("x.model", &key, &("hello", 5u32));
    let read = |key: &Key| cache.read_plain::<(String, u32)>("x.model", key);
    assert_eq!(read(&key), Some(("hello".to_owned(), 5)));
    assert_eq!(read(&[8; 32]), None, "of another key");
    let path = dir.path().join("x.model");
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(read(&key), None, "cut to {cut}");
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&key), None, "byte {at} is another");
    }
    std::fs::write(&path, [whole.as_slice(), &[0]].concat()).unwrap();
    assert_eq!(read(&key), None, "a byte more");
    cache.write_plain("x.model", &key, &("again", 6u32));
    assert_eq!(read(&key), Some(("again".to_owned(), 6)), "written again");
}

#[test]
fn a_key_has_all_that_a_file_depends_on() {
    let (dir, cache) = folder();
    let open = |options: &LoadOptions| Cache::open(dir.path().to_str().unwrap(), options).unwrap();
    assert_eq!(open(&LoadOptions::default()).key, cache.key);
    let mut options = LoadOptions::default();
    options.limits.nodes -= 1;
    assert_ne!(open(&options).key, cache.key);
    let isolated = LoadOptions { isolation: Isolation::Process, ..Default::default() };
    assert_ne!(open(&isolated).key, cache.key);
    assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
}

#[test]
fn a_path_is_known_until_its_file_changes() {
    let (dir, cache) = folder();
    let file = dir.path().join("m.onnx");
    let path = file.to_str().unwrap();
    std::fs::write(&file, b"model").unwrap();
    assert_eq!(Identity::of(path), None, "it was changed a moment ago");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    let age =
        |at| std::fs::File::options().write(true).open(&file).unwrap().set_modified(at).unwrap();
    age(old);
    let known = || cache.known(&Identity::of(path).unwrap());
    cache.note(&Identity::of(path).unwrap(), &[1; 32]);
    assert_eq!(known(), Some([1; 32]));
    std::fs::write(&file, b"another").unwrap();
    age(old);
    assert_eq!(known(), None, "another size");
    std::fs::write(&file, b"MODEL").unwrap();
    age(old);
    #[cfg(any(unix, windows))]
    assert_eq!(known(), None, "the same size and time, but changed");
}

#[test]
fn the_oldest_programs_go() {
    let (dir, cache) = folder();
    for n in 0..MOST_PROGRAMS + 5 {
        let spec = Specialisation {
            inputs: vec![InputSpec::Run(crate::tensor::Shape::new(&[n + 1]).unwrap())],
        };
        let shelf = cache.shelf(&[3; 32], &spec).unwrap();
        shelf.keep(b"program", &Collected::default());
        assert_eq!(shelf.read().unwrap().meta(), b"program");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), MOST_PROGRAMS);
}
