//! Tests of the command line.

use devices::net::spec::BackendSpec;

use super::*;

fn parse(args: &str) -> Result<Args, clap::Error> {
    Args::parse_from_args(["vmm"].into_iter().chain(args.split_whitespace()))
}

fn error(args: &str) -> String {
    parse(args).unwrap_err().to_string()
}

#[test]
fn the_shortest_command_line_has_the_documented_defaults() {
    let spec = parse("--kernel k --mem 512M").unwrap().into_spec();
    assert_eq!(spec.machine.cpus, 1);
    assert_eq!(spec.machine.memory, Size(512 << 20));
    assert_eq!(spec.boot.cmdline, "console=ttyS0 reboot=k panic=-1");
    assert!(spec.devices.is_empty());
    assert_eq!(spec.grace, Duration::from_secs(10));
}

#[test]
fn cards_without_an_id_are_named_by_their_place() {
    let args = parse("--kernel k --mem 1G --net tap=a --net fd=3:4,id=x --net tap=b").unwrap();
    let ids: Vec<_> = args.net.iter().map(|card| card.id.as_str()).collect();
    assert_eq!(ids, ["eth0", "x", "eth2"]);
    assert_eq!(args.net[1].backend, BackendSpec::Fd(vec![3, 4]));
    assert_eq!(args.net[1].queues, 2);
}

#[test]
fn what_is_wrong_is_named() {
    for (args, part) in [
        ("--mem 1G", "--kernel"),
        ("--kernel k", "--mem"),
        ("--kernel k --mem 512", "has no unit"),
        ("--kernel k --mem 1G --cpus 0", "--cpus"),
        ("--kernel k --mem 1G --cpus 65", "64"),
        ("--kernel k --mem 1G --net eth0", "key=value"),
        ("--kernel k --mem 1G --net tap=t,queues=0", "queues"),
        ("--kernel k --mem 1G --net tap=t,colour=red", "colour"),
        ("--kernel k --mem 1G --net tap=t,id=x --net tap=u,id=x", "\"x\" is given twice"),
        ("--kernel k --mem 1G --serial paper", "--serial"),
        ("--kernel k --mem 1G --log-level loud", "--log-level"),
        ("--kernel k --mem 1G --grace soon", "--grace"),
        ("--kernel k --mem 1G extra", "extra"),
    ] {
        let line = error(args);
        assert!(line.contains(part), "{args}: {line}");
    }
}
