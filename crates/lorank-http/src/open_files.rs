//! The number of file descriptors of this process, from Linux's `/proc`.

use std::fs::{read_dir, read_to_string};
use std::io;

/// The number of open descriptors.
///
/// # Errors
/// There is no `/proc`, or no free descriptor to read it.
pub(crate) fn n_open() -> io::Result<usize> {
    Ok(read_dir("/proc/self/fd")?.count())
}

/// The number of descriptors that can still be opened.
///
/// # Errors
/// Those of [`n_open`].
pub(crate) fn n_free() -> io::Result<usize> {
    let n_open = n_open()?;
    let limit = soft_limit(&read_to_string("/proc/self/limits")?);
    Ok(limit.map_or(usize::MAX, |limit| limit.saturating_sub(n_open)))
}

/// The limit on open descriptors; `None` for no limit.
fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_read_as_linux_writes_it() {
        let limits = |soft| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max processes             94821                94821                processes \n\
                 Max open files            {soft:<20} 1048576              files     \n"
            )
        };
        for (soft, expected) in [("1024", Some(1_024)), ("unlimited", None)] {
            assert_eq!(soft_limit(&limits(soft)), expected);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_some_open_and_some_free() {
        assert!(n_open().is_ok_and(|n| n > 2) && n_free().is_ok_and(|n| n > 0));
    }
}
