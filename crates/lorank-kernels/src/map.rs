//! Files in memory without a copy.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};

use memmap2::{Mmap, UncheckedAdvice};

/// A file mapped into memory, to be read only.
///
/// It stands in this crate because mapping is `unsafe`, and reads nothing by itself. The file must keep its
/// content while it is mapped, as every user of memory-mapped models expects: whoever cuts it short meanwhile ends the
/// program with a bus error.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps a file that has been opened for reading.
    ///
    /// # Errors
    /// Whatever the system says against it.
    pub fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the mapping is private and read only. That nobody changes the file is the one thing that cannot be
        // checked; the bytes are read as numbers of any value, so a change could give wrong numbers and no more.
        unsafe { Mmap::map(file) }.map(Self)
    }

    /// Gives the memory of a range back to the system; reading it again reads the file again.
    pub fn release(&self, range: Range<usize>) {
        let range = range.start.min(self.len())..range.end.min(self.len());
        // Only whole pages can go, and the mapping begins on one.
        const PAGE: usize = 4096;
        let start = range.start.next_multiple_of(PAGE);
        let len = (range.end / PAGE * PAGE).saturating_sub(start);
        if len > 0 {
            // SAFETY: the mapping is of a file and read only, so its pages can always be had from the file again.
            // Where the system refuses, the memory stays: nothing depends on it.
            let _ = unsafe { self.0.unchecked_advise_range(UncheckedAdvice::DontNeed, start, len) };
        }
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
