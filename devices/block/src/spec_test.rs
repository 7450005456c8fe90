//! Tests of what a user may say about a disk.

use serde::Serialize;
use serde_json::json;

use super::*;
use device_core::rate::Quota;

fn parsed(text: &str) -> DiskSpec {
    text.parse().unwrap()
}

/// What a user reads about `text`, with an id given for him: key and reason.
fn complaint(text: &str) -> String {
    let mut spec = match text.parse::<DiskSpec>() {
        Ok(spec) => spec,
        Err(error) => return error.to_string(),
    };
    if spec.id.is_empty() {
        spec.id = "disk0".to_string();
    }
    let error = spec.validate().unwrap_err();
    format!("{}: {error}", error.key())
}

#[test]
fn the_short_form_leaves_the_rest_to_defaults() {
    for text in ["path=disk.raw", "disk.raw"] {
        assert_eq!(parsed(text), DiskSpec::on("", "disk.raw"));
    }
    let read_only = DiskSpec { read_only: true, ..DiskSpec::on("", "disk.raw") };
    for text in ["disk.raw,ro", "ro,path=disk.raw", "path=disk.raw,ro=on", "disk.raw,ro=on"] {
        assert_eq!(parsed(text), read_only, "{text}");
    }
    // A file may be called as a flag is.
    assert_eq!(parsed("ro"), DiskSpec::on("", "ro"));
    assert_eq!(parsed("disk.raw,ro=off,root=off"), DiskSpec::on("", "disk.raw"));
}

#[test]
fn the_long_form_says_everything() {
    let spec = parsed(
        "path=disk.raw,id=data,ro=on,root,model=nvme,queues=4,cache=unsafe,direct=on,\
         engine=threads,serial=vol0123,bw=125M,iops=3k,fault=slow,fault=vanish",
    );
    let expected = DiskSpec {
        read_only: true,
        root: Some(Root::Disk),
        model: Model::Nvme,
        queues: Some(4),
        cache: Cache::Unsafe,
        direct: true,
        engine: Engine::Threads,
        serial: Some("vol0123".into()),
        limits: Allowed { bw: Quota::per_second(125_000_000), iops: Quota::per_second(3000) },
        faults: vec![Fault::Slow, Fault::Vanish],
        ..DiskSpec::on("data", "disk.raw")
    };
    assert_eq!(spec, expected);
    assert_eq!(spec.validate(), Ok(()));
}

#[test]
fn a_comma_of_a_path_is_written_twice() {
    assert_eq!(parsed("path=a,,b,,,,c,ro").path, PathBuf::from("a,b,,c"));
    assert_eq!(parsed("a,,b").path, PathBuf::from("a,b"));
    assert_eq!(parsed("path=a,,,ro").path, PathBuf::from("a,"));
    assert!(complaint("path=a,b").contains("\"b\" has no '='; write key=value, with a comma"));
}

#[test]
fn what_is_below_is_named_the_nearest_first() {
    let spec = parsed("c.cow,base=b.cow,base=a,,b.raw,ro");
    assert_eq!(spec.bases, [PathBuf::from("b.cow"), "a,b.raw".into()]);
    assert_eq!(spec.source().bases, spec.bases);
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<DiskSpec>(&text).unwrap(), spec);
}

#[test]
fn a_root_is_the_disk_or_a_partition_of_it() {
    assert_eq!(parsed("d,root").root, Some(Root::Disk));
    let partition = Some(Root::Partition("0eaa91a0-01".into()));
    assert_eq!(parsed("d,partuuid=0eaa91a0-01").root, partition);
    assert_eq!(parsed("d,root,partuuid=0eaa91a0-01").root, partition);
    let text = complaint("d,root=off,partuuid=1");
    assert!(text.contains("root=off: partuuid names a part of it"), "{text}");
}

#[test]
fn every_complaint_names_its_field() {
    let long_id = format!("d,id={}", "x".repeat(65));
    let long_uuid = format!("d,partuuid={}", "a".repeat(65));
    for (text, names) in [
        ("", "path: it is empty"),
        ("path=", "path: it is empty"),
        ("ro,serial=x", "path is not given"),
        ("id=a", "path is not given"),
        ("path=a,path=b", "path is given twice"),
        ("a,path=b", "path is given twice"),
        ("a,", "\"\" has no '='"),
        ("a,rw", "\"rw\" has no '='"),
        ("a,model", "\"model\" has no '='"),
        ("a,colour=red", "unknown key \"colour\"; known are path, base, id, ro, root"),
        ("a,base=", "base: it is empty; name the image"),
        ("a,base=b,base=,ro", "base: it is empty"),
        ("9,base=8,base=7,base=6,base=5,base=4,base=3,base=2,base=1", "base: 8 of them; a disk"),
        ("a=b", "unknown key \"a\""),
        ("a,=b", "unknown key \"\""),
        ("a,RO=on", "unknown key \"RO\""),
        ("a,ro=yes", "ro=yes: write one of on, off"),
        ("a,ro=", "ro=: write one of on, off"),
        ("a,ro,ro", "ro is given twice"),
        ("a,direct=1", "direct=1: write one of on, off"),
        ("a,root=sda1", "root=sda1: write one of on, off"),
        ("a,partuuid=", "partuuid: \"\" is not usable"),
        ("a,partuuid=1 init=/evil", "partuuid: \"1 init=/evil\" is not usable"),
        ("a,partuuid=\"", "partuuid: \"\\\"\" is not usable"),
        (&long_uuid, "partuuid: \"aaa"),
        ("a,model=floppy", "model=floppy: write one of virtio, nvme, nvme-instance"),
        ("a,queues=0", "queues: 0 queues; a disk has 1 to 64"),
        ("a,queues=65", "queues: 65 queues"),
        ("a,queues=two", "queues=two: write a number"),
        ("a,queues=-1", "queues=-1: write a number"),
        ("a,queues=70000", "queues=70000: write a number"),
        ("a,cache=none", "cache=none: write one of writeback, writethrough, unsafe"),
        ("a,engine=aio", "engine=aio: write one of auto, uring, threads"),
        ("a,serial=", "serial: \"\" is not usable"),
        ("a,serial=123456789012345678901", "serial: \"123456789012345678901\""),
        ("a,serial=ümlaut", "serial: \"ümlaut\""),
        ("a,serial=a\tb", "serial: \"a\\tb\""),
        ("a,bw=0", "bw=0: 0 would let nothing through"),
        ("a,iops=0.0k", "iops=0.0k: 0 would let nothing through"),
        ("a,bw=fast", "bw=fast: write a number and perhaps k"),
        ("a,bw=-1", "bw=-1: write a number"),
        ("a,iops=1.5", "iops=1.5: write a number"),
        ("a,bw=99999999999T", "bw=99999999999T: it is too large"),
        ("a,iops=1,iops=2", "iops is given twice"),
        ("a,fault=explode", "fault=explode: write one of swallow, error, slow, vanish, fatal"),
        ("a,fault=vanish", "fault: only a disk of model nvme"),
        ("a,fault=slow,fault=fatal", "fault: only a disk of model nvme"),
        ("a,id=a/b", "id: \"a/b\" is not usable"),
        ("a,id=a b", "id: \"a b\" is not usable"),
        (&long_id, "id: \"xxx"),
    ] {
        let complaint = complaint(text);
        assert!(complaint.contains(names), "{text:?}: {complaint}");
    }
}

#[test]
fn a_word_is_the_same_here_and_in_json() {
    fn said(value: impl Serialize) -> String {
        serde_json::to_value(value).unwrap().as_str().unwrap().to_string()
    }
    for word in [Model::Virtio, Model::Nvme, Model::NvmeInstance].map(said) {
        assert_eq!(said(parsed(&format!("a,model={word}")).model), word);
    }
    for word in [Cache::Writeback, Cache::Writethrough, Cache::Unsafe].map(said) {
        assert_eq!(said(parsed(&format!("a,cache={word}")).cache), word);
    }
    for word in [Engine::Auto, Engine::Uring, Engine::Threads].map(said) {
        assert_eq!(said(parsed(&format!("a,engine={word}")).engine), word);
    }
    use Fault::{Error, Fatal, Slow, Swallow, Vanish};
    for word in [Swallow, Error, Slow, Vanish, Fatal].map(said) {
        assert_eq!(said(parsed(&format!("a,fault={word}")).faults[0]), word);
    }
}

#[test]
fn json_takes_the_same_fields_and_no_others() {
    let spec = DiskSpec {
        root: Some(Root::Partition("1-2".into())),
        limits: Allowed { bw: Quota::per_second(1), iops: None },
        faults: vec![Fault::Error],
        ..DiskSpec::on("a", "d")
    };
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<DiskSpec>(&text).unwrap(), spec);
    let short: DiskSpec = serde_json::from_value(json!({ "id": "a", "path": "d" })).unwrap();
    assert_eq!(short, DiskSpec::on("a", "d"));
    let wrong = json!({ "id": "a", "path": "d", "speed": 2 });
    let error = serde_json::from_value::<DiskSpec>(wrong).unwrap_err().to_string();
    assert!(error.contains("speed"), "{error}");
}
