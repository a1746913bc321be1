//! Leaf: what is asked of the operating system, with a safe face: memory, processor time, threads, kinds of files.
//!
//! Where a system does not say, a number is 0 and a choice is none: nothing here fails a run.

use std::fs::File;
use std::path::Path;
use std::sync::OnceLock;

/// Threads that this process may use: the least of the machine's cores, its affinity and its cgroup's CPU quota.
pub fn default_threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    // std reads the affinity mask and the quota of cgroup v1 and v2.
    *THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, |n| n.get()))
}

/// The most memory this process has held at once since the last [`reset_peak_memory`], bytes; 0 where the system does not say.
pub fn peak_memory_bytes() -> u64 {
    // Linux alone can start its count afresh, and tells it here; `getrusage` keeps the peak of the whole process.
    match status_bytes("VmHWM:") {
        0 => usage().map_or(0, |usage| peak_of(&usage)),
        bytes => bytes,
    }
}

/// The memory this process holds now, bytes; 0 where the system does not say.
pub fn memory_bytes() -> u64 {
    status_bytes("VmRSS:")
}

/// Starts [`peak_memory_bytes`] afresh, so that a stage's own peak can be told. Does nothing where the system cannot.
pub fn reset_peak_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// True where this process was started to outlive its terminal, as by `nohup`: the signal of its closing is ignored.
pub fn hangup_is_ignored() -> bool {
    #[cfg(unix)]
    {
        // SAFETY: a struct of plain numbers, for which zeros are values.
        let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: asks alone: the new action is NULL, the other pointer is to a live struct of the type that is filled.
        let status = unsafe { libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut now) };
        status == 0 && now.sa_sigaction == libc::SIG_IGN
    }
    #[cfg(not(unix))]
    false
}

/// Ignores the signal of a terminal that closes.
pub fn ignore_hangup() {
    // SAFETY: SIG_IGN runs no code of ours.
    #[cfg(unix)]
    unsafe {
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
    }
}

/// Processor time of this process so far, all threads, seconds; 0 where the system does not say.
pub fn cpu_seconds() -> f64 {
    #[cfg(unix)]
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    #[cfg(unix)]
    return usage().map_or(0.0, |usage| seconds(usage.ru_utime) + seconds(usage.ru_stime));
    #[cfg(not(unix))]
    0.0
}

/// Bytes that this process may still take: what the machine has available, within the limits of its cgroups; none where the
/// system does not say.
pub fn available_memory_bytes() -> Option<u64> {
    let machine = number_after(&text_of("/proc/meminfo")?, "MemAvailable:").map(|kib| kib * 1024);
    let groups = text_of("/proc/self/cgroup").unwrap_or_default();
    machine.into_iter().chain(groups.lines().filter_map(left_in_group)).min()
}

/// What one line of `/proc/self/cgroup` and the groups above it leave; none without a limit.
fn left_in_group(line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, group) = (fields.next()?, fields.next()?);
    let (root, limit, used, idle) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        list if list.split(',').any(|c| c == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        }
        _ => return None,
    };
    let inside = Path::new(group.trim_start_matches('/'));
    // In a container the group's own folder may be mounted at the root: what is not there is passed over.
    let left = |folder: &Path| {
        let folder = Path::new(root).join(folder);
        let number = |name: &str| text_of(folder.join(name))?.trim().parse::<u64>().ok();
        // Pages of files that nobody has used lately go back at once.
        let idle = text_of(folder.join("memory.stat")).and_then(|text| number_after(&text, idle)).unwrap_or(0);
        Some(number(limit)?.saturating_sub(number(used)?.saturating_sub(idle)))
    };
    inside.ancestors().filter_map(left).min()
}

fn text_of(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The number behind `name` in a text of lines `name number …`.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '\t'])))?;
    line.split_whitespace().next()?.parse().ok()
}

fn status_bytes(name: &str) -> u64 {
    text_of("/proc/self/status").and_then(|text| number_after(&text, name)).unwrap_or(0) * 1024
}

#[cfg(unix)]
fn usage() -> Option<libc::rusage> {
    // SAFETY: a struct of plain numbers, for which zeros are values.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live struct of the type that getrusage fills.
    let status = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    (status == 0).then_some(usage)
}

#[cfg(unix)]
fn peak_of(usage: &libc::rusage) -> u64 {
    // Kilobytes, but bytes on Apple's systems.
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    u64::try_from(usage.ru_maxrss).unwrap_or(0) * unit
}

#[cfg(not(unix))]
fn usage() -> Option<()> {
    None
}

#[cfg(not(unix))]
fn peak_of((): &()) -> u64 {
    0
}

/// Whether the open `file` is the one that stands at `path` now: neither renamed nor removed nor replaced.
pub(crate) fn stands_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let is_same = |a: &std::fs::Metadata, b: &std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        matches!((file.metadata(), std::fs::metadata(path)), (Ok(a), Ok(b)) if is_same(&a, &b))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// What a path such as `/dev/stdout`, `/dev/fd/3` or `/proc/self/fd/1` names; `path` itself, not where a link leads.
pub(crate) enum Descriptor {
    /// An open file of this process, by its number.
    Ours(i32),
    /// One of another process.
    Foreign,
}

/// The open file that `path` names, if its folder is one of open files.
pub(crate) fn descriptor(path: &Path) -> Option<Descriptor> {
    let number = path.file_name()?.to_str()?.parse::<i32>().ok().filter(|number| *number >= 0)?;
    let folder = path.parent()?.canonicalize().ok()?;
    if folder == Path::new("/dev/fd") {
        return Some(Descriptor::Ours(number));
    }
    let rest = folder.strip_prefix("/proc").ok()?;
    let process = rest.iter().next()?.to_str()?.parse::<u32>().ok()?;
    (rest.file_name()? == "fd").then_some(match process == std::process::id() {
        true => Descriptor::Ours(number),
        false => Descriptor::Foreign,
    })
}

/// Another handle of the open file `number`: at its place, with its mode. A path to it would be opened at its beginning.
///
/// # Errors
/// The system's, for a number that is not open.
pub(crate) fn duplicate(number: i32) -> std::io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::fd::FromRawFd;
        // SAFETY: fcntl takes any number and refuses those that are not open; it changes no memory.
        let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
        if copy < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: just made, and nobody else's.
        Ok(unsafe { File::from_raw_fd(copy) })
    }
    #[cfg(not(unix))]
    {
        let _ = number;
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_and_processor_time_are_told() {
        let before = (cpu_seconds(), memory_bytes());
        let room = std::hint::black_box(vec![1u8; 32 << 20]);
        let sum: u64 = room.iter().map(|b| u64::from(*b)).sum();
        assert_eq!(sum, 32 << 20);
        assert!(memory_bytes() > before.1 && peak_memory_bytes() >= 32 << 20);
        assert!(cpu_seconds() > 0.0 && cpu_seconds() >= before.0);
        assert!(available_memory_bytes().is_some_and(|bytes| bytes > 1 << 20));
        assert!(default_threads() >= 1);
    }

    #[test]
    fn a_number_is_that_of_its_whole_name() {
        let text = "MemAvailableElse: 3 kB\nMemAvailable:\t 17 kB\nfoo";
        assert_eq!(number_after(text, "MemAvailable:"), Some(17));
        assert_eq!(number_after(text, "MemAvail"), None);
        assert_eq!(number_after(text, "foo"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn paths_of_open_files_are_recognised_and_others_are_not() {
        assert!(matches!(descriptor(Path::new("/proc/self/fd/1")), Some(Descriptor::Ours(1))));
        assert!(matches!(descriptor(Path::new("/dev/fd/2")), Some(Descriptor::Ours(2))));
        assert!(descriptor(Path::new("/proc/self/1")).is_none() && descriptor(Path::new("/tmp/1")).is_none());
        assert!(duplicate(1_000_000).is_err());
    }
}
