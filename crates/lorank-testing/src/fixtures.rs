//! The model folders and recorded references under `fixtures/`, and copies of them with something wrong.
//!
//! A test of an error reads as what is wrong, and nothing else:
//!
//! ```
//! use lorank_testing::{changed_copy, edit_json, edit_tensors};
//!
//! let unknown = changed_copy("tiny-bert/base", |folder| {
//!     edit_json(folder, "config.json", |config| config["model_type"] = "gpt9".into());
//! });
//! let headless = changed_copy("tiny-bert/base", |folder| {
//!     edit_tensors(folder, "model.safetensors", |tensors| {
//!         tensors.remove("classifier.weight");
//!     });
//! });
//! # assert!(unknown.path().join("model.safetensors").is_file() && headless.path().join("config.json").is_file());
//! ```
//!
//! Everything here panics where a fixture is not as expected: only tests call it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;
use tempfile::TempDir;

/// The tensors of a safetensors file, by name.
pub type Tensors = BTreeMap<String, TensorData>;

/// One tensor: what a safetensors file holds of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorData {
    /// The element type.
    pub dtype: Dtype,
    /// The size of each dimension.
    pub shape: Vec<usize>,
    /// The elements, little endian, row by row.
    pub bytes: Vec<u8>,
}

impl TensorData {
    /// A tensor of zeros.
    pub fn zeros(dtype: Dtype, shape: &[usize]) -> Self {
        let n_bits = shape.iter().product::<usize>() * dtype.bitsize();
        Self { dtype, shape: shape.to_vec(), bytes: vec![0; n_bits / 8] }
    }

    /// An f32 tensor with these elements.
    pub fn f32(shape: &[usize], values: &[f32]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "the elements fill the shape {shape:?}");
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
    }

    /// Replaces the element at `at` of an f32 tensor, counting row by row.
    pub fn set(&mut self, at: usize, value: f32) {
        assert_eq!(self.dtype, Dtype::F32, "only f32 elements can be set");
        self.bytes[at * 4..][..4].copy_from_slice(&value.to_le_bytes());
    }
}

/// The path of a fixture: `tiny-llama`, `tiny-bert/adapter-a`, `minilm/reference.json`.
pub fn fixture(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    assert!(path.exists(), "no fixture at {}", path.display());
    path
}

/// Copies a fixture's folder, with the folders in it, to the folder `to`, which is made where it is not there.
pub fn copy_fixture(name: &str, to: &Path) {
    copy_folder(&fixture(name), to);
}

/// A copy of a fixture's folder in a new temporary folder, changed; it lives as long as what is returned.
pub fn changed_copy(name: &str, change: impl FnOnce(&Path)) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder can be made");
    copy_fixture(name, folder.path());
    change(folder.path());
    folder
}

/// Rewrites a JSON file of a folder.
pub fn edit_json(folder: &Path, file: &str, edit: impl FnOnce(&mut Value)) {
    let path = folder.join(file);
    let mut value = serde_json::from_slice(&read(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    edit(&mut value);
    write(&path, value.to_string().as_bytes());
}

/// Rewrites a safetensors file of a folder. The metadata is dropped.
pub fn edit_tensors(folder: &Path, file: &str, edit: impl FnOnce(&mut Tensors)) {
    let path = folder.join(file);
    let mut tensors = read_tensors(&path);
    edit(&mut tensors);
    let views = tensors.iter().map(|(name, tensor)| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (name, view.unwrap_or_else(|error| panic!("{name}: {error}")))
    });
    write(&path, &safetensors::serialize(views, None).expect("views that were checked can be written"));
}

/// Cuts `n_bytes` off the end of a file of a folder.
pub fn truncate(folder: &Path, file: &str, n_bytes: usize) {
    let path = folder.join(file);
    let bytes = read(&path);
    write(&path, &bytes[..bytes.len() - n_bytes]);
}

/// Reads a safetensors file.
pub fn read_tensors(path: &Path) -> Tensors {
    let bytes = read(path);
    let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let owned = |view: &TensorView<'_>| TensorData {
        dtype: view.dtype(),
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    file.iter().map(|(name, view)| (name.to_owned(), owned(&view))).collect()
}

fn copy_folder(from: &Path, to: &Path) {
    let failed = |error| panic!("copying {} to {}: {error}", from.display(), to.display());
    fs::create_dir_all(to).unwrap_or_else(failed);
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let path = entry.expect("a folder of the source tree can be listed").path();
        let target = to.join(path.file_name().expect("an entry of a folder has a name"));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            // Not `fs::copy`, which would carry a read-only mode along.
            write(&target, &read(&path));
        }
    }
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHTS: &str = "model.safetensors";

    #[test]
    fn a_copy_holds_the_files_of_its_fixture_and_of_the_folders_in_it() {
        let copy = changed_copy("tiny-llama", |_| {});
        for file in ["reference.json", "base/config.json", "base/model.safetensors", "adapter-b/adapter_config.json"] {
            assert_eq!(read(&copy.path().join(file)), read(&fixture("tiny-llama").join(file)), "{file}");
        }
    }

    #[test]
    fn an_edit_changes_what_it_names_and_leaves_the_rest() {
        let before = read_tensors(&fixture("tiny-bert/base").join(WEIGHTS));
        let copy = changed_copy("tiny-bert/base", |folder| {
            edit_tensors(folder, WEIGHTS, |tensors| {
                tensors.get_mut("classifier.weight").unwrap().set(3, f32::NAN);
                tensors.insert("classifier.bias".into(), TensorData::zeros(Dtype::BF16, &[2, 3]));
                tensors.insert("extra".into(), TensorData::f32(&[2], &[1.0, -2.5]));
                tensors.remove("bert.pooler.dense.bias").unwrap();
            });
            edit_json(folder, "config.json", |config| config["hidden_act"] = "relu".into());
            truncate(folder, "tokenizer.json", 1);
        });
        let mut expected = before.clone();
        expected.get_mut("classifier.weight").unwrap().bytes[12..16].copy_from_slice(&f32::NAN.to_le_bytes());
        expected
            .insert("classifier.bias".into(), TensorData { dtype: Dtype::BF16, shape: vec![2, 3], bytes: vec![0; 12] });
        let bytes = [1.0_f32.to_le_bytes(), (-2.5_f32).to_le_bytes()].concat();
        expected.insert("extra".into(), TensorData { dtype: Dtype::F32, shape: vec![2], bytes });
        expected.remove("bert.pooler.dense.bias");
        assert!(read_tensors(&copy.path().join(WEIGHTS)) == expected);

        let config: Value = serde_json::from_slice(&read(&copy.path().join("config.json"))).unwrap();
        assert_eq!((&config["hidden_act"], &config["model_type"]), (&Value::from("relu"), &Value::from("bert")));
        let tokenizer = read(&fixture("tiny-bert/base/tokenizer.json"));
        assert_eq!(read(&copy.path().join("tokenizer.json")), tokenizer[..tokenizer.len() - 1]);
    }

    #[test]
    #[should_panic(expected = "no fixture at")]
    fn a_fixture_that_is_not_there_is_named() {
        fixture("tiny-mamba");
    }
}
