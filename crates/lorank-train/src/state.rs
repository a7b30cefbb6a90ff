//! The state of a training in its folder, from which an interrupted training goes on.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lorank_model::TrainedAdapter;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::{AdamW, TrainError};

/// The file beside the adapter's files.
pub(crate) const FILE: &str = "training-state.safetensors";

/// The key of [`Progress`] in the file's metadata.
const PROGRESS: &str = "progress";

/// What a training has done. The tensors of the file are the adapter's parameters and their moments.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The number of steps done.
    pub(crate) step: usize,
    /// The held-out nDCG@10 before training.
    pub(crate) first_ndcg: f64,
    /// The best nDCG@10 and its step.
    pub(crate) best: Option<(f64, usize)>,
    /// The number of measurements since then.
    pub(crate) n_worse: usize,
    pub(crate) n_evaluations: usize,
    pub(crate) n_pairs: usize,
    pub(crate) train_seconds: f64,
    pub(crate) evaluation_seconds: f64,
    pub(crate) fingerprint: Fingerprint,
}

/// Digests of all that decides the steps: a training goes on only with the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    pub(crate) base: String,
    pub(crate) adapter: String,
    pub(crate) groups: String,
    pub(crate) held_out: String,
    pub(crate) options: String,
}

impl Progress {
    /// Before the first step.
    pub(crate) fn new(first_ndcg: f64, fingerprint: Fingerprint) -> Self {
        Self {
            step: 0,
            first_ndcg,
            best: None,
            n_worse: 0,
            n_evaluations: 0,
            n_pairs: 0,
            train_seconds: 0.0,
            evaluation_seconds: 0.0,
            fingerprint,
        }
    }
}

impl Fingerprint {
    /// What differs between two trainings, in words.
    fn difference(&self, other: &Self) -> Option<&'static str> {
        let parts = [
            (&self.base, &other.base, "another base model"),
            (&self.adapter, &other.adapter, "other settings of the adapter"),
            (&self.groups, &other.groups, "other groups"),
            (&self.held_out, &other.held_out, "other held-out queries"),
            (&self.options, &other.options, "other options of the training"),
        ];
        parts.into_iter().find(|(a, b, _)| a != b).map(|(_, _, what)| what)
    }
}

/// A digest of a value's description.
pub(crate) fn digest(value: &impl fmt::Debug) -> String {
    let mut hasher = blake3::Hasher::new();
    write!(hasher, "{value:?}").expect("a hasher takes all bytes");
    hasher.finalize().to_hex().to_string()
}

/// The path of a folder's state.
pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Writes the state. A file is never half written.
pub(crate) fn write(
    folder: &Path,
    adapter: &TrainedAdapter,
    optimizer: &AdamW,
    progress: &Progress,
) -> Result<(), TrainError> {
    let path = path(folder);
    let values = adapter.parameters.iter().map(|parameter| &parameter.values);
    let moments = optimizer.moments().iter().flatten();
    let tensors: Vec<(String, Vec<u8>)> = values
        .chain(moments)
        .enumerate()
        .map(|(number, values)| (number.to_string(), values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let views = tensors.iter().map(|(name, bytes)| {
        let view = TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes);
        (name, view.expect("a tensor has as many numbers as its shape"))
    });
    let progress = serde_json::to_string(progress).expect("numbers and strings are JSON");
    let metadata = HashMap::from([(PROGRESS.to_owned(), progress)]);
    let bytes = safetensors::serialize(views, Some(metadata)).expect("tensors of memory can be serialized");
    let new = path.with_extension("new");
    let write = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(&new, bytes)?;
        fs::rename(&new, &path)
    };
    write().map_err(TrainError::file("write", &path))
}

/// Reads the state of a training with this fingerprint into a new adapter and a new optimizer.
pub(crate) fn read(
    folder: &Path,
    adapter: &mut TrainedAdapter,
    optimizer: &mut AdamW,
    fingerprint: &Fingerprint,
) -> Result<Progress, TrainError> {
    let path = path(folder);
    let refused = |problem: String| TrainError::Resume { file: path.clone(), problem };
    let bytes = fs::read(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => refused("there is none: no training in this folder was interrupted".to_owned()),
        _ => TrainError::file("read", &path)(source),
    })?;
    let damaged = |what: &str| refused(format!("it is damaged ({what}); start anew"));
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(&error.to_string()))?;
    let progress = metadata.metadata().as_ref().and_then(|metadata| metadata.get(PROGRESS));
    let progress: Progress = serde_json::from_str(progress.ok_or_else(|| damaged("no progress"))?)
        .map_err(|error| damaged(&error.to_string()))?;
    if let Some(what) = progress.fingerprint.difference(fingerprint) {
        return Err(refused(format!("it is of a training with {what}; give the same flags and data, or start anew")));
    }
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| damaged(&error.to_string()))?;
    let n_parameters = adapter.parameters.len();
    let read = |number: usize, len: usize| {
        let name = number.to_string();
        let tensor = tensors.tensor(&name).map_err(|error| damaged(&error.to_string()))?;
        let (numbers, rest) = tensor.data().as_chunks::<4>();
        if tensor.dtype() != Dtype::F32 || numbers.len() != len || !rest.is_empty() {
            return Err(damaged("a tensor of another shape"));
        }
        Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<f32>>())
    };
    let mut moments = Vec::new();
    for (number, parameter) in adapter.parameters.iter_mut().enumerate() {
        let len = parameter.values.len();
        parameter.values = read(number, len)?;
        let first = n_parameters + 2 * number;
        moments.push([read(first, len)?, read(first + 1, len)?]);
    }
    optimizer.restore(progress.step, moments);
    Ok(progress)
}

/// Removes the state, if there is one: the training has ended.
pub(crate) fn remove(folder: &Path) -> Result<(), TrainError> {
    let path = path(folder);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(TrainError::file("remove", &path)(source)),
        _ => Ok(()),
    }
}

/// Whether a folder has the state of an interrupted training.
pub fn was_interrupted(folder: &Path) -> bool {
    path(folder).exists()
}
