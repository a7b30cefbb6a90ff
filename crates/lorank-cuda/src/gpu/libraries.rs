//! Where the libraries of CUDA are: in the system's folders, or in those of PyPI's packages.

use std::path::{Path, PathBuf};

use crate::{CudaError, Tried};

/// A library that is looked for when the program starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Library {
    pub(super) name: &'static str,
    /// Its file names, in the order in which they are tried. The bindings look for the same ones.
    file_names: &'static [&'static str],
    /// The package of PyPI that has it; `None` for the driver, which no package has.
    package: Option<&'static str>,
}

pub(super) const DRIVER: Library = Library {
    name: "libcuda",
    file_names: if cfg!(windows) { &["nvcuda.dll"] } else { &["libcuda.so.1", "libcuda.so"] },
    package: None,
};

pub(super) const CUBLASLT: Library = Library {
    name: "libcublasLt",
    file_names: if cfg!(windows) { &["cublasLt64_12.dll"] } else { &["libcublasLt.so.12", "libcublasLt.so"] },
    package: Some("nvidia-cublas-cu12"),
};

pub(crate) const NVRTC: Library = Library {
    name: "libnvrtc",
    file_names: if cfg!(windows) { &["nvrtc64_120_0.dll"] } else { &["libnvrtc.so.12", "libnvrtc.so"] },
    package: Some("nvidia-cuda-nvrtc-cu12"),
};

impl Library {
    /// Loads the library for the rest of the program's time, so that the bindings, which know only its name, find it
    /// loaded.
    pub(crate) fn load(self, folders: &[PathBuf]) -> Result<(), CudaError> {
        let found = self.files(folders);
        let names = self.file_names.iter().map(PathBuf::from);
        let is_loaded = |file: PathBuf| {
            // SAFETY: loading runs the initializers of the library, which is NVIDIA's; nothing else is named so.
            let library = unsafe { libloading::Library::new(file) };
            library.map(std::mem::forget).is_ok()
        };
        if names.chain(found).any(is_loaded) { Ok(()) } else { Err(self.not_found(folders)) }
    }

    /// The files of this library in these folders, and in the folders of PyPI's packages below them.
    fn files(self, folders: &[PathBuf]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in folders.iter().flat_map(|folder| with_packages(folder)) {
            found.extend(self.file_names.iter().map(|name| folder.join(name)).filter(|file| file.is_file()));
        }
        found
    }

    fn not_found(self, folders: &[PathBuf]) -> CudaError {
        let names = self.file_names.iter().map(|name| (*name).to_owned()).collect();
        let tried = Tried { names, folders: folders.to_vec() };
        match self.package {
            Some(package) => CudaError::LibraryNotFound { library: self.name.to_owned(), tried, package },
            None => CudaError::NoDriver { library: self.name.to_owned(), tried },
        }
    }
}

/// A folder, and `nvidia/*/lib` and `nvidia/*/bin` below it, in which PyPI's packages have their libraries.
fn with_packages(folder: &Path) -> Vec<PathBuf> {
    let packages = std::fs::read_dir(folder.join("nvidia")).into_iter().flatten();
    let mut packages: Vec<PathBuf> = packages.filter_map(|entry| Some(entry.ok()?.path())).collect();
    packages.sort();
    let parts = packages.into_iter().flat_map(|package| [package.join("lib"), package.join("bin")]);
    std::iter::once(folder.to_owned()).chain(parts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_pypi_are_found() {
        let root = tempfile::tempdir().unwrap();
        let site_packages = root.path().join("site-packages");
        let folder = site_packages.join("nvidia/cublas/lib");
        let other = root.path().join("other");
        for folder in [&folder, &other] {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join(CUBLASLT.file_names[0]), "not a library").unwrap();
        }
        std::fs::create_dir_all(site_packages.join("nvidia/cuda_nvrtc")).unwrap();
        let file = |folder: &Path| folder.join(CUBLASLT.file_names[0]);
        assert_eq!(CUBLASLT.files(std::slice::from_ref(&site_packages)), [file(&folder)]);
        assert_eq!(CUBLASLT.files(&[other.clone(), site_packages.clone()]), [file(&other), file(&folder)]);
        assert!(NVRTC.files(&[site_packages]).is_empty());
    }

    #[test]
    fn what_was_tried_is_named() {
        let library =
            Library { name: "libx", file_names: &["libx-of-no-system.so.12"], package: Some("nvidia-x-cu12") };
        let error = library.load(&[PathBuf::from("/a")]).unwrap_err();
        let expected = "the library `libx` was not found (tried libx-of-no-system.so.12; also in /a); install it from \
                        the CUDA toolkit, or with `pip install nvidia-x-cu12`";
        assert_eq!(error.to_string(), expected);
        let driver = Library { package: None, ..library }.load(&[]).unwrap_err();
        let expected = "no NVIDIA driver: the library `libx` was not found (tried libx-of-no-system.so.12); install \
                        the driver, or use the CPU";
        assert_eq!(driver.to_string(), expected);
    }
}
