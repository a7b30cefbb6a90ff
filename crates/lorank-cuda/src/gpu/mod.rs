//! An NVIDIA GPU, through the driver, cublasLt and NVRTC, which are looked for when a program opens it.

mod compile;
mod copies;
mod kernels;
mod libraries;
mod products;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};

#[cfg(test)]
pub(crate) use self::compile::{SOURCE, kernels};
use self::copies::Staging;
use self::kernels::Kernels;
#[cfg(test)]
pub(crate) use self::libraries::NVRTC;
use self::products::{Product, Products};
use crate::launch::Launch;
use crate::memory::{DeviceId, Pools, Region};
use crate::ops::sealed;
use crate::{CudaError, DeviceInfo, DeviceMemory, Format, Mark, Op, Ops, Quantized, Rows, Vector};

/// What a program may say about its environment. The default is the system's folders, and no cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuOptions {
    /// Folders in which cublasLt and NVRTC are looked for after the system's, and in the folders of PyPI's packages
    /// (`nvidia/*/lib`) below them: a Python's `site-packages`.
    pub folders: Vec<PathBuf>,
    /// A folder for compiled kernels. It must not be writable by others, because the GPU runs what is in it.
    pub cache: Option<PathBuf>,
}

/// A GPU. All its operations run on one stream, in the order of their calls.
#[derive(Debug)]
pub struct Gpu {
    device: DeviceId,
    info: DeviceInfo,
    // Fields are dropped in this order: memory and kernels before the stream and its context.
    pools: Pools,
    products: Products,
    staging: Staging,
    kernels: Kernels,
    stream: Arc<CudaStream>,
}

/// The oldest version of CUDA whose drivers work: code for one 12.x runs on the drivers of all.
const OLDEST_CUDA: i32 = 12_000;

/// The oldest compute capability: with products in bf16.
const OLDEST_CAPABILITY: (i32, i32) = (8, 0);

/// The first compute capability with products in `E4m3`.
const E4M3_CAPABILITY: (i32, i32) = (8, 9);

impl Gpu {
    /// Opens a GPU by its number among those that the driver shows, and loads the kernels. Compiling them takes a
    /// second or two, if they are not in the cache.
    ///
    /// # Errors
    /// An error for each thing that may be missing: [`CudaError::NoDriver`], [`DriverTooOld`](CudaError::DriverTooOld),
    /// [`NoDevice`](CudaError::NoDevice), [`ComputeCapability`](CudaError::ComputeCapability),
    /// [`LibraryNotFound`](CudaError::LibraryNotFound), [`OutOfMemory`](CudaError::OutOfMemory); and
    /// [`CudaError::Failed`].
    pub fn open(ordinal: usize, options: &GpuOptions) -> Result<Self, CudaError> {
        libraries::DRIVER.load(&[])?;
        let driver = driver_version()?;
        let device = find_device(ordinal)?;
        let (name, capability) = describe(device)?;
        if capability < OLDEST_CAPABILITY {
            return Err(CudaError::ComputeCapability { name, major: capability.0, minor: capability.1 });
        }
        for library in [libraries::CUBLASLT, libraries::NVRTC] {
            library.load(&options.folders)?;
        }
        let context = CudaContext::new(ordinal).map_err(|error| failed("cuDevicePrimaryCtxRetain", error))?;
        let stream = context.new_stream().map_err(|error| failed("cuStreamCreate", error))?;
        let begin = Instant::now();
        let (code, has_compiled) = compile::kernels(capability, options.cache.as_deref())?;
        let kernels = Kernels::load(&stream, code)?;
        let kernels_millis = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let device = DeviceId::new();
        let info = DeviceInfo {
            name,
            compute_capability: Some(format!("{}.{}", capability.0, capability.1)),
            driver: Some(driver),
            cublaslt: Some(products::version()),
            nvrtc: Some(compile::version().map(|(major, minor)| format!("{major}.{minor}"))?),
            has_compiled,
            kernels_millis,
            has_e4m3: capability >= E4M3_CAPABILITY,
        };
        let (products, staging) = (Products::new(&stream, device)?, Staging::new(&stream)?);
        Ok(Self { device, info, pools: Pools::default(), products, staging, kernels, stream })
    }

    fn launch(&self, launch: Option<Launch<'_>>) -> Result<(), CudaError> {
        launch.map_or(Ok(()), |launch| self.kernels.launch(&self.stream, &launch))
    }

    fn gemm(&self, product: Product<'_>) -> Result<(), CudaError> {
        if self.products.run(&product)? {
            return Ok(());
        }
        // For some shapes and alignments, cublasLt adds no bias.
        let is_started = product.bias.is_some() && self.products.run(&Product { bias: None, ..product })?;
        if !is_started {
            let Product { x, out, .. } = product;
            let why = format!("no algorithm for [{}, {}] from [{0}, {}]", out.n_rows(), out.width(), x.width());
            return Err(CudaError::Failed { call: "cublasLtMatmulAlgoGetHeuristic", why });
        }
        self.launch(Launch::finish(product.out, None, product.bias, None, product.out))
    }

    /// A product with the scales of rows by cublasLt, or by a kernel that follows.
    fn scaled_gemm(
        &self,
        operands: [&Quantized; 2],
        bias: Option<&Vector>,
        add: Option<&Rows>,
        out: &Rows,
    ) -> Result<(), CudaError> {
        if !self.info.has_e4m3 {
            return Err(CudaError::NoE4m3 { name: self.info.name.clone() });
        }
        let [x, w] = operands.map(|rows| &rows.numbers);
        let scales = Some(operands.map(|rows| &rows.scales));
        let bias = bias.map(|bias| bias.of(out.format()));
        if self.products.run(&Product { x, w, scales, bias, add, out })? {
            return Ok(());
        }
        let product = self.rows(out.n_rows(), out.width(), Format::Bf16)?;
        self.gemm(Product { x, w, scales: None, bias: None, add: None, out: &product })?;
        self.launch(Launch::finish(&product, Some(operands), bias, add, out))
    }
}

impl sealed::Memory for Gpu {
    fn device(&self) -> DeviceId {
        self.device
    }

    fn pools(&self) -> &Pools {
        &self.pools
    }

    fn allocate(&self, n_bytes: usize, purpose: &'static str) -> Result<Region, CudaError> {
        copies::allocate(&self.stream, self.device, n_bytes, purpose)
    }

    fn write_bytes(&self, to: &Rows, bytes: &[u8]) -> Result<(), CudaError> {
        assert!(to.device() == self.device, "the memory belongs to another device");
        assert_eq!(bytes.len(), to.n_bytes(), "bytes for each number");
        if to.is_empty() { Ok(()) } else { self.staging.write(to, bytes) }
    }

    fn read_bytes(&self, from: &Rows) -> Result<Vec<u8>, CudaError> {
        assert!(from.device() == self.device, "the memory belongs to another device");
        if from.is_empty() { Ok(Vec::new()) } else { copies::read(&self.stream, from) }
    }
}

impl Ops for Gpu {
    fn info(&self) -> DeviceInfo {
        self.info.clone()
    }

    fn memory(&self) -> Result<DeviceMemory, CudaError> {
        let (free, total) = self.stream.context().mem_get_info().map_err(|error| failed("cuMemGetInfo", error))?;
        Ok(DeviceMemory { free, total })
    }

    fn run(&self, op: Op<'_>) -> Result<(), CudaError> {
        op.check(self.device);
        match op {
            Op::Gemm { x, w, bias, add, out } => {
                let bias = bias.map(|bias| bias.of(out.format()));
                self.gemm(Product { x, w, scales: None, bias, add, out })
            }
            Op::ScaledGemm { x, w, bias, add, out } => self.scaled_gemm([x, w], bias, add, out),
            _ => self.launch(Launch::of(&op)),
        }
    }

    fn synchronize(&self) -> Result<(), CudaError> {
        self.stream.synchronize().map_err(|error| failed("cuStreamSynchronize", error))
    }

    fn mark(&self) -> Result<Mark, CudaError> {
        let event = self.stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT));
        event.map(Mark::of).map_err(|error| failed("cuEventRecord", error))
    }
}

/// The newest version of CUDA that the driver supports, as `12.4`.
fn driver_version() -> Result<String, CudaError> {
    let named = |version: i32| format!("{}.{}", version / 1000, version % 1000 / 10);
    let mut version = 0;
    // SAFETY: the pointer is valid.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(|error| failed("cuDriverGetVersion", error))?;
    if version < OLDEST_CUDA {
        return Err(CudaError::DriverTooOld { found: named(version), needed: named(OLDEST_CUDA) });
    }
    Ok(named(version))
}

/// The driver's handle of a GPU.
fn find_device(ordinal: usize) -> Result<sys::CUdevice, CudaError> {
    match result::init() {
        Ok(()) => {}
        Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => {
            return Err(CudaError::NoDevice { ordinal, n_devices: 0 });
        }
        Err(error) => return Err(failed("cuInit", error)),
    }
    let n_devices = result::device::get_count().map_err(|error| failed("cuDeviceGetCount", error))?;
    let n_devices = usize::try_from(n_devices).unwrap_or(0);
    let number = i32::try_from(ordinal).ok().filter(|_| ordinal < n_devices);
    let number = number.ok_or(CudaError::NoDevice { ordinal, n_devices })?;
    result::device::get(number).map_err(|error| failed("cuDeviceGet", error))
}

/// The name of a GPU, and its compute capability.
fn describe(device: sys::CUdevice) -> Result<(String, (i32, i32)), CudaError> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    let name = result::device::get_name(device).map_err(|error| failed("cuDeviceGetName", error))?;
    // SAFETY: the driver has returned the handle, and handles of devices stay valid.
    let attribute = |attribute| unsafe { result::device::get_attribute(device, attribute) };
    let capability = attribute(MAJOR).and_then(|major| Ok((major, attribute(MINOR)?)));
    Ok((name, capability.map_err(|error| failed("cuDeviceGetAttribute", error))?))
}

/// An error of the driver, by the name that its documentation has.
fn failed(call: &'static str, error: DriverError) -> CudaError {
    CudaError::Failed { call, why: format!("{:?}", error.0) }
}
