//! An NVMe disk as its users' tools read it: nvme-cli, and what Amazon's script makes of its identity.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::disk_scene::{Disk, Scene};

/// Checks an EBS volume on a file of whole MiB, which the guest calls `name`.
pub fn checks(scene: &mut Scene, disk: &Disk, name: &str) -> Result<()> {
    let controller = name.strip_suffix("n1").context("a name without a namespace")?.to_owned();
    identity(scene, disk, &controller)?;
    namespaces(scene, disk, name, &controller)?;
    logs(scene, disk, name, &controller)?;
    features(scene, &controller)?;
    resets(scene, disk, name, &controller)
}

fn json(scene: &mut Scene, line: &str) -> Result<Value> {
    let said = scene.shell.sh(&format!("{line} -o json"))?;
    serde_json::from_str(&said).with_context(|| format!("`{line}` said no JSON: {said}"))
}

/// What a tool prints as `name : value`, by name; of these names alone, as a serial line is slow.
fn fields(scene: &mut Scene, line: &str, names: &[&str]) -> Result<BTreeMap<String, String>> {
    let said =
        scene.shell.sh(&format!("{line} | grep -E '^({})[[:space:]]*:'", names.join("|")))?;
    let pairs = said.lines().filter_map(|line| line.split_once(':'));
    Ok(pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect())
}

/// Fields, each of which must be there and be so.
fn are(scene: &mut Scene, line: &str, wanted: &[(&str, &str)]) -> Result<()> {
    let names: Vec<_> = wanted.iter().map(|(name, _)| *name).collect();
    let said = fields(scene, line, &names)?;
    for (name, value) in wanted {
        ensure!(
            said.get(*name).is_some_and(|said| said == value),
            "`{line}`: no {name} of {value} in {said:?}"
        );
    }
    Ok(())
}

/// The parts of a controller's page that Amazon's `ebsnvme-id` looks at.
struct Page {
    /// From its begin to the model's end, and the first of the vendor's area.
    head: Vec<u8>,
    vendor: Vec<u8>,
}

/// What that script does: it believes the controller to be EBS's by vendor and model, makes the volume's id of the serial
/// number, and the device's name of 32 bytes of the vendor's area.
fn ebs(page: &Page) -> Result<(String, String)> {
    let text = |bytes: Option<&[u8]>| -> Result<String> {
        let bytes = bytes.context("the page is short")?.to_vec();
        Ok(String::from_utf8(bytes)?.trim_end_matches([' ', '\0']).to_owned())
    };
    ensure!(page.head.starts_with(&[0x0f, 0x1d]), "not of Amazon: {:x?}", page.head);
    let (serial, model) = (text(page.head.get(4..24))?, text(page.head.get(24..64))?);
    ensure!(model == "Amazon Elastic Block Store", "the model is {model:?}");
    let id = match serial.strip_prefix("vol") {
        Some(rest) if !rest.starts_with('-') => format!("vol-{rest}"),
        _ => serial,
    };
    let name = text(page.vendor.get(..32))?;
    Ok((id, if name.starts_with("/dev/") { name } else { format!("/dev/{name}") }))
}

/// Bytes that a line of the guest's shell prints.
fn bytes(scene: &mut Scene, line: &str) -> Result<Vec<u8>> {
    let hex = scene.shell.sh(&format!("{line} | hexdump -v -e '1/1 \"%02x\"'"))?;
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    ensure!(rest.is_empty(), "half a byte from `{line}`");
    pairs
        .iter()
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect::<Result<_>>()
        .with_context(|| format!("`{line}` said {hex:?}"))
}

fn identity(scene: &mut Scene, disk: &Disk, controller: &str) -> Result<()> {
    let page = "/tmp/page";
    let len =
        scene.shell.sh(&format!("nvme id-ctrl /dev/{controller} -b >{page} && wc -c <{page}"))?;
    ensure!(len.trim() == "4096", "a page of {len} bytes");
    let head = bytes(scene, &format!("head -c 64 {page}"))?;
    let vendor = bytes(scene, &format!("tail -c +3073 {page} | head -c 32"))?;
    let drive = scene.drive(disk)?;
    let serial = drive["serial"].as_str().context("no serial")?;
    let (id, name) = ebs(&Page { head, vendor })?;
    ensure!(
        id == serial.replace("vol", "vol-") && name == format!("/dev/{}", disk.id),
        "{id} {name}"
    );
    let wanted = [
        ("vid", "0x1d0f"),
        ("ssvid", "0x1d0f"),
        ("sn", serial),
        ("mn", "Amazon Elastic Block Store"),
        ("ver", "0x10400"),
        ("cntrltype", "1"),
        ("nn", "1"),
        ("sqes", "0x66"),
        ("cqes", "0x44"),
    ];
    let line = format!("nvme id-ctrl /dev/{controller}");
    are(scene, &line, &wanted)?;
    let subsystem = fields(scene, &line, &["subnqn"])?;
    let is_named = |name: &String| name.starts_with("nqn.2014-08.org.nvmexpress:uuid:");
    ensure!(subsystem.get("subnqn").is_some_and(is_named), "{subsystem:?}");
    Ok(())
}

fn namespaces(scene: &mut Scene, disk: &Disk, name: &str, controller: &str) -> Result<()> {
    let blocks = scene.number(disk, "size")? / 512;
    let hex = format!("{blocks:#x}");
    let wanted = [("nsze", hex.as_str()), ("ncap", &hex), ("flbas", "0"), ("nsattr", "0")];
    are(scene, &format!("nvme id-ns /dev/{name}"), &wanted)?;
    let said = scene.shell.sh(&format!("nvme list-ns /dev/{controller}"))?;
    ensure!(said.trim() == "[   0]:0x1", "list-ns: {said}");
    let uuid = scene.shell.sh(&format!("nvme ns-descs /dev/{name} | grep -i uuid"))?;
    let shown = scene.shell.sh(&format!("cat /sys/block/{name}/uuid"))?;
    ensure!(uuid.contains(shown.trim()) && shown.trim().len() == 36, "{uuid} is not {shown}");
    let listed = json(scene, "nvme list")?.to_string();
    for wanted in [format!("/dev/{name}"), format!("{}", blocks * 512)] {
        ensure!(listed.contains(&wanted), "no {wanted} in {listed}");
    }
    Ok(())
}

/// A number of a page, which versions of the tool print as a number or as text.
fn number(page: &Value, field: &str) -> Result<u64> {
    match &page[field] {
        Value::String(text) => Ok(text.parse()?),
        number => number.as_u64().with_context(|| format!("no {field} in {page}")),
    }
}

fn logs(scene: &mut Scene, disk: &Disk, name: &str, controller: &str) -> Result<()> {
    let smart = |scene: &mut Scene| json(scene, &format!("nvme smart-log /dev/{controller}"));
    let before = smart(scene)?;
    for (field, wanted) in [("critical_warning", 0), ("avail_spare", 100), ("media_errors", 0)] {
        ensure!(number(&before, field)? == wanted, "{field} is not {wanted}: {before}");
    }
    let kelvin = number(&before, "temperature")?;
    ensure!((273..373).contains(&kelvin), "{before}");
    scene.shell.sh(&format!(
        "dd if=/dev/zero of=/dev/{name} bs=64k count=8 oflag=direct 2>/dev/null && \
         dd if=/dev/{name} of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null"
    ))?;
    let after = smart(scene)?;
    for (field, grown) in [("host_write_commands", 8), ("host_read_commands", 16)] {
        let more = number(&after, field)? - number(&before, field)?;
        ensure!(more >= grown, "{field} grew by {more}, not by {grown}");
    }
    // As many entries as there are said to be.
    let entries = fields(scene, &format!("nvme id-ctrl /dev/{controller}"), &["elpe"])?;
    let entries = 1 + entries.get("elpe").context("no elpe")?.parse::<u64>()?;
    let line = format!("nvme error-log /dev/{controller} -e {entries} -b | wc -c");
    let len = scene.shell.sh(&line)?.trim().parse::<u64>()?;
    ensure!(len == entries * 64, "the error log has {len} bytes, not {entries} entries");
    let said = scene.shell.sh(&format!("nvme fw-log /dev/{controller}"))?;
    ensure!(said.contains("frs1"), "fw-log: {said}");
    let said = scene.shell.sh(&format!("nvme effects-log /dev/{controller} --csi=0"))?;
    // With its command set told: the tool cannot map registers under a kernel that keeps them for its drivers.
    for command in ["Identify", "Abort", "Write", "Read", "Flush", "Compare"] {
        ensure!(said.contains(command), "effects-log has no {command}: {said}");
    }
    statistics(scene, disk, controller)
}

/// Amazon's page, as its tools read it: a magic number, and doublewords that grow.
fn statistics(scene: &mut Scene, disk: &Disk, controller: &str) -> Result<()> {
    let page = bytes(
        scene,
        &format!("nvme get-log /dev/{controller} --log-id=0xd0 --log-len=4096 -b | head -c 64"),
    )?;
    let double = |at: usize| {
        let bytes = page.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u64::from_le_bytes).context("the page is short")
    };
    ensure!(page.get(..4) == Some(&0x3c23_b510u32.to_le_bytes()), "{:x?}", page.get(..4));
    for (at, name) in [(8, "reads"), (16, "writes"), (24, "read_bytes"), (32, "write_bytes")] {
        let (told, counted) = (double(at)?, scene.number(disk, name)?);
        ensure!(
            told > 0 && told <= counted,
            "{name}: the guest is told {told}, the host {counted}"
        );
    }
    Ok(())
}

fn features(scene: &mut Scene, controller: &str) -> Result<()> {
    for feature in [1, 2, 4, 5, 6, 7, 8, 9, 0xa, 0xb] {
        scene
            .shell
            .sh(&format!("nvme get-feature /dev/{controller} -f {feature} >/dev/null"))
            .with_context(|| format!("feature {feature:#x}"))?;
    }
    // The cache goes off and on, and is what it was told to be.
    for value in [0, 1] {
        let said = scene.shell.sh(&format!(
            "nvme set-feature /dev/{controller} -f 6 -v {value} >/dev/null && nvme get-feature /dev/{controller} -f 6"
        ))?;
        ensure!(said.trim().ends_with(&format!("0000000{value}")), "{said}");
    }
    Ok(())
}

fn resets(scene: &mut Scene, disk: &Disk, name: &str, controller: &str) -> Result<()> {
    let before = scene.number(disk, "resets")?;
    scene.shell.sh(&format!("nvme reset /dev/{controller}"))?;
    let after = scene.number(disk, "resets")?;
    ensure!(after > before, "{before} resets are {after}");
    // There is none: the controller says so, and goes on.
    match scene
        .shell
        .run(&format!("nvme subsystem-reset /dev/{controller} 2>&1"), tests::host::PATIENCE)?
    {
        ran if ran.status != 0 && ran.output.contains("not supported") => {}
        ran => bail!("subsystem-reset: {ran:?}"),
    }
    scene
        .shell
        .sh(&format!("dd if=/dev/{name} of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null"))?;
    Ok(())
}
