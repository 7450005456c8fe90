//! Tests of the load: every job, over loopback.

use std::net::Ipv4Addr;

use super::*;

/// A server of this process, for its lifetime.
fn server() -> Server {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    std::thread::spawn(move || serve(free));
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(free).is_err() {
        assert!(Instant::now() < deadline, "the server does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    Server { at: free, vsock: None }
}

#[test]
fn every_job_of_the_network_moves_something() {
    let server = server();
    for job in Job::ALL.into_iter().filter(|job| !job.is_by_vsock()) {
        let figure = measure(&server, job, Duration::from_millis(100)).unwrap();
        assert!(figure > 0.0, "{job:?} gave {figure}");
    }
}

#[test]
fn a_server_outlives_clients_that_talk_nonsense() {
    let server = server();
    TcpStream::connect(server.at).unwrap().write_all(&[99, 1, 2, 3]).unwrap();
    assert!(measure(&server, Job::PingPong, Duration::from_millis(10)).unwrap() > 0.0);
}

#[test]
fn jobs_have_codes_of_their_own() {
    for job in Job::ALL {
        assert_eq!(Job::of(job.code()).unwrap(), job);
    }
    assert!(Job::of(Job::ALL.len() as u8).is_err());
}
