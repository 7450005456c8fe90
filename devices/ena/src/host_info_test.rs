//! Host information pages as drivers fill them.

use device_core::testing::ram;

use super::*;

/// What a page's driver is called.
fn told(os: u32, release: &[u8]) -> String {
    let memory = ram(0x1000);
    let page = GuestAddress(0x100);
    memory.write_obj(os, page).unwrap();
    memory.write_slice(release, GuestAddress(page.0 + 4)).unwrap();
    memory.write_slice(&[2, 7, 0, 0], GuestAddress(page.0 + 172)).unwrap();
    memory.write_obj(2u16, GuestAddress(page.0 + 188)).unwrap();
    HostInfo::read(page.0, &memory).unwrap().to_string()
}

#[test]
fn a_driver_is_told_by_its_system_and_release() {
    assert_eq!(
        told(1, b"6.1.0-56-cloud-amd64"),
        "Linux 6.1.0-56-cloud-amd64, driver 2.7.0, 2 CPUs"
    );
}

#[test]
fn a_release_that_begins_with_the_systems_name_tells_it_once() {
    assert_eq!(told(3, b"DPDK 22.11.11"), "DPDK 22.11.11, driver 2.7.0, 2 CPUs");
}

#[test]
fn what_cannot_be_printed_is_not() {
    assert_eq!(told(1, b"6\n\x1b[2J\xff"), "Linux 6??[2J?, driver 2.7.0, 2 CPUs");
    assert_eq!(told(1, &[b'6'; 128]).matches('6').count(), 128);
    assert!(
        HostInfo::read(0, &ram(0x1000)).is_none() && HostInfo::read(0xfff, &ram(0x1000)).is_none()
    );
}
