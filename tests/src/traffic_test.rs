//! Tests of streams and sums over the loopback.

use super::*;

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn both_sides_see_the_same_sum() {
    let at = free_port();
    let receiver = std::thread::spawn(move || {
        let mut sums = Vec::new();
        receive(at, 2, |sum| sums.push(sum)).unwrap();
        sums
    });
    let first = send(at, 1_000_001, 1).unwrap();
    let second = send(at, 1_000_001, 2).unwrap();
    assert_eq!(receiver.join().unwrap(), [first, second]);
    assert_ne!(first.hash, second.hash, "other seeds make other streams");
}

#[test]
fn datagrams_come_from_the_ports_that_are_asked_for() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ports = [free_port().port(), free_port().port()];
    send_from(&ports, socket.local_addr().unwrap(), 3).unwrap();
    let from = || socket.recv_from(&mut [0; 8]).unwrap().1.port();
    let got: Vec<_> = (0..6).map(|_| from()).collect();
    assert_eq!(got, [[ports[0]; 3], [ports[1]; 3]].concat());
}

#[test]
fn a_flood_ends_in_time() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sent = flood(
        socket.local_addr().unwrap(),
        100,
        3,
        Duration::from_millis(20),
        Duration::from_millis(1),
    )
    .unwrap();
    assert!(sent > 0);
}
