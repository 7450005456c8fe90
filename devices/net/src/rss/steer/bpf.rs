//! The two calls of bpf(2) that steering takes, and the mapping of an array.

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

const MAP_CREATE: c_long = 0;
const PROG_LOAD: c_long = 5;
const MAP_TYPE_ARRAY: u32 = 2;
const PROG_TYPE_SOCKET_FILTER: u32 = 1;
const F_MMAPABLE: u32 = 1 << 10;

/// Start of `union bpf_attr` for MAP_CREATE (linux/bpf.h).
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
}

/// Start of `union bpf_attr` for PROG_LOAD.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    name: [u8; 16],
}

const NAME: [u8; 16] = *b"steer\0\0\0\0\0\0\0\0\0\0\0";

/// An array of one value that the kernel's programs and this process share.
pub struct Map {
    fd: OwnedFd,
    memory: NonNull<AtomicU32>,
    words: usize,
}

// SAFETY: the memory is touched by atomic access only, from any thread.
unsafe impl Send for Map {}

impl Map {
    /// An array of `bytes` bytes of zeros, a multiple of 4. Fails as the system calls do.
    pub fn array(bytes: usize) -> io::Result<Map> {
        let attr = MapCreate {
            map_type: MAP_TYPE_ARRAY,
            key_size: 4,
            value_size: u32::try_from(bytes).map_err(io::Error::other)?,
            max_entries: 1,
            map_flags: F_MMAPABLE,
            inner_map_fd: 0,
            numa_node: 0,
            name: NAME,
        };
        let fd = bpf(MAP_CREATE, &attr)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: maps a fresh descriptor at an address of the kernel's choice.
        let memory = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Map { fd, memory, words: bytes / 4 })
    }

    /// All words of the array, as the kernel's programs see them.
    pub fn words(&self) -> &[AtomicU32] {
        // SAFETY: the mapping has this many words, page-aligned, and lives as long as `self`; both
        // sides only ever load and store whole words.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.words) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `array`, which nobody borrows any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.words.wrapping_mul(4)) };
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A loaded program.
pub struct Program(OwnedFd);

impl Program {
    /// Loads a program that gets a frame and returns a number. Fails as the system call does, such as
    /// without the privilege.
    pub fn socket_filter(code: &[u64]) -> io::Result<Program> {
        let license = c"Apache-2.0";
        let attr = ProgLoad {
            prog_type: PROG_TYPE_SOCKET_FILTER,
            insn_cnt: u32::try_from(code.len()).map_err(io::Error::other)?,
            insns: code.as_ptr() as u64,
            license: license.as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log_buf: 0,
            kern_version: 0,
            prog_flags: 0,
            name: NAME,
        };
        bpf(PROG_LOAD, &attr).map(Program)
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A call that makes a descriptor; it is closed on exec.
fn bpf<T>(command: c_long, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: `attr` is the structure of `command` with its true size, and all it points to lives
    // during the call.
    let fd =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    match i32::try_from(fd) {
        // SAFETY: fresh descriptor, owned by nobody else.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
