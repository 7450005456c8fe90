//! Tests of the command line.

use arch::boot::DEFAULT_CMDLINE;
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
    let orders = parse("--kernel k --mem 512M").unwrap().into_orders();
    assert_eq!(orders.config.grace, Duration::from_secs(10));
    assert_eq!(orders.api_socket, None);
    let actions = orders.actions;
    let [Action::SetMachine(machine), Action::SetBoot(boot), Action::Start] = &actions[..] else {
        panic!("{actions:?}");
    };
    let memory = Size(512 << 20);
    assert_eq!(*machine, MachineSpec { memory, ..MachineSpec::default() });
    // A kernel's is told where it is set.
    assert_eq!((boot.cmdline.as_deref(), orders.config.default_cmdline), (None, DEFAULT_CMDLINE));
}

#[test]
fn without_a_kernel_the_root_or_the_first_disk_is_booted() {
    let boot = |text: &str| {
        let actions = parse(text).unwrap().into_orders().actions;
        actions.into_iter().find_map(|action| match action {
            Action::SetBoot(boot) => Some((boot.kernel, boot.cmdline)),
            _ => None,
        })
    };
    let disk = |path: &str, words: Option<&str>| {
        Some((BootFrom::Disk(path.into(), Vec::new()), words.map(str::to_string)))
    };
    assert_eq!(boot("--disk a --disk b --mem 1G"), disk("a", None));
    assert_eq!(boot("--disk a --disk b,root --mem 1G --cmdline single"), disk("b", Some("single")));
    let kernel = BootFrom::Kernel("k".into());
    assert_eq!(boot("--disk a --kernel k --mem 1G"), Some((kernel, None)));
    assert_eq!(boot("--api-sock s"), None);
    let args = parse("--disk a --mem 1G --cloud-init user-data=u").unwrap();
    let actions = args.into_orders().actions;
    assert!(actions.iter().any(|action| matches!(action, Action::SetSeed(_))), "{actions:?}");
}

#[test]
fn with_an_api_the_machine_waits_until_it_is_told_what_to_boot() {
    let args = parse("--api-sock s --id vm-1 --level Warning --start-time-us 5").unwrap();
    let orders = args.into_orders();
    assert_eq!(orders.api_socket, Some("s".into()));
    assert_eq!(orders.id, "vm-1");
    assert_eq!(orders.log.level, Some(LevelFilter::WARN));
    assert!(matches!(&orders.actions[..], [Action::SetMachine(_)]), "{orders:?}");
}

#[test]
fn a_bus_is_for_whatever_machine_comes() {
    for args in ["--kernel k --mem 1G --bus mmio", "--api-sock s --bus mmio"] {
        let args = parse(args).unwrap();
        assert_eq!(args.config().bus, Some(DeviceBus::Mmio));
        let actions = args.into_orders().actions;
        let Some(Action::SetMachine(machine)) = actions.first() else { panic!("{actions:?}") };
        assert_eq!(machine.bus, Some(DeviceBus::Mmio));
    }
    let pci = parse("--config-file f --bus pci").unwrap().config();
    assert_eq!((pci.bus, pci.machine.bus), (Some(DeviceBus::Pci), Some(DeviceBus::Pci)));
    assert_eq!(parse("--kernel k --mem 1G").unwrap().config().bus, None);
}

#[test]
fn no_api_is_served_if_that_is_said_whatever_else_is() {
    let args = parse("--api-sock s --no-api --config-file f").unwrap();
    assert_eq!(args.into_orders().api_socket, None);
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
fn disks_without_an_id_are_named_by_their_place() {
    let args = parse("--kernel k --mem 1G --disk a --disk path=b,ro,id=x --disk c,root").unwrap();
    let ids: Vec<_> = args.disk.iter().map(|disk| disk.id.as_str()).collect();
    assert_eq!(ids, ["disk0", "x", "disk2"]);
    assert_eq!(args.disk[1], DiskSpec { read_only: true, ..DiskSpec::on("x", "b") });
}

#[test]
fn memory_is_given_and_taken_by_options_of_its_own() {
    let actions = |text: &str| {
        let args = parse(&format!("--kernel k --mem 1G {text}")).unwrap();
        args.into_orders().actions
    };
    let all = actions("--pmem a --pmem b,ro,id=x --balloon 64M,oom --entropy bw=1M");
    let [_, Action::SetPmem(a), Action::SetPmem(b), Action::SetBalloon(balloon), entropy, ..] =
        &all[..]
    else {
        panic!("{all:?}");
    };
    assert_eq!((a.id.as_str(), b.id.as_str(), b.read_only), ("pmem0", "x", true));
    assert_eq!((balloon.amount_mib, balloon.deflate_on_oom), (64, true));
    assert!(matches!(entropy, Action::SetEntropy(EntropyWish::Given(_))), "{entropy:?}");
    let off = actions("--entropy off");
    assert!(matches!(off[1], Action::SetEntropy(EntropyWish::Off)), "{off:?}");
}

#[test]
fn what_is_wrong_is_named() {
    for (args, part) in [
        ("--mem 1G", "--kernel"),
        ("--disk d", "--mem"),
        ("--kernel k --mem 1G --cloud-init user.yaml", "write key=value"),
        ("--config-file f --cloud-init user-data=u", "--cloud-init"),
        ("--kernel k", "--mem"),
        ("--kernel k --mem 512", "has no unit"),
        ("--kernel k --mem 1G --cpus 0", "--cpus"),
        ("--kernel k --mem 1G --cpus 65", "64"),
        ("--kernel k --mem 1G --net eth0", "key=value"),
        ("--kernel k --mem 1G --net tap=t,colour=red", "colour"),
        (
            "--kernel k --mem 1G --net tap=t,id=x --net tap=u,id=x",
            "--net: card \"x\": id: \"x\" is given twice",
        ),
        ("--kernel k --mem 1G --disk d,colour=red", "colour"),
        ("--kernel k --mem 1G --disk d --disk e,rw", "write key=value"),
        (
            "--kernel k --mem 1G --disk d,id=x --disk e,id=x",
            "--disk: disk \"x\": id: \"x\" is given twice",
        ),
        ("--disk d --config-file f", "--disk"),
        ("--kernel k --mem 1G --balloon reporting", "no amount of memory"),
        ("--balloon 0 --config-file f", "--balloon"),
        ("--kernel k --memory-hotplug 4", "is no size"),
        ("--memory-hotplug 4G --config-file f", "--memory-hotplug"),
        ("--kernel k --mem 1G --entropy on", "write off, or bw=BYTES"),
        ("--kernel k --mem 1G --pmem a,id=x --pmem b,id=x", "--pmem: \"x\": \"x\" is given twice"),
        ("--kernel k --mem 1G --serial paper", "--serial"),
        ("--kernel k --mem 1G --smbios maker=x", "unknown key \"maker\""),
        ("--kernel k --mem 1G --bus isa", "--bus"),
        ("--kernel k --mem 1G --log-level loud", "--log-level"),
        ("--kernel k --mem 1G --grace soon", "--grace"),
        ("--kernel k --mem 1G extra", "extra"),
        ("--kernel k --config-file f", "--kernel"),
        ("--api-sock s --id a/b", "letters, digits and '-'"),
        ("--api-sock s --id=", "--id"),
        ("--api-sock s --start-time-us x", "--start-time-us"),
    ] {
        let line = error(args);
        assert!(line.contains(part), "{args}: {line}");
    }
}

#[test]
fn an_instance_of_a_cloud_says_so_in_its_smbios_and_by_metadata() {
    let identity = |args: &str| {
        let args = parse(&format!("--kernel k --mem 1G {args}")).unwrap();
        let imds = args.config().imds;
        match args.into_orders().actions.into_iter().next() {
            Some(Action::SetMachine(machine)) => (machine.identity, imds),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(identity(""), Default::default());
    let (plain, imds) = identity("--imds=hostname=web1");
    assert_eq!((plain, imds.unwrap().hostname), (Default::default(), Some("web1".to_string())));
    let (instance, imds) = identity("--profile ec2 --smbios product=own");
    assert_eq!(imds, Some(ImdsSpec::default()));
    assert!(instance.uuid.to_string().starts_with("ec2"));
    assert_eq!(instance.product.unwrap().to_string(), "own");
    let (instance, _) = identity("--profile ec2 --imds=instance-id=i-7");
    assert_eq!(instance.asset_tag.unwrap().to_string(), "i-7");
    assert!(error("--kernel k --mem 1G --profile gce").contains("--profile"));
}
