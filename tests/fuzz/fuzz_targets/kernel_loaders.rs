//! Kernel files of any content: refused with a sentence, or loaded wholly within RAM.
#![no_main]

use std::io::Write;

use arch::boot::{BootPlan, Cmdline, Initrd, Kernel, LoadError, Packed};
use libfuzzer_sys::fuzz_target;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const RAM: u64 = 32 << 20;
/// What says to be larger is not tried, to try more.
const MOST_UNPACKED: usize = 1 << 20;
/// Boot data lies above the first page: whatever appears there came from a loader gone astray.
const UNUSED_PAGE: GuestAddress = GuestAddress(0);

fn file(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile_in("/dev/shm").unwrap();
    file.write_all(bytes).unwrap();
    file
}

fuzz_target!(|bytes: &[u8]| {
    let mut kernel = match Kernel::from_file(file(bytes), "kernel") {
        Ok(kernel) => kernel,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let mut was_packed = false;
    match Packed::of(&kernel) {
        Ok(Some(packed)) if packed.unpacked_len() <= MOST_UNPACKED => {
            if let Ok(bytes) = packed.unpack(&packed.read().expect("the file is there")) {
                assert_eq!(bytes.len(), packed.unpacked_len());
                if let Ok(unpacked) = kernel.unpacked(file(&bytes)) {
                    kernel = unpacked;
                    was_packed = true;
                }
            }
        }
        _ => (),
    }
    let initrd = Initrd::from_file(file(&[0x5A; 5000]), "initrd").unwrap();
    let cmdline = Cmdline::new("quiet").unwrap();
    let Ok(plan) = BootPlan::new(kernel, Some(initrd), cmdline, RAM) else {
        return;
    };
    let random = [bytes.len() as u64, bytes.iter().copied().map(u64::from).sum()];
    let plan = plan.randomized(random);
    let regions = [(GuestAddress(0), RAM as usize)];
    let memory: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&regions).unwrap();
    match plan.load_images(&memory) {
        Ok(()) => (),
        // Its relocations are looked at only there.
        Err(LoadError::Relocations { .. }) if was_packed => return,
        Err(error) => panic!("an accepted file loads: {error}"),
    }
    let entry = plan
        .write_parameters(&memory, GuestAddress(0xE_0000))
        .expect("there is room for the parameters");
    assert!((1 << 20..RAM).contains(&entry.rip));
    let mut page = [0; 4096];
    memory.read_slice(&mut page, UNUSED_PAGE).unwrap();
    assert_eq!(page, [0; 4096]);
});
