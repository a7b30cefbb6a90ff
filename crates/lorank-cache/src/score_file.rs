//! Scores kept in a file.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use lorank_core::Score;

use crate::ScoreKey;

/// The first bytes of the file, with the version of its layout.
const HEADER: [u8; 16] = *b"lorank scores 1\n";

/// A record: the key, the score, and a check of both.
const RECORD_BYTES: usize = 32 + 4 + 4;

/// Scores by their keys in a file that only grows, for long jobs that may be interrupted.
///
/// Each call of [`put`](Self::put) appends its scores at once, so a job that is killed loses only the scores of the call that was
/// running. One process at a time uses the file.
#[derive(Debug)]
pub struct ScoreFile {
    path: PathBuf,
    file: File,
    scores: HashMap<ScoreKey, Score>,
}

/// A file of scores that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScoreFileError {
    /// The file could not be opened, read or written.
    #[error("could not {action} the scores in `{path}`", path = path.display())]
    Io {
        /// `open`, `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another process has the file open.
    #[error("another process uses the scores in `{path}`; wait for its end, or name another file", path = .0.display())]
    Locked(PathBuf),
    /// The file is not one of scores.
    #[error("`{path}` is not a file of scores of this version; name another file, or delete it", path = .0.display())]
    NotScores(PathBuf),
    /// A record in the file is damaged.
    #[error("the scores in `{path}` are damaged at byte {offset}; delete the file, and they are computed again", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged record begins.
        offset: usize,
    },
}

impl ScoreFile {
    /// Opens the file, and creates it and its folder if they do not exist. An unfinished record at its end is removed.
    ///
    /// # Errors
    /// If the file cannot be read or written, is in use, is another file, or is damaged.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ScoreFileError> {
        let path = path.into();
        let failed = |action| {
            let path = path.clone();
            move |source| ScoreFileError::Io { action, path, source }
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed("open"))?;
        }
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ScoreFileError::Locked(path)),
            Err(TryLockError::Error(source)) => return Err(failed("open")(source)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed("read"))?;
        if bytes.is_empty() || HEADER.starts_with(&bytes) {
            file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&HEADER)).map_err(failed("write"))?;
            return Ok(Self { path, file, scores: HashMap::new() });
        }
        let Some(records) = bytes.strip_prefix(&HEADER) else { return Err(ScoreFileError::NotScores(path)) };
        let (scores, n_whole) = read_records(records, &path)?;
        let end = (HEADER.len() + n_whole * RECORD_BYTES) as u64;
        file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(failed("write"))?;
        Ok(Self { path, file, scores })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The score of a pair, if it is stored.
    pub fn get(&self, key: &ScoreKey) -> Option<Score> {
        self.scores.get(key).copied()
    }

    /// Stores scores.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn put(&mut self, scores: &[(ScoreKey, Score)]) -> Result<(), ScoreFileError> {
        let records: Vec<u8> = scores.iter().flat_map(|(key, score)| record(key, *score)).collect();
        let failed = |source| ScoreFileError::Io { action: "write", path: self.path.clone(), source };
        self.file.write_all(&records).map_err(failed)?;
        self.scores.extend(scores.iter().copied());
        Ok(())
    }

    /// The number of stored scores.
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Whether no score is stored.
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }
}

fn record(key: &ScoreKey, score: Score) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..32].copy_from_slice(key.as_bytes());
    record[32..36].copy_from_slice(&score.get().to_le_bytes());
    let check = check(&record[..36]);
    record[36..].copy_from_slice(&check);
    record
}

fn check(bytes: &[u8]) -> [u8; 4] {
    *blake3::hash(bytes).as_bytes().first_chunk().expect("a hash is longer than a check")
}

/// The scores of the whole records, and how many records there are. The last one may be torn.
fn read_records(bytes: &[u8], path: &Path) -> Result<(HashMap<ScoreKey, Score>, usize), ScoreFileError> {
    let mut scores = HashMap::new();
    let (records, _) = bytes.as_chunks::<RECORD_BYTES>();
    for (n, record) in records.iter().enumerate() {
        let (pair, sum) = record.split_at(36);
        let (key, value) = pair.split_at(32);
        let key = ScoreKey::from_bytes(key.try_into().expect("a key has 32 bytes"));
        let value = f32::from_le_bytes(value.try_into().expect("a score has 4 bytes"));
        match Score::new(value) {
            Ok(score) if check(pair) == sum => scores.insert(key, score),
            _ if n + 1 == records.len() => return Ok((scores, n)),
            _ => {
                let offset = HEADER.len() + n * RECORD_BYTES;
                return Err(ScoreFileError::Damaged { path: path.to_owned(), offset });
            }
        };
    }
    Ok((scores, records.len()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use lorank_core::{Digest, ModelVersion, Precision};

    use super::*;
    use crate::KeyMaker;

    fn pairs(n: usize) -> Vec<(ScoreKey, Score)> {
        let model = ModelVersion {
            base_model: "tiny".into(),
            base_digest: Digest::new([1; 32]),
            adapter: None,
            prompt_version: Digest::new([2; 32]),
            precision: Precision::F32,
            merged: false,
        };
        let keys = KeyMaker::new("egg", &model);
        (0..n).map(|n| (keys.key(None, &n.to_string()), Score::new(n as f32 / 3.0).unwrap())).collect()
    }

    #[test]
    fn scores_are_there_when_the_file_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("scores");
        let pairs = pairs(5);
        let mut file = ScoreFile::open(&path).unwrap();
        assert!(file.is_empty());
        file.put(&pairs[..2]).unwrap();
        file.put(&pairs[2..4]).unwrap();
        assert!(matches!(ScoreFile::open(&path), Err(ScoreFileError::Locked(_))));
        drop(file);
        let file = ScoreFile::open(&path).unwrap();
        assert_eq!(file.len(), 4);
        for (key, score) in &pairs[..4] {
            assert_eq!(file.get(key), Some(*score));
        }
        assert_eq!(file.get(&pairs[4].0), None);
    }

    #[test]
    fn a_file_that_was_cut_anywhere_keeps_what_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores");
        let pairs = pairs(3);
        ScoreFile::open(&path).unwrap().put(&pairs).unwrap();
        let whole = fs::read(&path).unwrap();
        for n_bytes in 0..=whole.len() {
            fs::write(&path, &whole[..n_bytes]).unwrap();
            let mut file = ScoreFile::open(&path).unwrap();
            assert_eq!(file.len(), n_bytes.saturating_sub(HEADER.len()) / RECORD_BYTES);
            file.put(&pairs[..1]).unwrap();
            drop(file);
            assert_eq!(ScoreFile::open(&path).unwrap().get(&pairs[0].0), Some(pairs[0].1), "{n_bytes}");
        }
    }

    #[test]
    fn other_files_and_damaged_records_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores");
        fs::write(&path, "some other file").unwrap();
        assert!(matches!(ScoreFile::open(&path), Err(ScoreFileError::NotScores(_))));
        assert_eq!(fs::read(&path).unwrap(), b"some other file");
        fs::remove_file(&path).unwrap();
        ScoreFile::open(&path).unwrap().put(&pairs(3)).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[HEADER.len() + RECORD_BYTES + 33] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = ScoreFile::open(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("are damaged at byte {}", HEADER.len() + RECORD_BYTES)), "{error}");
    }
}
