//! Tensors from safetensors files: a single file, shards, or 8-bit integers with a scale.
//!
//! A tensor is read from its file on demand, converted row by row to its final form, and dropped. Loading therefore
//! needs the memory of the loaded model plus one tensor. The digest covers the exact bytes of the weights. Every weight
//! is checked to be finite.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use lorank_core::Digest;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::Deserialize;

use crate::ModelError;
use crate::files::{Blob, Files, is_plain_name};
use crate::keys;

/// The file of an adapter's weights.
pub(crate) const ADAPTER_FILE: &str = "adapter_model.safetensors";

/// The maximum size of a file's header in bytes, as in the safetensors format.
const HEADER_BYTES_MAX: u64 = 100_000_000;

/// The tensors of one model or adapter.
#[derive(Debug)]
pub(crate) struct Weights {
    folder: String,
    shards: Vec<Shard>,
    tensors: BTreeMap<String, LocatedTensor>,
    /// The hash of each tensor read so far.
    hashes: BTreeMap<String, blake3::Hash>,
}

#[derive(Debug)]
struct Shard {
    file: String,
    blob: Blob,
    /// The offset of the tensors' bytes.
    data_start: u64,
}

#[derive(Debug)]
struct LocatedTensor {
    shard: usize,
    info: TensorInfo,
}

/// The index of tensors and their files.
pub(crate) const SHARD_INDEX: &str = "model.safetensors.index.json";

/// [`SHARD_INDEX`].
#[derive(Deserialize)]
pub(crate) struct ShardIndex {
    /// Maps each tensor to its file.
    weight_map: BTreeMap<String, String>,
}

impl ShardIndex {
    /// The files with weights. Each must be a plain name, because a path could lead out of the folder.
    pub(crate) fn shards(&self, folder: &str) -> Result<BTreeSet<String>, ModelError> {
        let shards: BTreeSet<String> = self.weight_map.values().cloned().collect();
        match shards.iter().find(|shard| !is_plain_name(shard) || !shard.ends_with(".safetensors")) {
            Some(shard) => Err(ModelError::Unsupported {
                folder: folder.to_owned(),
                file: SHARD_INDEX,
                what: keys::describe("weight_map", &shard.as_str().into()),
                hint: "; a safetensors file in the same folder is".into(),
            }),
            None => Ok(shards),
        }
    }
}

/// The prefix of a backbone's tensor names in a model with a head, and how these names continue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prefix {
    pub(crate) prefix: &'static str,
    pub(crate) names: &'static [&'static str],
}

/// A file with the tensors of one module of sentence-transformers.
#[derive(Debug, Clone)]
pub(crate) struct ModuleTensors {
    /// The file's path below the model's folder.
    pub(crate) file: String,
    /// How the names of its tensors begin, and how they begin in the model.
    pub(crate) inner: String,
    pub(crate) name: String,
}

impl Weights {
    /// Opens a base model's weights: `model.safetensors`, or the shards of its index, or `model.int8.safetensors`.
    ///
    /// Names are those of the model with a head, even if the checkpoint lacks the prefix or uses TensorFlow's names of
    /// norms. The tensors of modules replace those of a head of the same names.
    pub(crate) fn of_base(files: &Files, prefix: Prefix, modules: &[ModuleTensors]) -> Result<Self, ModelError> {
        let mut weights = Self::open_base(files)?;
        let has_prefix = weights.names().any(|name| name.starts_with(prefix.prefix));
        let rename = |name: String| match prefix.names.iter().any(|begin| name.starts_with(begin)) && !has_prefix {
            true => modern_name(&format!("{}{name}", prefix.prefix)),
            false => modern_name(&name),
        };
        weights.tensors = weights.tensors.into_iter().map(|(name, entry)| (rename(name), entry)).collect();
        modules.iter().try_for_each(|module| weights.add_module(files, module))?;
        Ok(weights)
    }

    /// Adds the tensors of a module under their names in the model.
    fn add_module(&mut self, files: &Files, module: &ModuleTensors) -> Result<(), ModelError> {
        let (shard, metadata) = open_shard(files, &module.file)?;
        let n_shards = self.shards.len();
        let rename = |name: String| match name.strip_prefix(&module.inner) {
            Some(rest) => format!("{}{rest}", module.name),
            None => format!("{}: {name}", module.file),
        };
        let found = metadata.tensors().into_iter();
        let found = found.map(|(name, info)| (rename(name), LocatedTensor { shard: n_shards, info: info.clone() }));
        self.tensors.extend(found);
        self.shards.push(shard);
        Ok(())
    }

    fn open_base(files: &Files) -> Result<Self, ModelError> {
        if let Some(single) = ["model.safetensors", "model.int8.safetensors"].into_iter().find(|file| files.has(file)) {
            return Self::open(files, &[single.to_owned()]);
        }
        let Some(index) = files.read_json::<ShardIndex>(SHARD_INDEX)? else {
            return Err(missing(files, "model.safetensors"));
        };
        let shards: Vec<String> = index.shards(files.name())?.into_iter().collect();
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
        if !files.has(ADAPTER_FILE) {
            return Err(missing(files, ADAPTER_FILE));
        }
        Self::open(files, &[ADAPTER_FILE.to_owned()])
    }

    fn open(files: &Files, names: &[String]) -> Result<Self, ModelError> {
        let mut shards = Vec::new();
        let mut tensors = BTreeMap::new();
        for name in names {
            let (shard, metadata) = open_shard(files, name)?;
            let found = metadata.tensors().into_iter();
            tensors.extend(found.map(|(name, info)| (name, LocatedTensor { shard: shards.len(), info: info.clone() })));
            shards.push(shard);
        }
        Ok(Self { folder: files.name().to_owned(), shards, tensors, hashes: BTreeMap::new() })
    }

    /// Whether the tensor exists.
    pub(crate) fn has(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    /// The names of all tensors, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor.
    pub(crate) fn shape(&self, tensor: &str) -> Option<Vec<usize>> {
        self.tensors.get(tensor).map(|entry| entry.info.shape.clone())
    }

    /// The shapes of the matrices whose names are accepted.
    pub(crate) fn matrices(&self, accept: impl Fn(&str) -> bool) -> Vec<[usize; 2]> {
        let accepted = self.tensors.iter().filter(|(name, _)| accept(name));
        accepted.filter_map(|(_, entry)| <[usize; 2]>::try_from(&*entry.info.shape).ok()).collect()
    }

    /// The total number of parameters, from the files' headers.
    pub(crate) fn n_parameters(&self) -> usize {
        self.tensors.values().map(|entry| entry.info.shape.iter().product::<usize>()).sum()
    }

    /// Reads a matrix of the given shape with `read`, which requests each row as f32 at least once.
    pub(crate) fn matrix<T>(
        &mut self,
        tensor: &str,
        [n_rows, width]: [usize; 2],
        read: impl FnOnce(&mut dyn FnMut(usize, &mut [f32])) -> T,
    ) -> Result<T, ModelError> {
        self.with_values(tensor, &[n_rows, width], |bytes, coding| {
            let row_bytes = width * coding.n_bytes();
            let mut finite = true;
            let made = read(&mut |row, values| {
                coding.decode(&bytes[row * row_bytes..][..row_bytes], values);
                finite &= values.iter().all(|value| value.is_finite());
            });
            (made, finite)
        })
    }

    /// Reads a tensor of the given shape as f32.
    pub(crate) fn values(&mut self, tensor: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        self.with_values(tensor, shape, |bytes, coding| {
            let mut values = vec![0.0; shape.iter().product()];
            coding.decode(&bytes, &mut values);
            let finite = values.iter().all(|value| value.is_finite());
            (values, finite)
        })
    }

    /// Passes the bytes of a matrix of the given shape, which [`is_bf16`](Self::is_bf16), to `read`: little-endian, row by row.
    pub(crate) fn bf16<T>(
        &mut self,
        tensor: &str,
        shape: [usize; 2],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, ModelError> {
        // Infinities and NaN have all bits of the exponent.
        let is_finite = |bytes: &[u8; 2]| u16::from_le_bytes(*bytes) & 0x7f80 != 0x7f80;
        self.with_values(tensor, &shape, |bytes, _| (read(&bytes), bytes.as_chunks().0.iter().all(is_finite)))
    }

    /// Some rows of a matrix of the given shape, concatenated: [ids.len(), width].
    pub(crate) fn rows(
        &mut self,
        tensor: &str,
        [n_rows, width]: [usize; 2],
        ids: &[usize],
    ) -> Result<Vec<f32>, ModelError> {
        self.with_values(tensor, &[n_rows, width], |bytes, coding| {
            let table = Table::new(bytes, coding, width);
            let mut rows = vec![0.0; ids.len() * width];
            ids.iter().zip(rows.chunks_mut(width)).for_each(|(id, row)| table.read(*id, row));
            let is_finite = rows.iter().all(|value| value.is_finite());
            (rows, is_finite)
        })
    }

    /// The folder's name.
    pub(crate) fn folder(&self) -> &str {
        &self.folder
    }

    /// Keeps a matrix as stored in its file, to look up rows in it.
    pub(crate) fn table(&mut self, tensor: &str, shape: [usize; 2]) -> Result<Table, ModelError> {
        let table = self.with_values(tensor, &shape, |bytes, coding| (Table::new(bytes, coding, shape[1]), true))?;
        let mut row = vec![0.0; shape[1]];
        for n in 0..shape[0] {
            table.read(n, &mut row);
            if !row.iter().all(|value| value.is_finite()) {
                return Err(self.not_finite(tensor));
            }
        }
        Ok(table)
    }

    /// The names of the tensors that were not read.
    pub(crate) fn unread(&self) -> impl Iterator<Item = &str> {
        self.names().filter(|name| !self.hashes.contains_key(*name))
    }

    /// Whether a tensor is stored in at most 16 bits, as bfloat16.
    pub(crate) fn is_bf16(&self, tensor: &str) -> bool {
        self.tensors.get(tensor).is_some_and(|entry| entry.info.dtype == Dtype::BF16)
    }

    /// The hash of the tensors read so far, by name; it does not depend on how they are divided into files.
    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for (name, hash) in &self.hashes {
            hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes()).update(hash.as_bytes());
        }
        Digest::new(*hasher.finalize().as_bytes())
    }

    fn entry(&self, tensor: &str) -> Result<&LocatedTensor, ModelError> {
        let missing = || ModelError::MissingTensor { file: self.folder.clone(), tensor: tensor.to_owned() };
        self.tensors.get(tensor).ok_or_else(missing)
    }

    fn file_of(&self, entry: &LocatedTensor) -> String {
        self.shards[entry.shard].file.clone()
    }

    fn not_finite(&self, tensor: &str) -> ModelError {
        let file = self.tensors.get(tensor).map_or_else(|| self.folder.clone(), |entry| self.file_of(entry));
        ModelError::NotFiniteWeight { file, tensor: tensor.to_owned() }
    }

    /// Passes the bytes of a tensor of this shape to `read`, which also returns whether all its numbers are finite.
    fn with_values<T>(
        &mut self,
        tensor: &str,
        expected: &[usize],
        read: impl FnOnce(Cow<'static, [u8]>, Coding) -> (T, bool),
    ) -> Result<T, ModelError> {
        let coding = self.coding(tensor)?;
        let entry = self.entry(tensor)?;
        if entry.info.shape != expected {
            return Err(ModelError::Shape {
                file: self.file_of(entry),
                tensor: tensor.to_owned(),
                expected: expected.to_vec(),
                found: entry.info.shape.clone(),
            });
        }
        let (shard, (start, end)) = (entry.shard, entry.info.data_offsets);
        let shard = &mut self.shards[shard];
        let bytes = shard.blob.read(shard.data_start + start as u64..shard.data_start + end as u64)?;
        let hash = blake3::hash(&bytes);
        let (value, is_finite) = read(bytes, coding);
        self.hashes.insert(tensor.to_owned(), hash);
        if is_finite { Ok(value) } else { Err(self.not_finite(tensor)) }
    }

    fn coding(&mut self, tensor: &str) -> Result<Coding, ModelError> {
        let entry = self.entry(tensor)?;
        let is_signed = entry.info.dtype == Dtype::I8;
        match entry.info.dtype {
            Dtype::F32 => Ok(Coding::F32),
            Dtype::BF16 => Ok(Coding::Bf16),
            Dtype::F16 => Ok(Coding::F16),
            Dtype::I8 | Dtype::U8 if self.has(&format!("{tensor}.scale")) => {
                let scale = self.values(&format!("{tensor}.scale"), &[1])?[0];
                let zero_point = self.values(&format!("{tensor}.zero_point"), &[1])?[0];
                Ok(Coding::Integer { is_signed, scale, zero_point })
            }
            // The zero point itself.
            Dtype::I8 | Dtype::U8 if tensor.ends_with(".zero_point") => {
                Ok(Coding::Integer { is_signed, scale: 1.0, zero_point: 0.0 })
            }
            dtype => Err(ModelError::ElementType {
                file: self.file_of(entry),
                tensor: tensor.to_owned(),
                found: format!("{dtype:?}"),
            }),
        }
    }
}

/// The encoding of numbers in a file.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Coding {
    F32,
    F16,
    Bf16,
    /// `(integer - zero_point) * scale`
    Integer {
        is_signed: bool,
        scale: f32,
        zero_point: f32,
    },
}

impl Coding {
    fn n_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Integer { .. } => 1,
        }
    }

    /// Decodes as many numbers as `to` holds.
    fn decode(self, bytes: &[u8], to: &mut [f32]) {
        match self {
            Self::F32 => decode(bytes, to, f32::from_le_bytes),
            Self::F16 => decode(bytes, to, |b| half::f16::from_le_bytes(b).to_f32()),
            Self::Bf16 => decode(bytes, to, |b| half::bf16::from_le_bytes(b).to_f32()),
            Self::Integer { is_signed: true, scale, zero_point } => {
                decode(bytes, to, |[b]| (f32::from(b.cast_signed()) - zero_point) * scale);
            }
            Self::Integer { is_signed: false, scale, zero_point } => {
                decode(bytes, to, |[b]| (f32::from(b) - zero_point) * scale);
            }
        }
    }
}

fn decode<const N: usize>(bytes: &[u8], to: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    let (chunks, rest) = bytes.as_chunks::<N>();
    debug_assert!(rest.is_empty() && chunks.len() == to.len(), "the header's shape and offsets agree");
    for (to, chunk) in to.iter_mut().zip(chunks) {
        *to = decode(*chunk);
    }
}

/// A matrix as stored in its file, for row lookups.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    bytes: Cow<'static, [u8]>,
    coding: Coding,
    width: usize,
}

impl Table {
    fn new(bytes: Cow<'static, [u8]>, coding: Coding, width: usize) -> Self {
        Self { bytes, coding, width }
    }

    /// The numbers of a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Its memory, in bytes.
    pub(crate) fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The rows with these ids, concatenated: [ids.len(), width].
    pub(crate) fn rows(&self, ids: &[u32]) -> Vec<f32> {
        let mut numbers = vec![0.0; ids.len() * self.width];
        ids.iter().zip(numbers.chunks_mut(self.width)).for_each(|(id, row)| self.read(*id as usize, row));
        numbers
    }

    /// Decodes a row.
    pub(crate) fn read(&self, row: usize, to: &mut [f32]) {
        let row_bytes = self.width * self.coding.n_bytes();
        self.coding.decode(&self.bytes[row * row_bytes..][..row_bytes], to);
    }
}

/// The current name of a norm's tensor with TensorFlow's name (`LayerNorm.gamma` and `beta`).
pub(crate) fn modern_name(name: &str) -> String {
    let renamed = |end: &str, new: &str| Some(format!("{}.{new}", name.strip_suffix(end)?));
    renamed(".gamma", "weight").or_else(|| renamed(".beta", "bias")).unwrap_or_else(|| name.to_owned())
}

fn missing(files: &Files, file: &'static str) -> ModelError {
    let folder = files.name().to_owned();
    match (files.gguf(), files.pickle()) {
        (Some(file), _) => ModelError::GgufRefused { folder, file },
        (None, Some(file)) => ModelError::PickleRefused { folder, file },
        (None, None) => ModelError::MissingFile { folder, file, hint: "weights are read from safetensors files" },
    }
}

fn open_shard(files: &Files, name: &str) -> Result<(Shard, Metadata), ModelError> {
    let mut blob = files.open(name)?;
    let file = files.describe(name);
    let (data_start, metadata) = read_header(&file, blob.len(), |range| blob.read(range))?;
    Ok((Shard { file, blob, data_start }, metadata))
}

/// Reads and checks the header of a file of `len` bytes, using `read` to read ranges. Returns the offset of the
/// tensors' bytes, and the tensors, which all lie within the file.
pub(crate) fn read_header<'a>(
    file: &str,
    len: u64,
    mut read: impl FnMut(Range<u64>) -> Result<Cow<'a, [u8]>, ModelError>,
) -> Result<(u64, Metadata), ModelError> {
    let corrupt = |why: String| ModelError::Corrupt { file: file.to_owned(), why };
    let Some(left) = len.checked_sub(8) else {
        return Err(corrupt(format!("it is {len} bytes long")));
    };
    let header_len = read(0..8)?.iter().rev().fold(0, |len, byte| (len << 8) | u64::from(*byte));
    if header_len > left {
        return Err(corrupt(format!(
            "its header should be {header_len} bytes long, but only {left} follow; the file is truncated or has another format"
        )));
    }
    if header_len > HEADER_BYTES_MAX {
        return Err(corrupt(format!("its header has {header_len} bytes; the limit is {HEADER_BYTES_MAX}")));
    }
    let data_start = 8 + header_len;
    let header = read(8..data_start)?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|error| corrupt(format!("its header is invalid ({error})")))?;
    // A damaged header may declare any number of bytes.
    let expected = data_start.saturating_add(metadata.data_len() as u64);
    if len != expected {
        return Err(corrupt(format!("it should be {expected} bytes long, but is {len}; download it again")));
    }
    Ok((data_start, metadata))
}
