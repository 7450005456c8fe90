//! Kernel files of any content: refused with a sentence, or loaded wholly within RAM.
#![no_main]

use std::io::Write;

use arch::boot::{BootPlan, Cmdline, Initrd, Kernel};
use libfuzzer_sys::fuzz_target;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const RAM: u64 = 32 << 20;
/// Boot data lies above the first page: whatever appears there came from a loader gone astray.
const UNUSED_PAGE: GuestAddress = GuestAddress(0);

fn file(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile_in("/dev/shm").unwrap();
    file.write_all(bytes).unwrap();
    file
}

fuzz_target!(|bytes: &[u8]| {
    let kernel = match Kernel::from_file(file(bytes), "kernel") {
        Ok(kernel) => kernel,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let initrd = Initrd::from_file(file(&[0x5A; 5000]), "initrd").unwrap();
    let cmdline = Cmdline::new("quiet").unwrap();
    let Ok(plan) = BootPlan::new(kernel, Some(initrd), cmdline, RAM) else {
        return;
    };
    let regions = [(GuestAddress(0), RAM as usize)];
    let memory: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&regions).unwrap();
    plan.load_images(&memory).expect("an accepted file loads");
    let entry = plan
        .write_parameters(&memory, GuestAddress(0xE_0000))
        .expect("there is room for the parameters");
    assert!((1 << 20..RAM).contains(&entry.rip));
    let mut page = [0; 4096];
    memory.read_slice(&mut page, UNUSED_PAGE).unwrap();
    assert_eq!(page, [0; 4096]);
});
