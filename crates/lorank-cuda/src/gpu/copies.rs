//! Memory of the GPU, and copies between it and the host.

use std::ffi::c_void;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{CudaStream, result, sys};

use super::failed;
use crate::memory::{DeviceId, Region, Storage};
use crate::{CudaError, Rows};

/// An allocation of the GPU.
#[derive(Debug)]
struct Allocation {
    address: u64,
    stream: Arc<CudaStream>,
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // What still runs may use the memory. After an error of the GPU, the memory is lost with its context.
        if self.stream.synchronize().is_ok() {
            // SAFETY: the address is that of an allocation that is freed only here, and nothing that uses it runs any
            // more.
            let _ = unsafe { result::free_sync(self.address) };
        }
    }
}

/// Allocates memory of the GPU.
pub(super) fn allocate(
    stream: &Arc<CudaStream>,
    device: DeviceId,
    n_bytes: usize,
    purpose: &'static str,
) -> Result<Region, CudaError> {
    stream.context().bind_to_thread().map_err(|error| failed("cuCtxSetCurrent", error))?;
    // SAFETY: what is in the memory is undefined; all operations treat it so.
    let address = unsafe { result::malloc_sync(n_bytes.max(1)) }.map_err(|error| match error.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            let free = result::mem_get_info().map_or(0, |(free, _)| free);
            CudaError::OutOfMemory { purpose, needed: n_bytes, free }
        }
        _ => failed("cuMemAlloc", error),
    })?;
    let owner = Box::new(Allocation { address, stream: Arc::clone(stream) });
    Ok(Region { device, n_bytes, storage: Storage::Device { address, _owner: owner } })
}

/// The bytes of the buffer through which all copies to the GPU go.
const STAGING_BYTES: usize = 16 << 20;

/// Memory of the host that the GPU reads by itself. It is filled from the beginning; at its end, all copies are waited
/// for.
#[derive(Debug)]
pub(super) struct Staging {
    stream: Arc<CudaStream>,
    buffer: Mutex<Buffer>,
}

#[derive(Debug)]
struct Buffer {
    start: *mut u8,
    n_used: usize,
}

// SAFETY: the pointer is that of memory that belongs to the buffer alone, which a lock guards.
unsafe impl Send for Buffer {}

impl Staging {
    pub(super) fn new(stream: &Arc<CudaStream>) -> Result<Self, CudaError> {
        stream.context().bind_to_thread().map_err(|error| failed("cuCtxSetCurrent", error))?;
        // SAFETY: the memory is written before it is read.
        let start =
            unsafe { result::malloc_host(STAGING_BYTES, 0) }.map_err(|error| failed("cuMemHostAlloc", error))?;
        let buffer = Mutex::new(Buffer { start: start.cast(), n_used: 0 });
        Ok(Self { stream: Arc::clone(stream), buffer })
    }

    /// Writes rows: as many at once as the buffer holds, or parts of one row.
    pub(super) fn write(&self, to: &Rows, bytes: &[u8]) -> Result<(), CudaError> {
        let width = to.width() * to.format().n_bytes();
        let n_rows_at_once = (STAGING_BYTES / width).max(1);
        for (n, rows) in bytes.chunks(n_rows_at_once * width).enumerate() {
            let first = address(to, n * n_rows_at_once);
            if width > STAGING_BYTES {
                for (n, part) in rows.chunks(STAGING_BYTES).enumerate() {
                    self.write_part(first + (n * STAGING_BYTES) as u64, part, part.len(), part.len())?;
                }
            } else {
                self.write_part(first, rows, width, to.stride() * to.format().n_bytes())?;
            }
        }
        Ok(())
    }

    /// Writes rows of equal widths that fit into the buffer.
    fn write_part(&self, to: u64, bytes: &[u8], width: usize, pitch: usize) -> Result<(), CudaError> {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.n_used + bytes.len() > STAGING_BYTES {
            self.stream.synchronize().map_err(|error| failed("cuStreamSynchronize", error))?;
            buffer.n_used = 0;
        }
        // SAFETY: the buffer has STAGING_BYTES bytes, of which `bytes.len()` from `n_used` on are free: no copy that
        // still runs reads them, because since the last wait the buffer has been filled up to `n_used` only.
        let from = unsafe {
            let from = buffer.start.add(buffer.n_used);
            ptr::copy_nonoverlapping(bytes.as_ptr(), from, bytes.len());
            from
        };
        // 2-D copies are fastest from aligned rows.
        buffer.n_used += bytes.len().next_multiple_of(64);
        let rows = Copy { width, n_rows: bytes.len() / width };
        // SAFETY: the caller's rows are within an allocation of the GPU that outlives what runs on the stream, and the
        // buffer is not written there before the next wait.
        unsafe { rows.to_device(from, to, pitch, &self.stream) }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let buffer = self.buffer.get_mut().unwrap_or_else(PoisonError::into_inner);
        if self.stream.synchronize().is_ok() {
            // SAFETY: the memory was allocated by `malloc_host`, is freed only here, and no copy reads it any more.
            let _ = unsafe { result::free_host(buffer.start.cast()) };
        }
    }
}

/// Waits for all operations, and reads rows.
pub(super) fn read(stream: &CudaStream, from: &Rows) -> Result<Vec<u8>, CudaError> {
    stream.context().bind_to_thread().map_err(|error| failed("cuCtxSetCurrent", error))?;
    let mut bytes = vec![0; from.n_bytes()];
    let rows = Copy { width: from.width() * from.format().n_bytes(), n_rows: from.n_rows() };
    let pitch = from.stride() * from.format().n_bytes();
    // SAFETY: the rows are within an allocation of the GPU, `bytes` has room for all of them, and is waited for below
    // before it is used or freed.
    let copied = unsafe { rows.to_host(address(from, 0), pitch, bytes.as_mut_ptr(), stream) };
    stream.synchronize().map_err(|error| failed("cuStreamSynchronize", error))?;
    copied.map(|()| bytes)
}

/// Rows to copy, on the host without gaps: their width in bytes, and their number.
#[derive(Clone, Copy)]
struct Copy {
    width: usize,
    n_rows: usize,
}

impl Copy {
    /// # Safety
    /// The rows at both places are valid until the copy has run.
    unsafe fn to_device(self, from: *const u8, to: u64, pitch: usize, stream: &CudaStream) -> Result<(), CudaError> {
        let host: *const c_void = from.cast();
        let place = sys::CUDA_MEMCPY2D_st {
            srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
            srcHost: host,
            srcPitch: self.width,
            dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
            dstDevice: to,
            dstPitch: pitch,
            ..self.nowhere()
        };
        // SAFETY: as this function's.
        unsafe { run(&place, stream) }
    }

    /// # Safety
    /// The rows at both places are valid until the copy has run.
    unsafe fn to_host(self, from: u64, pitch: usize, to: *mut u8, stream: &CudaStream) -> Result<(), CudaError> {
        let place = sys::CUDA_MEMCPY2D_st {
            srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
            srcDevice: from,
            srcPitch: pitch,
            dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
            dstHost: to.cast(),
            dstPitch: self.width,
            ..self.nowhere()
        };
        // SAFETY: as this function's.
        unsafe { run(&place, stream) }
    }

    /// A copy without its places.
    fn nowhere(self) -> sys::CUDA_MEMCPY2D_st {
        sys::CUDA_MEMCPY2D_st {
            srcXInBytes: 0,
            srcY: 0,
            srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
            srcHost: ptr::null(),
            srcDevice: 0,
            srcArray: ptr::null_mut(),
            srcPitch: 0,
            dstXInBytes: 0,
            dstY: 0,
            dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
            dstHost: ptr::null_mut(),
            dstDevice: 0,
            dstArray: ptr::null_mut(),
            dstPitch: 0,
            WidthInBytes: self.width,
            Height: self.n_rows,
        }
    }
}

/// # Safety
/// The places are valid until the copy has run.
unsafe fn run(copy: &sys::CUDA_MEMCPY2D_st, stream: &CudaStream) -> Result<(), CudaError> {
    stream.context().bind_to_thread().map_err(|error| failed("cuCtxSetCurrent", error))?;
    // SAFETY: as this function's; the description is read during the call only.
    let status = unsafe { sys::cuMemcpy2DAsync_v2(copy, stream.cu_stream()) };
    status.result().map_err(|error| failed("cuMemcpy2DAsync", error))
}

/// The address of a row on the GPU.
pub(super) fn address(rows: &Rows, row: usize) -> u64 {
    let Storage::Device { address, .. } = rows.region().storage else {
        unreachable!("memory of another device has been refused")
    };
    address + rows.bytes_of_row(row).start as u64
}
