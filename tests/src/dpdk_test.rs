//! Names of packages, and what `testpmd` prints of packets.

use super::*;

#[test]
fn a_kernels_package_tells_its_version() {
    let version = version_of("linux-image-6.1.0-56-cloud-amd64 6.1.192-2").unwrap();
    assert_eq!(version, "6.1.0-56-cloud-amd64");
    assert!(version_of("ethtool 1:6.1-1").is_err());
}

/// As `testpmd` 22.11 prints them.
const SAID: &str = "\
port 0/queue 1: received 2 packets
  src=FE:00:00:00:00:01 - dst=02:00:00:00:00:01 - pool=mb_pool_0 - type=0x0800 - length=60 - nb_segs=1 - RSS hash=0x51ccc178 - RSS queue=0x1 - hw ptype: L3_IPV4 L4_UDP  - sw ptype: L2_ETHER L3_IPV4 L4_UDP  - l2_len=14 - l3_len=20 - l4_len=8 - Receive queue=0x1
  ol_flags: RTE_MBUF_F_RX_RSS_HASH RTE_MBUF_F_RX_L4_CKSUM_GOOD RTE_MBUF_F_RX_IP_CKSUM_GOOD RTE_MBUF_F_RX_OUTER_L4_CKSUM_UNKNOWN 
  src=FE:00:00:00:00:01 - dst=02:00:00:00:00:01 - pool=mb_pool_0 - type=0x0806 - length=42 - nb_segs=1 - sw ptype: L2_ETHER_ARP  - l2_len=14 - Receive queue=0x1
  ol_flags: RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN RTE_MBUF_F_RX_IP_CKSUM_UNKNOWN RTE_MBUF_F_RX_OUTER_L4_CKSUM_UNKNOWN 
";

#[test]
fn packets_tell_their_hashes() {
    let packet = Hashed { hash: 0x51cc_c178, queue: 1, is_good: true };
    assert_eq!(hashed(SAID), [packet]);
    for (good, bad) in [("L4_CKSUM_GOOD", "L4_CKSUM_BAD"), ("IP_CKSUM_GOOD", "IP_CKSUM_UNKNOWN")] {
        let said = SAID.replace(good, bad);
        assert_eq!(hashed(&said), [Hashed { is_good: false, ..packet }]);
    }
    let ipv6 = SAID.replace("0x0800", "0x86dd").replace("RX_IP_CKSUM_GOOD", "RX_IP_CKSUM_UNKNOWN");
    assert_eq!(hashed(&ipv6), [packet]);
    for cut in [" - RSS queue", "\n  ol_flags"] {
        assert_eq!(hashed(SAID.split(cut).next().unwrap()), []);
    }
}
