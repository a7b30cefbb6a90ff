//! Tensors from safetensors files: single, sharded, or 8-bit with a scale.
//!
//! Files are read a tensor at a time, so that loading needs the memory of the model and of one tensor more.
//! Every tensor is widened to f32 (candle has no bf16 kernel on CPUs), and every weight is checked to be finite.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use lorank_core::Digest;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::Deserialize;

use crate::ModelError;
use crate::files::{Blob, Files};

/// The tensors of one model or adapter.
#[derive(Debug)]
pub(crate) struct Weights {
    folder: String,
    shards: Vec<Shard>,
    tensors: BTreeMap<String, Entry>,
    /// The hash of each tensor read so far.
    hashes: BTreeMap<String, blake3::Hash>,
}

#[derive(Debug)]
struct Shard {
    file: String,
    blob: Blob,
    /// Where the tensors' bytes begin.
    data_start: u64,
}

#[derive(Debug)]
struct Entry {
    shard: usize,
    info: TensorInfo,
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
pub(crate) struct ShardIndex {
    /// From a tensor to the file that holds it.
    pub(crate) weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens a base model's weights: `model.safetensors`, or the shards of its index, or `model.int8.safetensors`.
    pub(crate) fn of_base(files: &Files) -> Result<Self, ModelError> {
        if let Some(single) = ["model.safetensors", "model.int8.safetensors"].into_iter().find(|file| files.has(file)) {
            return Self::open(files, &[single.to_owned()]);
        }
        let Some(index) = files.read_json::<ShardIndex>("model.safetensors.index.json")? else {
            return Err(missing(files, "model.safetensors"));
        };
        let mut shards: Vec<String> = index.weight_map.values().cloned().collect();
        shards.sort();
        shards.dedup();
        let weights = Self::open(files, &shards)?;
        match index.weight_map.keys().find(|name| !weights.has(name)) {
            Some(tensor) => {
                let file = files.describe(&index.weight_map[tensor]);
                Err(ModelError::MissingTensor { file, tensor: tensor.clone() })
            }
            None => Ok(weights),
        }
    }

    /// Opens an adapter's weights: `adapter_model.safetensors`.
    pub(crate) fn of_adapter(files: &Files) -> Result<Self, ModelError> {
        const FILE: &str = "adapter_model.safetensors";
        if !files.has(FILE) {
            return Err(missing(files, FILE));
        }
        Self::open(files, &[FILE.to_owned()])
    }

    fn open(files: &Files, names: &[String]) -> Result<Self, ModelError> {
        let mut shards = Vec::new();
        let mut tensors = BTreeMap::new();
        for name in names {
            let (shard, metadata) = open_shard(files, name)?;
            let found = metadata.tensors().into_iter();
            tensors.extend(found.map(|(name, info)| (name, Entry { shard: shards.len(), info: info.clone() })));
            shards.push(shard);
        }
        Ok(Self { folder: files.name().to_owned(), shards, tensors, hashes: BTreeMap::new() })
    }

    /// Whether the tensor is there.
    pub(crate) fn has(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    /// The names of all tensors, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Reads a tensor of the given shape as f32.
    pub(crate) fn tensor(&mut self, tensor: &str, expected: &[usize], device: &Device) -> Result<Tensor, ModelError> {
        let entry = self.entry(tensor)?;
        if entry.info.shape != expected {
            return Err(ModelError::Shape {
                file: self.file_of(entry),
                tensor: tensor.to_owned(),
                expected: expected.to_vec(),
                found: entry.info.shape.clone(),
            });
        }
        let values = self.values(tensor)?;
        if !values.iter().all(|value| value.is_finite()) {
            let file = self.file_of(self.entry(tensor)?);
            return Err(ModelError::NotFiniteWeight { file, tensor: tensor.to_owned() });
        }
        Ok(Tensor::from_vec(values, expected, device)?)
    }

    /// The hash of the tensors read so far, by name; the same whether they stood in one file or in shards.
    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for (name, hash) in &self.hashes {
            hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes()).update(hash.as_bytes());
        }
        Digest::new(*hasher.finalize().as_bytes())
    }

    fn entry(&self, tensor: &str) -> Result<&Entry, ModelError> {
        let missing = || ModelError::MissingTensor { file: self.folder.clone(), tensor: tensor.to_owned() };
        self.tensors.get(tensor).ok_or_else(missing)
    }

    fn file_of(&self, entry: &Entry) -> String {
        self.shards[entry.shard].file.clone()
    }

    fn values(&mut self, tensor: &str) -> Result<Vec<f32>, ModelError> {
        let entry = self.entry(tensor)?;
        let (shard, dtype, (start, end)) = (entry.shard, entry.info.dtype, entry.info.data_offsets);
        let Shard { blob, data_start, .. } = &mut self.shards[shard];
        let bytes = blob.read_at(*data_start + start as u64, end - start)?;
        self.hashes.insert(tensor.to_owned(), blake3::hash(&bytes));
        let unreadable = |weights: &Self| ModelError::ElementType {
            file: weights.shards[shard].file.clone(),
            tensor: tensor.to_owned(),
            found: format!("{dtype:?}"),
        };
        match dtype {
            Dtype::F32 => Ok(elements(&bytes, f32::from_le_bytes)),
            Dtype::BF16 => Ok(elements(&bytes, |b| half::bf16::from_le_bytes(b).to_f32())),
            Dtype::F16 => Ok(elements(&bytes, |b| half::f16::from_le_bytes(b).to_f32())),
            Dtype::I8 | Dtype::U8 if self.has(&format!("{tensor}.scale")) => {
                let scale = self.one_value(&format!("{tensor}.scale"))?;
                let zero_point = self.one_value(&format!("{tensor}.zero_point"))?;
                let integer =
                    |byte: u8| if dtype == Dtype::I8 { f32::from(byte.cast_signed()) } else { f32::from(byte) };
                Ok(bytes.iter().map(|byte| (integer(*byte) - zero_point) * scale).collect())
            }
            // The zero point itself.
            Dtype::I8 if tensor.ends_with(".zero_point") => Ok(elements(&bytes, |[b]| f32::from(b.cast_signed()))),
            Dtype::U8 if tensor.ends_with(".zero_point") => Ok(elements(&bytes, |[b]| f32::from(b))),
            _ => Err(unreadable(self)),
        }
    }

    /// A scale or a zero point: one for the whole tensor.
    fn one_value(&mut self, tensor: &str) -> Result<f32, ModelError> {
        let values = self.values(tensor)?;
        let [value] = values[..] else {
            let entry = self.entry(tensor)?;
            let (file, found) = (self.file_of(entry), entry.info.shape.clone());
            return Err(ModelError::Shape { file, tensor: tensor.to_owned(), expected: vec![1], found });
        };
        Ok(value)
    }
}

fn missing(files: &Files, file: &'static str) -> ModelError {
    let folder = files.name().to_owned();
    match files.pickle() {
        Some(file) => ModelError::PickleRefused { folder, file },
        None => ModelError::MissingFile { folder, file, hint: "weights are read from safetensors files" },
    }
}

fn open_shard(files: &Files, name: &str) -> Result<(Shard, Metadata), ModelError> {
    let mut blob = files.open(name)?;
    let file = files.describe(name);
    let corrupt = |why: String| ModelError::Corrupt { file: file.clone(), why };
    if blob.len() < 8 {
        return Err(corrupt(format!("it is {} bytes long", blob.len())));
    }
    let header_len = u64::from_le_bytes(blob.read_at(0, 8)?.as_ref().try_into().expect("eight bytes were read"));
    if header_len > blob.len() - 8 {
        let why = format!(
            "its header should be {header_len} bytes long, but only {} follow; it was cut short or is another format",
            blob.len() - 8
        );
        return Err(corrupt(why));
    }
    let header = blob.read_at(8, usize::try_from(header_len).expect("shorter than the file"))?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|error| corrupt(format!("its header cannot be read ({error})")))?;
    let expected = 8 + header_len + metadata.data_len() as u64;
    if blob.len() != expected {
        return Err(corrupt(format!("it should be {expected} bytes long, but is {}; fetch it again", blob.len())));
    }
    Ok((Shard { file, blob, data_start: 8 + header_len }, metadata))
}

fn elements<const N: usize>(bytes: &[u8], decode: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (chunks, rest) = bytes.as_chunks::<N>();
    debug_assert!(rest.is_empty(), "the header's shape and offsets agree");
    chunks.iter().map(|chunk| decode(*chunk)).collect()
}
