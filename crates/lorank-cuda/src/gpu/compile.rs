//! Compiles the kernels at the start of a program, for the GPU that is there, and keeps the result in a folder.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use cudarc::nvrtc::result::{self, NvrtcError};
use cudarc::nvrtc::sys;

use crate::CudaError;

/// All kernels, as one program.
pub(crate) const SOURCE: &str = concat!(
    include_str!("../../kernels/common.cu"),
    include_str!("../../kernels/rows.cu"),
    include_str!("../../kernels/norms.cu"),
    include_str!("../../kernels/attention.cu"),
);

/// The version of NVRTC.
pub(super) fn version() -> Result<(i32, i32), CudaError> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: both pointers are valid.
    unsafe { sys::nvrtcVersion(&mut major, &mut minor) }.result().map_err(|error| failed("nvrtcVersion", error))?;
    Ok((major, minor))
}

/// What is compiled for a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Its own machine code: as 90 for 9.0.
    Code(i32),
    /// Intermediate code, which the driver compiles, for a GPU that is newer than NVRTC.
    Intermediate(i32),
}

impl Target {
    /// The best target that NVRTC knows for a GPU: machine code runs on its own compute capability only.
    fn choose(capability: i32, supported: &[i32]) -> Option<Self> {
        if supported.contains(&capability) {
            return Some(Self::Code(capability));
        }
        supported.iter().copied().filter(|known| *known < capability).max().map(Self::Intermediate)
    }

    /// As NVRTC names it.
    fn architecture(self) -> String {
        match self {
            Self::Code(capability) => format!("sm_{capability}"),
            Self::Intermediate(capability) => format!("compute_{capability}"),
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Code(_) => "cubin",
            Self::Intermediate(_) => "ptx",
        }
    }
}

/// The kernels for a GPU, from the cache or compiled, and whether they were compiled.
pub(crate) fn kernels(capability: (i32, i32), cache: Option<&Path>) -> Result<(Vec<u8>, bool), CudaError> {
    let capability = 10 * capability.0 + capability.1;
    let target = Target::choose(capability, &supported()?).ok_or_else(|| CudaError::Compile {
        architecture: format!("sm_{capability}"),
        first_line: "NVRTC supports newer GPUs only".to_owned(),
    })?;
    let file = match cache {
        Some(folder) => Some(folder.join(file_name(target, version()?))),
        None => None,
    };
    if let Some(code) = file.as_deref().and_then(read) {
        return Ok((code, false));
    }
    let code = compile(SOURCE, target)?;
    // Without a cache, the next start compiles again, which takes a second or two.
    file.as_deref().and_then(|file| write(file, &code).ok());
    Ok((code, true))
}

/// A name for each source, NVRTC and target.
fn file_name(target: Target, (major, minor): (i32, i32)) -> String {
    let (architecture, extension) = (target.architecture(), target.extension());
    format!("kernels-{:016x}-nvrtc{major}.{minor}-{architecture}.{extension}", hash(SOURCE.as_bytes()))
}

/// FNV-1a, which is the same in every version of Rust.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Reads a file of the cache; `None` if it is not there or is not what was written.
fn read(file: &Path) -> Option<Vec<u8>> {
    let mut code = std::fs::read(file).ok()?;
    let check = code.split_off(code.len().checked_sub(8)?);
    (check == hash(&code).to_le_bytes()).then_some(code)
}

/// Writes a file of the cache in one step, so that another program reads all of it or nothing.
fn write(file: &Path, code: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut temporary = PathBuf::from(file);
    temporary.set_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&temporary, [code, &hash(code).to_le_bytes()].concat())?;
    std::fs::rename(&temporary, file)
}

/// The compute capabilities that NVRTC compiles for.
fn supported() -> Result<Vec<i32>, CudaError> {
    let mut n = 0;
    // SAFETY: the pointer is valid.
    unsafe { sys::nvrtcGetNumSupportedArchs(&mut n) }
        .result()
        .map_err(|error| failed("nvrtcGetNumSupportedArchs", error))?;
    let mut capabilities = vec![0; usize::try_from(n).unwrap_or(0)];
    // SAFETY: there is room for as many numbers as NVRTC has just said.
    unsafe { sys::nvrtcGetSupportedArchs(capabilities.as_mut_ptr()) }
        .result()
        .map_err(|error| failed("nvrtcGetSupportedArchs", error))?;
    Ok(capabilities)
}

/// Machine code, or intermediate code with a zero at its end.
fn compile(source: &str, target: Target) -> Result<Vec<u8>, CudaError> {
    let source = CString::new(source).expect("the source has no zero");
    let program = Program(
        result::create_program(&source, Some(c"lorank.cu")).map_err(|error| failed("nvrtcCreateProgram", error))?,
    );
    let options = ["--std=c++17".to_owned(), format!("--gpu-architecture={}", target.architecture())];
    // SAFETY: the program is not destroyed yet.
    if unsafe { result::compile_program(program.0, &options) }.is_err() {
        return Err(CudaError::Compile { architecture: target.architecture(), first_line: program.first_error() });
    }
    program.code(target)
}

/// A program of NVRTC.
struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: it is destroyed only here. An error would leave some memory in use.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}

impl Program {
    fn code(&self, target: Target) -> Result<Vec<u8>, CudaError> {
        let (mut size, mut code);
        match target {
            Target::Code(_) => {
                size = 0;
                // SAFETY: the program is not destroyed, and the pointer is valid.
                let status = unsafe { sys::nvrtcGetCUBINSize(self.0, &mut size) };
                status.result().map_err(|error| failed("nvrtcGetCUBINSize", error))?;
                code = vec![0_u8; size];
                // SAFETY: there is room for as many bytes as NVRTC has just said.
                let status = unsafe { sys::nvrtcGetCUBIN(self.0, code.as_mut_ptr().cast()) };
                status.result().map_err(|error| failed("nvrtcGetCUBIN", error))?;
            }
            Target::Intermediate(_) => {
                // SAFETY: the program is not destroyed.
                let text = unsafe { result::get_ptx(self.0) }.map_err(|error| failed("nvrtcGetPTX", error))?;
                code = text.into_iter().map(|byte| byte as u8).collect();
            }
        }
        Ok(code)
    }

    /// The first line of the log that names an error.
    fn first_error(&self) -> String {
        // SAFETY: the program is not destroyed.
        let log = unsafe { result::get_program_log(self.0) }.unwrap_or_default();
        let log = String::from_utf8_lossy(&log.into_iter().map(|byte| byte as u8).collect::<Vec<u8>>()).into_owned();
        let lines = || log.lines().map(|line| line.trim_matches('\0').trim()).filter(|line| !line.is_empty());
        let error = lines().find(|line| line.contains("error")).or_else(|| lines().next());
        error.unwrap_or("NVRTC gives no reason").to_owned()
    }
}

fn failed(call: &'static str, NvrtcError(status): NvrtcError) -> CudaError {
    CudaError::Failed { call, why: format!("{status:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_is_newer_than_nvrtc_gets_intermediate_code() {
        let supported = [75, 80, 86, 89, 90, 100];
        assert_eq!(Target::choose(90, &supported), Some(Target::Code(90)));
        assert_eq!(Target::choose(121, &supported), Some(Target::Intermediate(100)));
        assert_eq!(Target::choose(70, &supported), None);
        assert_eq!(Target::choose(87, &supported).map(Target::architecture).as_deref(), Some("compute_86"));
    }

    #[test]
    fn the_cache_returns_what_was_written_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lorank").join(file_name(Target::Code(90), (12, 9)));
        assert_eq!(read(&file), None);
        write(&file, b"code").unwrap();
        assert_eq!(read(&file).as_deref(), Some(&b"code"[..]));
        let mut damaged = std::fs::read(&file).unwrap();
        damaged[0] ^= 1;
        std::fs::write(&file, &damaged).unwrap();
        assert_eq!(read(&file), None);
        std::fs::write(&file, b"short").unwrap();
        assert_eq!(read(&file), None);
        let entries = std::fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(entries, 1, "no temporary file is left");
        assert_ne!(file_name(Target::Code(90), (12, 9)), file_name(Target::Code(90), (12, 8)));
        assert_ne!(file_name(Target::Code(90), (12, 9)), file_name(Target::Intermediate(90), (12, 9)));
    }

    #[test]
    fn the_hash_is_that_of_its_specification() {
        // http://www.isthe.com/chongo/tech/comp/fnv/
        assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
