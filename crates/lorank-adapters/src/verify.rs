//! Verification of the files on disk.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lorank_core::{AdapterId, Digest};

use crate::RegistryError;
use crate::disk::{hash_file, read_error};
use crate::entry::StoredFile;
use crate::finding::{Fault, Finding};
use crate::layout::{ADAPTERS, DOCUMENT, INCOMING, LOCK, Layout, is_leftover};
use crate::state::State;

/// Compares the folders with the state. Unused folders wait for collection and are not faults.
pub(crate) fn check(layout: &Layout, state: &State) -> Result<Vec<Finding>, RegistryError> {
    let mut findings = Vec::new();
    let used = state.contents();
    let known = [DOCUMENT, ADAPTERS, INCOMING, LOCK].map(String::from);
    for name in names(&layout.folder)?.difference(&BTreeSet::from(known)) {
        if *name != format!("{DOCUMENT}.new") {
            findings.push(Finding { path: layout.folder.join(name), what: Fault::Extra, ids: Vec::new() });
        }
    }
    for name in names(&layout.adapters())? {
        let path = layout.adapters().join(&name);
        let is_content = name.parse::<Digest>().is_ok() && path.is_dir();
        if !is_content && !is_leftover(&name) {
            findings.push(Finding { path, what: Fault::Extra, ids: Vec::new() });
        }
    }
    for content in used {
        let mut sharing = state.adapters().filter(|entry| entry.content == content).peekable();
        let files = sharing.peek().map(|entry| entry.files.clone()).unwrap_or_default();
        let ids: Vec<AdapterId> = sharing.map(|entry| entry.id.clone()).collect();
        findings.extend(check_folder(&layout.adapter(content), &files, &ids)?);
    }
    findings.sort();
    Ok(findings)
}

/// Compares an adapter's folder with its entry.
pub(crate) fn check_folder(
    folder: &Path,
    files: &[StoredFile],
    ids: &[AdapterId],
) -> Result<Vec<Finding>, RegistryError> {
    let finding = |path: PathBuf, what| Finding { path, what, ids: ids.to_vec() };
    if !folder.is_dir() {
        return Ok(vec![finding(folder.into(), Fault::Missing)]);
    }
    let known: BTreeSet<String> = files.iter().map(|file| file.name.clone()).collect();
    let extra = names(folder)?.difference(&known).map(|name| finding(folder.join(name), Fault::Extra)).collect();
    let mut findings: Vec<Finding> = extra;
    for file in files {
        let path = folder.join(&file.name);
        if let Some(what) = fault(&path, file) {
            findings.push(finding(path, what));
        }
    }
    Ok(findings)
}

fn fault(path: &Path, file: &StoredFile) -> Option<Fault> {
    match hash_file(path) {
        Ok(found) => (found != (file.digest, file.bytes)).then_some(Fault::Changed),
        Err(RegistryError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Some(Fault::Missing),
        Err(_) => Some(Fault::Unreadable),
    }
}

/// The names in a folder; empty if it does not exist.
pub(crate) fn names(folder: &Path) -> Result<BTreeSet<String>, RegistryError> {
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        listed => listed.map_err(read_error(folder))?,
    };
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    listed.map(name).collect::<io::Result<_>>().map_err(read_error(folder))
}
