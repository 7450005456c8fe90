//! The jail's folders, by descriptors only: whoever may rename what is in them can lead no step elsewhere.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Stat, Uid, chmod, chownat,
    fstat, mkdirat, open, openat2, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::error::{JailError, Step};
use super::plan::Plan;

/// Of folders that are the program's.
pub const ITS_OWN: RawMode = 0o700;
/// Of those above it.
const ABOVE: RawMode = 0o755;
/// Others than the owner may write.
const OPEN_TO_OTHERS: RawMode = 0o022;
/// Only owners rename what is in it.
const STICKY: RawMode = 0o1000;

/// A folder and what it is called.
pub struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What is done to names in a folder that others may change: no link is followed, and nothing above it is reached.
fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

impl Folder {
    /// A folder that the operator has named, in which nobody else can put another in place of ours.
    fn of_operator(path: &Path) -> Result<Folder, JailError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = open(path, flags, Mode::empty())
            .step(|| format!("cannot open the folder {}", path.display()))?;
        let folder = Folder { fd, path: path.into() };
        let facts = folder.facts()?;
        let is_safe = facts.st_mode & OPEN_TO_OTHERS == 0 || facts.st_mode & STICKY != 0;
        folder.must(is_ours(&facts) && is_safe)?;
        Ok(folder)
    }

    fn facts(&self) -> Result<Stat, JailError> {
        fstat(&self.fd).step(|| format!("cannot look at {}", self.path.display()))
    }

    fn must(&self, is_safe: bool) -> Result<(), JailError> {
        if is_safe {
            return Ok(());
        }
        Err(JailError::refused(format!(
            "{}: somebody else could change what is in it; it has to be owned by who starts the jail, and writable by \
             nobody else",
            self.path.display()
        )))
    }

    /// Where it is, for people.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where something in it is, for people.
    pub fn path_of(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path.join(name.as_ref())
    }

    /// The folder `name` in it, made if it is missing.
    pub fn folder(&self, name: &OsStr, mode: RawMode) -> Result<Folder, JailError> {
        let path = self.path_of(name);
        match mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).step(|| format!("cannot make {}", path.display())),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat2(&self.fd, name, flags, Mode::empty(), beneath())
            .step(|| format!("{} is no folder of the jail", path.display()))?;
        Ok(Folder { fd, path })
    }

    /// The folder `name` in it, which is ours alone.
    fn our_folder(&self, name: &OsStr) -> Result<Folder, JailError> {
        let folder = self.folder(name, ABOVE)?;
        let facts = folder.facts()?;
        folder.must(is_ours(&facts) && facts.st_mode & OPEN_TO_OTHERS == 0)?;
        Ok(folder)
    }

    /// The folder is the program's from now on.
    pub fn give(&self, plan: &Plan) -> Result<(), JailError> {
        give(self.as_fd(), plan, ITS_OWN, &self.path)
    }

    /// The file `name` in it, made if it is missing, for reading and writing.
    pub fn open_or_create(&self, name: &OsStr) -> Result<File, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        openat2(&self.fd, name, flags, mode, beneath()).map(File::from)
    }

    /// A new file in it, which must not be there yet.
    pub fn create(&self, name: &OsStr) -> Result<File, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        openat2(&self.fd, name, flags, mode, beneath()).map(File::from)
    }
}

fn is_ours(facts: &Stat) -> bool {
    facts.st_uid == geteuid().as_raw()
}

/// Makes what `fd` is the program's, with these permissions. `fd` may be one that only names its file.
pub fn give(fd: BorrowedFd<'_>, plan: &Plan, mode: RawMode, path: &Path) -> Result<(), JailError> {
    chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), Mode::from_raw_mode(mode))
        .step(|| format!("cannot set the permissions of {}", path.display()))?;
    give_as_it_is(fd, plan, path)
}

fn give_as_it_is(fd: BorrowedFd<'_>, plan: &Plan, path: &Path) -> Result<(), JailError> {
    let (uid, gid) = (Uid::from_raw(plan.uid), Gid::from_raw(plan.gid));
    chownat(fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
        .step(|| format!("cannot give {} to user {}", path.display(), plan.uid))
}

/// A jail's folders.
pub struct Jail {
    /// What is ours alone.
    pub home: Folder,
    /// Its root.
    pub root: Folder,
}

impl Jail {
    /// Finds or makes them. Fails if somebody else could change them.
    pub fn open(plan: &Plan) -> Result<Jail, JailError> {
        let base = Folder::of_operator(&plan.base)?;
        let home = base.our_folder(&plan.name)?.our_folder(OsStr::new(&plan.id))?;
        let root = home.folder(OsStr::new("root"), ITS_OWN)?;
        let owner = root.facts()?.st_uid;
        // What is removed may be anybody's.
        if !plan.clean && ![geteuid().as_raw(), plan.uid].contains(&owner) {
            return Err(JailError::refused(format!(
                "{}: it is of user {owner}, neither of who starts the jail nor of --uid {}",
                root.path.display(),
                plan.uid
            )));
        }
        Ok(Jail { home, root })
    }

    /// Writes the PID, in place of one that is of nobody any more.
    pub fn write_pid(&self, plan: &Plan, pid: i32) -> Result<(), JailError> {
        let name = plan.pid_file();
        let path = self.root.path_of(&name);
        let what = || format!("cannot write {}", path.display());
        match unlinkat(&self.root, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error).step(what),
        }
        let mut file = self.root.create(&name).step(what)?;
        file.write_all(pid.to_string().as_bytes()).step(what)?;
        // There is no /proc any more.
        give_as_it_is(file.as_fd(), plan, &path)
    }
}

/// The program's file, for the exec.
pub fn open_program(plan: &Plan) -> Result<OwnedFd, JailError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let what = || format!("--exec-file {}: it cannot be opened", plan.program.display());
    let program = rustix::fs::openat(CWD, &plan.program, flags, Mode::empty()).step(what)?;
    let kind = FileType::from_raw_mode(fstat(&program).step(what)?.st_mode);
    match kind {
        FileType::RegularFile => Ok(program),
        _ => Err(io::Error::other("it is no file any more")).step(what),
    }
}
