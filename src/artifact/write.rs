//! Files written whole: a temporary file beside the one that is meant, synced, then renamed. Devices, FIFOs and the open files
//! of `/dev/stdout` and its like are written through; a symbolic link stays, and what it leads to is replaced.

use crate::error::{Error, ErrorKind, Result};
use crate::os::{self, Descriptor};
use crate::run::{Level, log};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::NamedTempFile;

/// Bytes that are written at once.
const BUFFER: usize = 1 << 18;
/// Links that are followed, as Linux does.
const LINKS: usize = 40;
/// Bytes of a name that a temporary name keeps: file systems end a name at 255.
const KEPT_NAME: usize = 200;
/// What a temporary name has between the file's own and eight random characters.
const MARK: &str = ".causerie-";
/// The random characters.
const RANDOM: usize = 8;

/// An output went to standard output.
static STANDARD_OUTPUT: AtomicBool = AtomicBool::new(false);

/// Where writing to a path leads.
enum Destination {
    /// A regular file, there or not; every link is followed.
    File(PathBuf),
    /// An open file of this process.
    Open(i32),
    /// A device, a FIFO, or what another process has open.
    Node(PathBuf),
}

impl Destination {
    fn of(path: &Path) -> Result<Destination> {
        let io = |e| Error::io(path, e);
        let mut at = path.to_path_buf();
        for _ in 0..LINKS {
            match os::descriptor(&at) {
                Some(Descriptor::Ours(number)) => return Ok(Destination::Open(number)),
                Some(Descriptor::Foreign) => return Ok(Destination::Node(at)),
                None => {}
            }
            let kind = match std::fs::symlink_metadata(&at) {
                Ok(about) => about.file_type(),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Destination::File(at)),
                Err(e) => return Err(io(e)),
            };
            if kind.is_symlink() {
                let to = std::fs::read_link(&at).map_err(io)?;
                at = at.parent().map_or_else(|| to.clone(), |folder| folder.join(&to));
            } else if kind.is_dir() {
                return Err(Error::invalid(format!("{}: is a folder; a file is needed", path.display())));
            } else if kind.is_file() {
                return Ok(Destination::File(at));
            } else {
                return Ok(Destination::Node(at));
            }
        }
        Err(Error::invalid(format!("{}: more than {LINKS} symbolic links, or links in a circle", path.display())))
    }
}

/// The regular file that writing to `path` means, there or not, links followed.
///
/// # Errors
/// [`ErrorKind::Invalid`] for a device, a FIFO or a folder; [`ErrorKind::Io`].
pub fn regular_file(path: &Path) -> Result<PathBuf> {
    match Destination::of(path)? {
        Destination::File(target) => Ok(target),
        Destination::Open(_) | Destination::Node(_) => Err(Error::invalid(format!(
            "{}: this output needs a regular file, it cannot be written to a device or a pipe; name a file",
            path.display()
        ))),
    }
}

/// Writes `path` through `write`, all or nothing: a temporary file beside it, synced, then renamed. What is no regular file
/// is written through.
///
/// # Errors
/// Those of `write`; [`ErrorKind::Io`] when the disk refuses. A file that stood at `path` then still stands.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let buffered = |file: &File| {
        let mut out = BufWriter::with_capacity(BUFFER, file);
        write(&mut out)?;
        out.flush().map_err(|e| Error::io(path, e))
    };
    match Destination::of(path)? {
        Destination::File(target) => {
            let mut replacement = Replacement::begin(path, target)?;
            buffered(replacement.file())?;
            replacement.finish()
        }
        Destination::Open(number) => {
            if number == 1 {
                STANDARD_OUTPUT.store(true, Ordering::Relaxed);
            }
            buffered(&os::duplicate(number).map_err(|e| Error::io(path, e))?)
        }
        Destination::Node(node) => {
            buffered(&OpenOptions::new().append(true).open(node).map_err(|e| Error::io(path, e))?)
        }
    }
}

/// Whether an output went to the standard output of this process: what is said beside it then belongs elsewhere.
pub fn wrote_to_standard_output() -> bool {
    STANDARD_OUTPUT.load(Ordering::Relaxed)
}

/// A file that is being written to take another's place; dropped before [`Replacement::finish`] it leaves nothing.
pub struct Replacement {
    temporary: NamedTempFile,
    path: PathBuf,
    target: PathBuf,
}

impl Replacement {
    /// Begins a file for `path`; its folder is made.
    ///
    /// # Errors
    /// Those of [`regular_file`].
    pub fn of(path: &Path) -> Result<Replacement> {
        Replacement::begin(path, regular_file(path)?)
    }
    fn begin(path: &Path, target: PathBuf) -> Result<Replacement> {
        let folder = make_folder_of(&target)?;
        remove_leftovers(folder, &target);
        let temporary = temporary_in(folder, &target, |builder| {
            #[cfg(unix)]
            {
                // As any new file: the system takes the umask off. The crate's own default is for the owner alone.
                use std::os::unix::fs::PermissionsExt;
                builder.permissions(std::fs::Permissions::from_mode(0o666));
            }
            let file = builder.tempfile_in(folder)?;
            // Held as long as it is written: who tidies up leaves it alone. Who did so before it was held has it now, or
            // has removed it. On a file system without locks nothing is tidied.
            let taken = matches!(file.as_file().try_lock(), Err(TryLockError::WouldBlock));
            Ok((!taken && os::stands_at(file.as_file(), file.path())).then_some(file))
        })?;
        Ok(Replacement { temporary, path: path.to_path_buf(), target })
    }
    /// The file, to write and to seek in.
    pub fn file(&mut self) -> &mut File {
        self.temporary.as_file_mut()
    }
    /// Where it is for now, for what writes by name.
    pub fn temporary_path(&self) -> &Path {
        self.temporary.path()
    }
    /// Syncs the file and puts it in its place, with the permissions of the file that stood there.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]; what stood there then still stands.
    pub fn finish(self) -> Result<()> {
        let io = |e| Error::io(&self.path, e);
        let file = self.temporary.as_file();
        if let Ok(about) = std::fs::metadata(&self.target) {
            file.set_permissions(about.permissions()).map_err(io)?;
        }
        file.sync_all().map_err(io)?;
        self.temporary.persist(&self.target).map(drop).map_err(|e| Error::io(&self.path, e.error))
    }
}

/// A folder that is being filled, beside `name` in `folder`; held and removed as temporary files are.
pub(crate) struct TemporaryFolder {
    folder: tempfile::TempDir,
    _held: Option<File>,
}

impl TemporaryFolder {
    /// Makes one.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub(crate) fn new(folder: &Path, name: &str) -> Result<TemporaryFolder> {
        let target = folder.join(name);
        remove_leftovers(folder, &target);
        temporary_in(folder, &target, |builder| {
            let made = builder.tempdir_in(folder)?;
            let held = File::open(made.path()).ok();
            let taken = held.as_ref().is_some_and(|held| matches!(held.try_lock(), Err(TryLockError::WouldBlock)));
            Ok((!taken && made.path().exists()).then_some(TemporaryFolder { folder: made, _held: held }))
        })
    }
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Makes what `make` makes under a temporary name beside `target`; again when it was tidied away before it was held.
fn temporary_in<T>(
    folder: &Path,
    target: &Path,
    make: impl Fn(&mut tempfile::Builder<'_, '_>) -> std::io::Result<Option<T>>,
) -> Result<T> {
    let prefix = temporary_prefix(target);
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp").rand_bytes(RANDOM);
    for _ in 0..64 {
        if let Some(made) = make(&mut builder).map_err(|e| Error::io(folder, e))? {
            return Ok(made);
        }
    }
    Err(Error::new(ErrorKind::Io, format!("{}: temporary files vanish as soon as they are made", folder.display())))
}

/// The folder of `path`, made where it is not there; `.` for a bare name.
fn make_folder_of(path: &Path) -> Result<&Path> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        None => Ok(Path::new(".")),
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
            Ok(folder)
        }
    }
}

/// `report.json.causerie-`: what names of files that are being written for `target` begin with.
fn temporary_prefix(target: &Path) -> std::ffi::OsString {
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    if name.len() > KEPT_NAME {
        let text = name.to_string_lossy().into_owned();
        name = text[..text.floor_char_boundary(KEPT_NAME)].into();
    }
    name.push(MARK);
    name
}

/// Whether `path` is called like a temporary file or folder of ours: `report.json.causerie-1a2B3c4D.tmp`, and
/// `report.json.1234.tmp` of earlier versions.
pub fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some((_, middle)) = name.strip_suffix(".tmp").and_then(|rest| rest.rsplit_once('.')) else { return false };
    let random = middle.strip_prefix(&MARK[1..]);
    random.is_some_and(|r| r.len() == RANDOM && r.bytes().all(|b| b.is_ascii_alphanumeric()))
        || (!middle.is_empty() && middle.bytes().all(|b| b.is_ascii_digit()))
}

/// Removes a temporary file or folder that nobody writes any more: a killed process left it. One that is held stays.
///
/// # Errors
/// The system's.
pub fn remove_leftover(path: &Path) -> std::io::Result<()> {
    let file = match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    match file.try_lock() {
        Err(_) => Ok(()),
        Ok(()) if file.metadata()?.is_dir() => std::fs::remove_dir_all(path),
        Ok(()) => std::fs::remove_file(path),
    }
}

/// Removes what killed processes left beside `target` when they wrote it. What cannot be removed is no reason to stop.
fn remove_leftovers(folder: &Path, target: &Path) {
    let prefix = temporary_prefix(target);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) && is_temporary(Path::new(&name)) {
            let _ = remove_leftover(&entry.path());
        }
    }
}

/// Opens or makes the file at `path`, to read and to write, for this process alone: the system lets go of it when the file is
/// closed or the process ends, however it ends. Threads of one process keep each other out as well.
///
/// # Errors
/// [`ErrorKind::Io`] when another process holds it.
pub fn open_held(path: &Path) -> Result<File> {
    let io = |e| Error::io(path, e);
    // A child that a process starts holds what is open there until its own program begins: that is waited for, not longer.
    for attempt in 0.. {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        match file.try_lock() {
            // Else it was finished, renamed or removed, between the two calls: the name now means another file.
            Ok(()) if os::stands_at(&file, path) => return Ok(file),
            Ok(()) | Err(TryLockError::WouldBlock) if attempt < 10 => std::thread::sleep(Duration::from_millis(20)),
            Ok(()) | Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => {
                let next = "see that no other process writes it";
                log(Level::Warn, &format!("{}: this file system has no locks; {next}", path.display()));
                return Ok(file);
            }
            Err(TryLockError::Error(e)) => return Err(io(e)),
        }
    }
    let message = format!("{}: another process is writing it; wait for that one, or stop it", path.display());
    Err(Error::new(ErrorKind::Io, message))
}

/// Held by this process alone while it lives: `X.lock` beside the file or the name X that is worked on.
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Holds what `path` names; its folder is made.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when another process holds it.
    pub fn of(path: &Path) -> Result<Lock> {
        make_folder_of(path)?;
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".lock");
        let path = path.with_file_name(name);
        Ok(Lock { _file: open_held(&path)?, path })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is held: who opened it meanwhile sees that the name means another file, and opens that one.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path, text: &str) -> Result<()> {
        write_atomic(path, |out| out.write_all(text.as_bytes()).map_err(|e| Error::io(path, e)))
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_write_leaves_the_good_file_and_no_temporary_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        put(&path, "good").unwrap();
        let failed = write_atomic(&path, |out| {
            out.write_all(b"half").map_err(|e| Error::io("a", e))?;
            Err(Error::invalid("stop"))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"good");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn threads_that_write_one_file_at_once_leave_one_of_their_files_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let texts: Vec<String> = (0..8).map(|i| format!("{i}").repeat(300_000)).collect();
        std::thread::scope(|scope| {
            for text in &texts {
                let path = &path;
                scope.spawn(move || (0..5).for_each(|_| put(path, text).unwrap()));
            }
        });
        let left = std::fs::read_to_string(&path).unwrap();
        assert!(texts.contains(&left), "a mixture of several writers");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn what_a_kill_left_is_removed_and_what_is_being_written_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let dead = folder.path().join("a.txt.causerie-aB3dE6gH.tmp");
        std::fs::write(&dead, "half").unwrap();
        let others = ["a.txt.backup.tmp", "b.txt.causerie-aB3dE6gH.tmp"];
        others.iter().for_each(|name| std::fs::write(folder.path().join(name), "mine").unwrap());
        let mut under_way = Replacement::of(&path).unwrap();
        put(&path, "first").unwrap();
        assert!(under_way.temporary_path().exists() && !dead.exists());
        under_way.file().write_all(b"second").unwrap();
        under_way.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(names(folder.path()), ["a.txt", others[0], others[1]]);
    }

    #[test]
    fn temporary_names_are_told_from_those_of_users() {
        for ours in ["a.causerie-12345678.tmp", "report.json.causerie-aB3dE6gH.tmp", "report.json.1234.tmp"] {
            assert!(is_temporary(Path::new(ours)), "{ours}");
        }
        for theirs in ["a.tmp", "a.causerie-1234567.tmp", "a.b.tmp", "mine.tmp", "a.causerie-12345678", "a..tmp"] {
            assert!(!is_temporary(Path::new(theirs)), "{theirs}");
        }
        let long = "ü".repeat(120);
        let folder = tempfile::tempdir().unwrap();
        put(&folder.path().join(&long), "x").unwrap();
        assert_eq!(names(folder.path()), [long]);
    }

    #[test]
    fn two_that_hold_one_file_keep_each_other_out_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.partial");
        let first = open_held(&path).unwrap();
        let e = open_held(&path).unwrap_err();
        assert!(e.message().contains("another process is writing it"), "{e}");
        drop(first);
        let second = open_held(&path).unwrap();
        // Renamed while it is held: the name is free, and nobody else gets the renamed file.
        std::fs::rename(&path, folder.path().join("rows")).unwrap();
        let third = open_held(&path).unwrap();
        assert!(os::stands_at(&third, &path) && !os::stands_at(&second, &path));

        let lock = Lock::of(&folder.path().join("x")).unwrap();
        assert!(Lock::of(&folder.path().join("x")).is_err());
        drop(lock);
        assert_eq!(names(folder.path()), ["rows", "rows.partial"]);
        Lock::of(&folder.path().join("x")).unwrap();
    }

    #[cfg(unix)]
    mod unix {
        use super::*;
        use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

        fn fifo(path: &Path) {
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        }

        #[test]
        fn a_symbolic_link_stays_and_its_file_is_replaced() {
            let folder = tempfile::tempdir().unwrap();
            let inside = |name: &str| folder.path().join(name);
            std::fs::create_dir(inside("real")).unwrap();
            std::fs::write(inside("real/a"), "old").unwrap();
            symlink("real/a", inside("link")).unwrap();
            symlink("link", inside("second")).unwrap();
            put(&inside("second"), "new").unwrap();
            assert!(inside("link").is_symlink() && inside("second").is_symlink());
            assert_eq!(std::fs::read(inside("real/a")).unwrap(), b"new");

            symlink("real/later/b", inside("dangling")).unwrap();
            put(&inside("dangling"), "made").unwrap();
            assert!(inside("dangling").is_symlink());
            assert_eq!(std::fs::read(inside("real/later/b")).unwrap(), b"made");

            symlink("circle", inside("circle")).unwrap();
            assert!(put(&inside("circle"), "x").unwrap_err().message().contains("links"));
            assert!(put(&inside("real"), "x").unwrap_err().message().contains("is a folder"));
        }

        #[test]
        fn a_fifo_is_written_through_and_stays_a_fifo() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("pipe");
            fifo(&path);
            let reader = {
                let path = path.clone();
                std::thread::spawn(move || std::fs::read_to_string(path).unwrap())
            };
            put(&path, "through").unwrap();
            assert_eq!(reader.join().unwrap(), "through");
            assert!(std::fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
            assert_eq!(names(folder.path()), ["pipe"]);
            let e = Replacement::of(&path).map(drop).unwrap_err();
            assert!(e.message().contains("needs a regular file"), "{e}");
        }

        #[test]
        #[cfg(target_os = "linux")]
        fn devices_stay_devices_and_a_full_one_is_an_error() {
            put(Path::new("/dev/null"), "x").unwrap();
            assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
            let e = put(Path::new("/dev/full"), "x").unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Io);
            assert!(std::fs::metadata("/dev/full").unwrap().file_type().is_char_device());
            assert!(regular_file(Path::new("/dev/null")).is_err());
        }

        /// A path below /proc/self/fd opens a file at its beginning: what another part of the process wrote would be lost.
        #[test]
        #[cfg(target_os = "linux")]
        fn an_open_file_is_written_at_its_place() {
            use std::os::fd::AsRawFd;
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log");
            let mut log = File::create(&path).unwrap();
            log.write_all(b"before ").unwrap();
            put(Path::new(&format!("/proc/self/fd/{}", log.as_raw_fd())), "through ").unwrap();
            put(Path::new(&format!("/dev/fd/{}", log.as_raw_fd())), "twice ").unwrap();
            log.write_all(b"after").unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"before through twice after");
            assert_eq!(names(folder.path()), ["log"]);
        }

        #[test]
        fn a_new_file_has_the_mode_of_any_new_file_and_an_old_one_keeps_its_own() {
            let folder = tempfile::tempdir().unwrap();
            let mode = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o7777;
            std::fs::write(folder.path().join("plain"), "x").unwrap();
            for name in ["a.json", "without_ending"] {
                put(&folder.path().join(name), "x").unwrap();
                assert_eq!(mode(name), mode("plain"), "{name}");
                std::fs::set_permissions(folder.path().join(name), std::fs::Permissions::from_mode(0o640)).unwrap();
                put(&folder.path().join(name), "y").unwrap();
                assert_eq!(mode(name), 0o640);
            }
        }
    }
}
