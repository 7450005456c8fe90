//! Tests of the split of a process's memory.

use super::*;

const SMAPS: &str = "\
55d0c0000000-55d0c0100000 r-xp 00000000 08:01 1234       /usr/bin/vmm
Size:               1024 kB
Rss:                 600 kB
Pss:                 600 kB
Shared_Clean:        100 kB
Private_Clean:       400 kB
Private_Dirty:       100 kB
VmFlags: rd ex mr mw me
7f0000000000-7f0008000000 rw-p 00000000 00:00 0 
Size:             131072 kB
Rss:               50000 kB
Private_Clean:         0 kB
Private_Dirty:     50000 kB
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0          [stack]
Size:                132 kB
Rss:                  20 kB
Private_Clean:         0 kB
Private_Dirty:        20 kB
";

#[test]
fn guest_memory_is_told_apart() {
    let resident = Resident::from_mappings(&parse(SMAPS), 128 << 10, 30).unwrap();
    let wanted = Resident { guest: 50000, outside: 620, private: 520, outside_peak: 650 };
    assert_eq!(resident, wanted);
}

#[test]
fn a_process_without_the_guests_mapping_is_refused() {
    assert!(Resident::from_mappings(&parse(SMAPS), 256 << 10, 0).is_err());
}

#[test]
fn a_file_of_the_guests_size_is_not_its_memory() {
    assert!(Resident::from_mappings(&parse(SMAPS), 1024, 0).is_err());
}
