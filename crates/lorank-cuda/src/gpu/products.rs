//! Products of matrices, by cublasLt.
//!
//! cublasLt stores matrices by columns, so rows `[n, width]` are a matrix `[width, n]` of its own, and `y = x wᵀ` is
//! `y' = wᵀ' x'` there: its first operand is `w`, transposed, its second one is `x`.

use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys;
use cudarc::driver::CudaStream;

use super::copies::{address, allocate};
use super::failed;
use crate::memory::{DeviceId, Region, Storage};
use crate::{CudaError, Format, Rows};

/// `out = x wᵀ + bias + add`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product<'a> {
    pub(super) x: &'a Rows,
    pub(super) w: &'a Rows,
    /// The scale of each row of `x`, and of each row of `w`.
    pub(super) scales: Option<[&'a Rows; 2]>,
    /// In the format of `out`.
    pub(super) bias: Option<&'a Rows>,
    pub(super) add: Option<&'a Rows>,
    pub(super) out: &'a Rows,
}

/// cublasLt, and its algorithms for the shapes that were multiplied.
#[derive(Debug)]
pub(super) struct Products {
    handle: sys::cublasLtHandle_t,
    stream: Arc<CudaStream>,
    workspace: Region,
    /// `None` where cublasLt has no algorithm.
    plans: Mutex<HashMap<Key, Option<Plan>>>,
}

// SAFETY: a handle of cublasLt may be used by several threads at once, and a lock guards the plans.
unsafe impl Send for Products {}
// SAFETY: as above.
unsafe impl Sync for Products {}

/// The version of cublasLt, as `12.9.1`.
pub(super) fn version() -> String {
    // SAFETY: the function has no conditions.
    let version = unsafe { sys::cublasLtGetVersion() };
    format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
}

/// What cublasLt's choice of an algorithm depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    /// `n_out`, `n` and `n_in`.
    shape: [usize; 3],
    /// Of `w`, `x`, `add` and `out`, in numbers.
    strides: [usize; 4],
    /// The same, in bytes: powers of two.
    alignments: [u32; 4],
    operands: Format,
    result: Format,
    has_bias: bool,
    has_add: bool,
    has_scales: bool,
}

/// An algorithm, with the descriptions that it was chosen for.
#[derive(Debug)]
struct Plan {
    description: Description,
    /// Of `w`, `x`, `add` and `out`.
    layouts: [Layout; 4],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// As cublasLt's documentation wants it for Hopper; older GPUs need less.
const WORKSPACE_BYTES: usize = 32 << 20;

/// The most plans: batches have many lengths, and each has its own.
const PLANS_MAX: usize = 4096;

/// `CUBLAS_OP_T`, which the bindings of cublasLt lack.
const TRANSPOSED: i32 = 1;

/// The largest alignment that makes a difference, in bytes.
const ALIGNMENT_MAX: u64 = 256;

impl Products {
    pub(super) fn new(stream: &Arc<CudaStream>, device: DeviceId) -> Result<Self, CudaError> {
        let workspace = allocate(stream, device, WORKSPACE_BYTES, "the workspace of products")?;
        let handle = result::create_handle().map_err(|error| status("cublasLtCreate", error))?;
        Ok(Self { handle, stream: Arc::clone(stream), workspace, plans: Mutex::default() })
    }

    /// Starts a product. Returns whether cublasLt has an algorithm for it; if not, nothing is started.
    pub(super) fn run(&self, product: &Product<'_>) -> Result<bool, CudaError> {
        let Product { x, w, add, out, .. } = *product;
        if out.is_empty() {
            return Ok(true);
        }
        self.stream.context().bind_to_thread().map_err(|error| failed("cuCtxSetCurrent", error))?;
        let key = Key::of(product);
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= PLANS_MAX && !plans.contains_key(&key) {
            plans.clear();
        }
        let plan = match plans.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(self.plan(&key, product)?),
        };
        let Some(plan) = plan else { return Ok(false) };
        let Storage::Device { address: workspace, .. } = self.workspace.storage else {
            unreachable!("the workspace is memory of the GPU")
        };
        let places = [w, x, add.unwrap_or(out), out].map(|rows| address(rows, 0) as *mut c_void);
        let (one, beta) = (1.0_f32, if add.is_some() { 1.0_f32 } else { 0.0 });
        plan.description.point_to(product)?;
        // SAFETY: `Op::check` has made sure that all rows lie within their allocations, whose shapes and strides the
        // layouts have, and that they outlive what runs on the stream; the workspace has WORKSPACE_BYTES bytes; factors
        // are read during the call.
        let started = unsafe {
            result::matmul(
                self.handle,
                plan.description.0,
                ptr::from_ref(&one).cast(),
                ptr::from_ref(&beta).cast(),
                places[0],
                plan.layouts[0].0,
                places[1],
                plan.layouts[1].0,
                places[2],
                plan.layouts[2].0,
                places[3],
                plan.layouts[3].0,
                &plan.algorithm,
                workspace as *mut c_void,
                WORKSPACE_BYTES,
                self.stream.cu_stream().cast(),
            )
        };
        started.map_err(|error| status("cublasLtMatmul", error))?;
        Ok(true)
    }

    /// Asks cublasLt for the fastest algorithm.
    fn plan(&self, key: &Key, product: &Product<'_>) -> Result<Option<Plan>, CudaError> {
        let [n_out, n, n_in] = key.shape;
        let Some(description) = Description::of(key)? else { return Ok(None) };
        let shapes = [[n_in, n_out], [n_in, n], [n_out, n], [n_out, n]];
        let formats = [key.operands, key.operands, key.result, key.result];
        let layout = |at: usize| Layout::new(formats[at], shapes[at], key.strides[at]);
        let layouts = [layout(0)?, layout(1)?, layout(2)?, layout(3)?];
        let preference = Preference::of(key)?;
        // Without them, the choice may fail.
        description.point_to(product)?;
        // SAFETY: all descriptions are valid until they are dropped.
        let found = unsafe {
            result::get_matmul_algo_heuristic(
                self.handle,
                description.0,
                layouts[0].0,
                layouts[1].0,
                layouts[2].0,
                layouts[3].0,
                preference.0,
            )
        };
        match found {
            Ok(found) => Ok(Some(Plan { description, layouts, algorithm: found.algo })),
            Err(error) if is_unsupported(error) => Ok(None),
            Err(error) => Err(status("cublasLtMatmulAlgoGetHeuristic", error)),
        }
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        // SAFETY: the handle is destroyed only here. What still runs does not need it.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

impl Key {
    fn of(product: &Product<'_>) -> Self {
        let Product { x, w, scales, bias, add, out } = *product;
        let rows = [w, x, add.unwrap_or(out), out];
        Self {
            shape: [out.width(), out.n_rows(), x.width()],
            strides: rows.map(Rows::stride),
            alignments: rows.map(|rows| 1 << address(rows, 0).trailing_zeros().min(ALIGNMENT_MAX.trailing_zeros())),
            operands: x.format(),
            result: out.format(),
            has_bias: bias.is_some(),
            has_add: add.is_some(),
            has_scales: scales.is_some(),
        }
    }
}

type Attribute = sys::cublasLtMatmulDescAttributes_t;

/// How to multiply.
#[derive(Debug)]
struct Description(sys::cublasLtMatmulDesc_t);

impl Description {
    /// `None`, if this version of cublasLt has no scales for each row.
    fn of(key: &Key) -> Result<Option<Self>, CudaError> {
        // Not TF32: products in f32 are exact to f32.
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let description = result::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F)
            .map_err(|error| status("cublasLtMatmulDescCreate", error))?;
        let description = Self(description);
        description.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, TRANSPOSED)?;
        if key.has_bias {
            description
                .set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS)?;
            description.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, data_type(key.result))?;
        }
        if key.operands == Format::E4m3 {
            // Sums of 22 bits on Hopper. The rounding of the operands is far larger.
            description.set(Attribute::CUBLASLT_MATMUL_DESC_FAST_ACCUM, 1_i8)?;
        }
        if key.has_scales {
            let by_row = sys::cublasLtMatmulMatrixScale_t::CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
            let is_known = description.set(Attribute::CUBLASLT_MATMUL_DESC_A_SCALE_MODE, by_row).is_ok()
                && description.set(Attribute::CUBLASLT_MATMUL_DESC_B_SCALE_MODE, by_row).is_ok();
            if !is_known {
                return Ok(None);
            }
        }
        Ok(Some(description))
    }

    /// Sets the places of bias and scales, which are a part of the description.
    fn point_to(&self, product: &Product<'_>) -> Result<(), CudaError> {
        if let Some(bias) = product.bias {
            self.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, address(bias, 0))?;
        }
        if let Some([x, w]) = product.scales {
            self.set(Attribute::CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, address(w, 0))?;
            self.set(Attribute::CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, address(x, 0))?;
        }
        Ok(())
    }

    /// Sets an attribute, whose type is that which cublasLt documents for it.
    fn set<T>(&self, attribute: Attribute, value: T) -> Result<(), CudaError> {
        // SAFETY: the description is not destroyed, and the value is read during the call.
        let set = unsafe {
            result::set_matmul_desc_attribute(self.0, attribute, ptr::from_ref(&value).cast(), size_of::<T>())
        };
        set.map_err(|error| status("cublasLtMatmulDescSetAttribute", error))
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: it is destroyed only here.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

/// How a matrix is stored.
#[derive(Debug)]
struct Layout(sys::cublasLtMatrixLayout_t);

impl Layout {
    /// `[width, n]` by columns, which is `[n, width]` by rows.
    fn new(format: Format, [width, n]: [usize; 2], stride: usize) -> Result<Self, CudaError> {
        // cublasLt wants a distance of columns also where there is one column only.
        let stride = stride.max(width).max(1);
        result::create_matrix_layout(data_type(format), width as u64, n as u64, stride as i64)
            .map(Self)
            .map_err(|error| status("cublasLtMatrixLayoutCreate", error))
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: it is destroyed only here.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

/// Which algorithms may be chosen.
struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn of(key: &Key) -> Result<Self, CudaError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let preference =
            Self(result::create_matmul_pref().map_err(|error| status("cublasLtMatmulPreferenceCreate", error))?);
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, WORKSPACE_BYTES)?;
        let attributes = [
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ];
        for (attribute, alignment) in attributes.into_iter().zip(key.alignments) {
            preference.set(attribute, alignment)?;
        }
        Ok(preference)
    }

    fn set<T>(&self, attribute: sys::cublasLtMatmulPreferenceAttributes_t, value: T) -> Result<(), CudaError> {
        // SAFETY: the preference is not destroyed, and the value is read during the call.
        let set = unsafe {
            result::set_matmul_pref_attribute(self.0, attribute, ptr::from_ref(&value).cast(), size_of::<T>())
        };
        set.map_err(|error| status("cublasLtMatmulPreferenceSetAttribute", error))
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: it is destroyed only here.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}

fn data_type(format: Format) -> sys::cudaDataType {
    match format {
        Format::F32 => sys::cudaDataType::CUDA_R_32F,
        Format::Bf16 => sys::cudaDataType::CUDA_R_16BF,
        Format::E4m3 => sys::cudaDataType::CUDA_R_8F_E4M3,
    }
}

fn is_unsupported(CublasError(status): CublasError) -> bool {
    matches!(
        status,
        sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED | sys::cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE
    )
}

fn status(call: &'static str, CublasError(status): CublasError) -> CudaError {
    CudaError::Failed { call, why: format!("{status:?}") }
}
