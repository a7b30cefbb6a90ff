//! The memory that the process may use, and the limit for request bodies that follows from it.

use std::fs;
use std::path::{Path, PathBuf};

/// Request bodies may use one part in this many of the memory, because a parsed body takes several times its size.
const BODIES_SHARE: u64 = 8;

/// The limit for all request bodies together, in bytes: the configured value, or an eighth of the memory if that is
/// less.
pub(crate) fn bodies_bytes_max(configured: usize) -> usize {
    let Some(limit) = limit() else { return configured };
    let max = usize::try_from(limit / BODIES_SHARE).unwrap_or(usize::MAX);
    if configured > max {
        tracing::info!("`bodies_bytes_max` is lowered from {configured} to {max}, an eighth of the available memory");
    }
    configured.min(max)
}

/// The smaller of the machine's memory and the limits of the process' control groups, in bytes. `None` outside Linux.
fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_memory(&text));
    limits.chain(machine).min()
}

fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// The limit files of the process' control groups and their parents, from the text of `/proc/self/cgroup`. In a
/// container the mounted root is the process' own group, whatever the text says.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let of_line = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (mount, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            names if names.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let folders: Vec<PathBuf> = Path::new(path.trim_start_matches('/')).ancestors().map(Path::to_owned).collect();
        Some(folders.into_iter().map(move |folder| Path::new(mount).join(folder).join(file)))
    };
    groups.lines().filter_map(of_line).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_all_groups_around_the_process_count() {
        for (groups, files) in [
            ("", &[][..]),
            ("0::/", &["/sys/fs/cgroup/memory.max"]),
            (
                "0::/system.slice/lorank.service",
                &[
                    "/sys/fs/cgroup/system.slice/lorank.service/memory.max",
                    "/sys/fs/cgroup/system.slice/memory.max",
                    "/sys/fs/cgroup/memory.max",
                ],
            ),
            (
                "11:cpu,cpuacct:/a\n4:memory:/docker/1\n1:name=systemd:/x",
                &[
                    "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes",
                    "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
                    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                ],
            ),
            ("nonsense\n1:memory", &[]),
        ] {
            let found: Vec<String> = limit_files(groups).iter().map(|path| path.display().to_string()).collect();
            assert_eq!(found, files, "{groups}");
        }
    }

    #[test]
    fn bodies_get_an_eighth_of_the_memory_at_most() {
        assert_eq!(total_memory("MemTotal:        1024 kB\nMemFree: 1 kB\n"), Some(1 << 20));
        assert_eq!(total_memory("MemFree: 1 kB\n"), None);
        assert_eq!(bodies_bytes_max(1), 1);
        let max = limit().map_or(usize::MAX, |limit| usize::try_from(limit / 8).unwrap());
        assert_eq!(bodies_bytes_max(usize::MAX), max);
    }
}
