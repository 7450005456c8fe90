//! Lines of a machine with a disk and a card.

use super::*;
use crate::observe::metrics::StartTimes;
use crate::observe::requests::Count;

fn figures(reads: u64, frames: u64) -> Figures {
    let process_startup_time_us = Some(7);
    let times = StartTimes { process_startup_time_us, process_startup_time_cpu_us: None };
    let mut figures = Figures::empty(times);
    let counters = [("reads", reads), ("read_bytes", reads * 512), ("no_space", 1)];
    let counters = counters.map(|(name, count)| (name.to_owned(), count)).into_iter().collect();
    figures.block.insert("rootfs".into(), counters);
    let queue = || [("rx_frames", frames), ("tx_malformed", 2)].into_iter().collect();
    figures.network.insert("eth0".into(), vec![queue(), queue()]);
    figures.vcpus = vec![[("port_writes", 5)].into_iter().collect(); 2];
    figures.vsock = [("connections_opened", 3), ("stalls", 9)].into_iter().collect();
    figures.mmds = [("rx_accepted", 4)].into_iter().collect();
    figures.requests.insert(("PUT", "/drives/{id}"), Count { all: 3, failed: 1 });
    figures
}

fn read(figures: &Figures, past: &mut Past) -> Value {
    serde_json::from_str(&line(figures, past).unwrap()).unwrap()
}

#[test]
fn a_line_has_what_came_since_the_line_before() {
    let mut past = Past::new();
    let first = read(&figures(10, 100), &mut past);
    assert_eq!(first["block"]["read_count"], 10);
    assert_eq!(first["block_rootfs"]["read_bytes"], 5120);
    assert_eq!(first["block_rootfs"]["execute_fails"], 1);
    assert_eq!(first["net"]["rx_packets_count"], 200, "of both queues");
    assert_eq!(first["net_eth0"]["tx_malformed_frames"], 4);
    assert_eq!(first["vcpu"]["exit_io_out"], 10);
    assert_eq!(first["vsock"]["conns_added"], 3);
    assert_eq!(first["mmds"]["rx_accepted"], 4);
    assert_eq!(first["put_api_requests"]["drive_count"], 3);
    assert_eq!(first["put_api_requests"]["drive_fails"], 1);
    assert_eq!(first["api_server"]["process_startup_time_us"], 7);
    assert_eq!(first["api_server"]["process_startup_time_cpu_us"], 0);

    let second = read(&figures(17, 100), &mut past);
    assert_eq!(second["block"]["read_count"], 7);
    assert_eq!(second["block_rootfs"]["execute_fails"], 0);
    assert_eq!(second["net"]["rx_packets_count"], 0);
    assert_eq!(second["put_api_requests"]["drive_count"], 0);
    assert_eq!(first["api_server"], second["api_server"]);
}

#[test]
fn each_field_of_a_row_is_one_of_its_group() {
    let fields = |group: &str| GROUPS.iter().find(|(name, _)| *name == group).unwrap().1;
    for (rows, group) in
        [(OF_DISKS, "block"), (OF_CARDS, "net"), (OF_VCPUS, "vcpu"), (OF_VSOCK, "vsock")]
    {
        for (field, _) in rows {
            assert!(fields(group).contains(field), "{group}.{field}");
        }
    }
    for (_, path, group, all, failed) in OF_REQUESTS {
        assert!(fields(group).contains(all), "{path}");
        assert!(failed.is_empty() || fields(group).contains(failed), "{path}");
    }
}
