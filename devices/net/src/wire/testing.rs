//! Packets of an independent builder, with right checksums.

use etherparse::{
    IpDscp, IpEcn, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv4Options, Ipv6Extensions,
    Ipv6FlowLabel, Ipv6Header, PacketBuilder,
};

/// What a packet is to be; TCP over IPv4 by default.
#[derive(Clone, Default)]
pub struct Build {
    /// VLAN tags, 0 to 2.
    pub tags: u8,
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// UDP instead of TCP.
    pub udp: bool,
    /// Bytes of IPv4 options, a multiple of 4.
    pub options: usize,
    /// IPv6 extension headers.
    pub extensions: Ipv6Extensions,
    /// A piece of an IPv4 packet.
    pub fragment: bool,
    /// Bytes of it, which differ.
    pub payload: usize,
    /// TCP flags FIN, PSH and CWR.
    pub flags: bool,
}

/// The packet in an Ethernet frame.
pub fn frame(build: &Build) -> Vec<u8> {
    let payload: Vec<u8> = (0..build.payload).map(|at| (at * 7 + 3) as u8).collect();
    let v4 = || {
        let mut header = Ipv4Header {
            dscp: IpDscp::ZERO,
            ecn: IpEcn::ZERO,
            identification: 0x1234,
            time_to_live: 64,
            source: [10, 0, 0, 1],
            destination: [192, 168, 77, 254],
            dont_fragment: !build.fragment,
            more_fragments: build.fragment,
            ..Ipv4Header::default()
        };
        header.options = Ipv4Options::try_from(&vec![1; build.options][..]).unwrap();
        IpHeaders::Ipv4(header, Ipv4Extensions::default())
    };
    let v6 = || {
        let header = Ipv6Header {
            traffic_class: 0,
            flow_label: Ipv6FlowLabel::ZERO,
            hop_limit: 64,
            source: *b"\x20\x01\x0d\xb8source-here!",
            destination: *b"\x20\x01\x0d\xb8far-far-away",
            next_header: IpNumber::TCP,
            ..Ipv6Header::default()
        };
        IpHeaders::Ipv6(header, build.extensions.clone())
    };
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
    let ip = if build.v6 { v6() } else { v4() };
    let network = match build.tags {
        0 => link.ip(ip),
        1 => link.single_vlan(5.try_into().unwrap()).ip(ip),
        _ => link.double_vlan(6.try_into().unwrap(), 5.try_into().unwrap()).ip(ip),
    };
    let mut bytes = Vec::new();
    if build.udp {
        network.udp(5353, 53).write(&mut bytes, &payload).unwrap();
    } else {
        let mut tcp = network.tcp(40_000, 443, 0x0102_0304, 0xfff0).ack(99);
        if build.flags {
            tcp = tcp.fin().psh().cwr();
        }
        tcp.write(&mut bytes, &payload).unwrap();
    }
    bytes
}
