//! Memory of a device: slabs of weights that are filled in order, and the arena of activations. Only offsets are kept
//! here, so all of it works alike for a GPU and for the host in its place.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::CudaError;

/// Which device memory belongs to. Each [`Ops`](crate::Ops) has its own, even if two are on one GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceId(u64);

impl DeviceId {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// One allocation of a device.
pub struct Region {
    pub(crate) device: DeviceId,
    pub(crate) n_bytes: usize,
    pub(crate) storage: Storage,
}

/// What a region is made of.
pub(crate) enum Storage {
    /// Memory of the host, and the count of its bytes in use.
    Host { bytes: Mutex<Vec<u8>>, n_used: Arc<AtomicUsize> },
    /// Memory of a GPU, which is freed with its owner.
    Device { address: u64, _owner: Box<dyn Any + Send + Sync> },
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("device", &self.device).field("n_bytes", &self.n_bytes).finish_non_exhaustive()
    }
}

impl Region {
    /// The bytes of a region of the host.
    pub(crate) fn host(&self) -> MutexGuard<'_, Vec<u8>> {
        let Storage::Host { bytes, .. } = &self.storage else {
            unreachable!("memory of another device has been refused")
        };
        locked(bytes)
    }

    /// On the host, makes every number of the range NaN, so that no test passes by what was there before.
    fn poison(&self, range: Range<usize>) {
        if let Storage::Host { bytes, .. } = &self.storage {
            locked(bytes)[range].fill(POISON);
        }
    }

    /// A region of the host that is all poison.
    pub(crate) fn of_host(device: DeviceId, n_bytes: usize, n_used: &Arc<AtomicUsize>) -> Self {
        n_used.fetch_add(n_bytes, Ordering::Relaxed);
        let storage = Storage::Host { bytes: Mutex::new(vec![POISON; n_bytes]), n_used: Arc::clone(n_used) };
        Self { device, n_bytes, storage }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Storage::Host { n_used, .. } = &self.storage {
            n_used.fetch_sub(self.n_bytes, Ordering::Relaxed);
        }
    }
}

/// Bytes of this value are NaN in every format.
const POISON: u8 = 0xff;

/// A panic while a lock was held leaves the lists of offsets whole, since they are changed in one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A part of a region that views share. In an arena it is free again when the last view is dropped.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) region: Arc<Region>,
    /// The first byte within the region.
    pub(crate) start: usize,
    pub(crate) n_bytes: usize,
    arena: Option<Arc<Arena>>,
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(arena) = &self.arena {
            arena.free(self.start);
        }
    }
}

/// Blocks of an arena begin at multiples of this, as cublasLt's fastest kernels want.
const ALIGNMENT: usize = 256;

/// Memory for activations, allocated once. All operations run in order on one stream, so a block may be used again as
/// soon as it is free: what still reads it runs before what writes it.
#[derive(Debug)]
pub(crate) struct Arena {
    region: Arc<Region>,
    lists: Mutex<Lists>,
}

/// The free and the used pieces: first byte and length.
#[derive(Debug)]
struct Lists {
    free: BTreeMap<usize, usize>,
    used: BTreeMap<usize, usize>,
    n_used: usize,
    peak: usize,
}

/// How full the arena is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArenaUse {
    /// Its size.
    pub size: usize,
    /// In use now.
    pub used: usize,
    /// The most that was in use.
    pub peak: usize,
}

impl Arena {
    fn new(region: Region) -> Self {
        let free = BTreeMap::from([(0, region.n_bytes)]);
        Self { region: Arc::new(region), lists: Mutex::new(Lists { free, used: BTreeMap::new(), n_used: 0, peak: 0 }) }
    }

    /// A block in the first free piece that is large enough: full ends stay free for large blocks.
    fn take(self: &Arc<Self>, n_bytes: usize) -> Result<Block, CudaError> {
        let mut lists = locked(&self.lists);
        let length = n_bytes.max(1).next_multiple_of(ALIGNMENT);
        let found = lists.free.iter().find(|(_, free)| **free >= length).map(|(start, free)| (*start, *free));
        let Some((start, free)) = found else {
            let largest = lists.free.values().copied().max().unwrap_or(0);
            return Err(CudaError::ArenaFull { needed: n_bytes, free: largest, size: self.region.n_bytes });
        };
        lists.free.remove(&start);
        if free > length {
            lists.free.insert(start + length, free - length);
        }
        lists.used.insert(start, length);
        lists.n_used += length;
        lists.peak = lists.peak.max(lists.n_used);
        Ok(Block { region: Arc::clone(&self.region), start, n_bytes, arena: Some(Arc::clone(self)) })
    }

    fn free(&self, start: usize) {
        let mut lists = locked(&self.lists);
        let Some(mut length) = lists.used.remove(&start) else { return };
        lists.n_used -= length;
        self.region.poison(start..start + length);
        let mut first = start;
        if let Some(next) = lists.free.remove(&(start + length)) {
            length += next;
        }
        if let Some((before, n)) = lists.free.range(..start).next_back().map(|(before, n)| (*before, *n))
            && before + n == start
        {
            (first, length) = (before, length + n);
        }
        lists.free.insert(first, length);
    }

    fn in_use(&self) -> ArenaUse {
        let lists = locked(&self.lists);
        ArenaUse { size: self.region.n_bytes, used: lists.n_used, peak: lists.peak }
    }
}

/// What a slab holds. Each kind has its own slabs, so that the biases between two matrices do not part them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Matrix,
    /// A matrix that is not read next to others, so that it does not part them either.
    Apart,
    Vector,
    RoundedVector,
    Scales,
}

const N_KINDS: usize = 5;

/// Data in slabs begin at multiples of this, the least that cublasLt and vector loads want; nothing larger, so that one
/// matrix follows the other.
const SLAB_ALIGNMENT: usize = 16;

/// A slab that nobody has asked for, in bytes.
const SLAB_BYTES: usize = 64 << 20;
/// The same for all that is not a matrix beside others.
const SMALL_SLAB_BYTES: usize = 256 << 10;

/// A slab, and its bytes in use.
type Slab = (Arc<Block>, usize);

/// All memory of a device.
#[derive(Debug, Default)]
pub struct Pools {
    arena: Mutex<Option<Arc<Arena>>>,
    /// Of each kind the slab that is being filled.
    slabs: Mutex<[Option<Slab>; N_KINDS]>,
}

/// Allocates a region: its size in bytes, and its purpose.
type Allocate<'a> = &'a dyn Fn(usize, &'static str) -> Result<Region, CudaError>;

impl Pools {
    /// Replaces the arena. Blocks of the former one stay valid, and its memory is free when the last of them is.
    pub(crate) fn reserve_arena(&self, n_bytes: usize, allocate: Allocate<'_>) -> Result<(), CudaError> {
        let mut arena = locked(&self.arena);
        *arena = None;
        *arena = Some(Arc::new(Arena::new(allocate(n_bytes / ALIGNMENT * ALIGNMENT, "activations")?)));
        Ok(())
    }

    pub(crate) fn arena_use(&self) -> ArenaUse {
        locked(&self.arena).as_ref().map_or(ArenaUse::default(), |arena| arena.in_use())
    }

    pub(crate) fn take(&self, n_bytes: usize) -> Result<Block, CudaError> {
        let arena = locked(&self.arena).clone();
        match arena {
            Some(arena) => arena.take(n_bytes),
            None => Err(CudaError::ArenaFull { needed: n_bytes, free: 0, size: 0 }),
        }
    }

    /// Begins a slab of a kind, of this size.
    pub(crate) fn reserve(&self, kind: Kind, n_bytes: usize, allocate: Allocate<'_>) -> Result<(), CudaError> {
        let slab = new_slab(n_bytes, allocate)?;
        locked(&self.slabs)[kind as usize] = Some((slab, 0));
        Ok(())
    }

    /// Room in the current slab of a kind, or in a new one: the slab, and the first byte within it.
    pub(crate) fn weights(
        &self,
        kind: Kind,
        n_bytes: usize,
        allocate: Allocate<'_>,
    ) -> Result<(Arc<Block>, usize), CudaError> {
        let length = n_bytes.next_multiple_of(SLAB_ALIGNMENT);
        let mut slabs = locked(&self.slabs);
        let current = &mut slabs[kind as usize];
        if let Some((slab, n_used)) = current
            && slab.n_bytes - *n_used >= length
        {
            let start = *n_used;
            *n_used += length;
            return Ok((Arc::clone(slab), start));
        }
        let usual = if kind == Kind::Matrix { SLAB_BYTES } else { SMALL_SLAB_BYTES };
        let slab = new_slab(length.max(usual), allocate).or_else(|_| new_slab(length, allocate))?;
        *current = Some((Arc::clone(&slab), length));
        Ok((slab, 0))
    }

    /// Forgets the slabs that are being filled: a later matrix begins a new one, and these are freed with their last
    /// matrix.
    pub(crate) fn close_slabs(&self) {
        *locked(&self.slabs) = Default::default();
    }
}

fn new_slab(n_bytes: usize, allocate: Allocate<'_>) -> Result<Arc<Block>, CudaError> {
    let n_bytes = n_bytes.next_multiple_of(ALIGNMENT);
    let region = Arc::new(allocate(n_bytes, "weights")?);
    Ok(Arc::new(Block { region, start: 0, n_bytes, arena: None }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n_bytes: usize, _: &'static str) -> Result<Region, CudaError> {
        let region = Region::of_host(DeviceId::new(), n_bytes, &Arc::default());
        region.host().fill(0);
        Ok(region)
    }

    #[test]
    fn freed_blocks_join_and_are_poisoned() {
        let pools = Pools::default();
        pools.reserve_arena(1024, &host).unwrap();
        let mut blocks: Vec<Block> = [256, 1, 300].map(|n_bytes| pools.take(n_bytes).unwrap()).into();
        assert_eq!(blocks.iter().map(|block| block.start).collect::<Vec<_>>(), [0, 256, 512]);
        assert_eq!(pools.arena_use(), ArenaUse { size: 1024, used: 1024, peak: 1024 });
        let region = Arc::clone(&blocks[0].region);
        blocks.remove(1);
        let full = pools.take(257).unwrap_err();
        assert_eq!(full, CudaError::ArenaFull { needed: 257, free: 256, size: 1024 });
        blocks.remove(0);
        assert_eq!(region.host()[..512], [POISON; 512]);
        assert_eq!(region.host()[512..], [0; 512]);
        assert_eq!(pools.take(512).unwrap().start, 0);
        blocks.clear();
        assert_eq!(pools.take(1024).unwrap().start, 0);
    }

    #[test]
    fn without_an_arena_nothing_fits() {
        let error = Pools::default().take(1).unwrap_err();
        assert_eq!(error, CudaError::ArenaFull { needed: 1, free: 0, size: 0 });
    }

    #[test]
    fn a_kind_fills_its_own_slabs_in_order() {
        let pools = Pools::default();
        pools.reserve(Kind::Matrix, 100, &host).unwrap();
        let take = |kind, n_bytes| pools.weights(kind, n_bytes, &host).unwrap();
        let (first, at_first) = take(Kind::Matrix, 90);
        let (vector, _) = take(Kind::Vector, 8);
        let (second, at_second) = take(Kind::Matrix, 90);
        let (third, at_third) = take(Kind::Matrix, 90);
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &vector) && !Arc::ptr_eq(&first, &third));
        assert_eq!([at_first, at_second, at_third], [0, 96, 0]);
    }
}
