//! Files for tests.

use std::io::Write;

use tempfile::NamedTempFile;

/// A file with this text, removed at the end of the test.
pub(crate) fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}
