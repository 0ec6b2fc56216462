//! A file of metrics, for whoever collects files.

use crate::error::{self, Result};
use std::fs;
use std::path::Path;

/// Puts `text` at `path`: a reader finds the file as it was, or this one whole.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let failed = |what: &str, e: std::io::Error| error::io(format!("{what} {path:?}: {e}"));
    let name = path.file_name().ok_or_else(|| {
        error::invalid_argument(format!("path is {path:?}: expected the path of a file"))
    })?;
    // (Collectors of a folder take what ends as they want it: this does not.)
    let mut sibling = name.to_owned();
    sibling.push(format!(".{}.new", std::process::id()));
    let sibling = path.with_file_name(sibling);
    fs::write(&sibling, text).map_err(|e| failed("cannot write beside", e))?;
    fs::rename(&sibling, path).map_err(|e| {
        let _ = fs::remove_file(&sibling);
        failed("cannot write", e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_file_is_replaced_whole_or_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inferno.prom");
        write(&path, "one\n").unwrap();
        write(&path, "two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        let taken = folder.path().join("folder");
        fs::create_dir(&taken).unwrap();
        assert_eq!(write(&taken, "x").unwrap_err().kind(), Kind::Io);
        assert_eq!(write(&folder.path().join("none/x"), "x").unwrap_err().kind(), Kind::Io);
        assert_eq!(write(Path::new("/"), "x").unwrap_err().kind(), Kind::InvalidArgument);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }
}
