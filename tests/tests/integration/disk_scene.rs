//! A guest with disks that a test watches from both sides: through its shell, and through the API.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::api::Api;
use tests::guest::{Shell, Tool};
use tests::host::PATIENCE;
use tests::kernel::Release;
use tests::machine::Running;

use crate::scenario::{bare, finish};

/// A disk to give to a guest: its id, its image, and more words of `--disk`, such as its model.
pub struct Disk {
    pub id: &'static str,
    pub image: PathBuf,
    pub options: &'static str,
}

impl Disk {
    /// One on a sparse file of its own in a folder.
    pub fn on_file(
        folder: &Path,
        id: &'static str,
        bytes: u64,
        options: &'static str,
    ) -> Result<Self> {
        let image = folder.join(format!("{id}.raw"));
        File::create(&image)?.set_len(bytes)?;
        Ok(Self { id, image, options })
    }

    /// The serial number, by which it is found in the guest.
    fn serial(&self) -> String {
        format!("vol0{:a<8}", self.id)
    }
}

/// A guest, in the order in which its parts go.
pub struct Scene {
    pub shell: Shell,
    pub running: Running,
    socket: PathBuf,
    _folder: TempDir,
}

impl Scene {
    /// Boots a guest with these disks and tools, and words on its kernel's command line.
    pub fn boot(release: Release, tools: &[Tool], words: &[&str], disks: &[Disk]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("api");
        let mut machine = bare(release, &[&[Tool::Disks], tools].concat())?.cpus(2);
        for disk in disks {
            let Disk { id, image, options } = disk;
            let (image, serial) = (image.display(), disk.serial());
            let words = format!("path={image},id={id},serial={serial},{options}");
            machine = machine.argument("--disk").argument(words.trim_end_matches(','));
        }
        machine = words.iter().fold(machine, |machine, word| machine.parameter(word));
        let machine = machine.argument("--api-sock").argument(&socket);
        let (running, shell) = machine.boot(None)?;
        Ok(Self { shell, running, socket, _folder: folder })
    }

    /// The name that the guest's kernel has for a disk, such as `vda` or `nvme0n1`, once it has found it.
    pub fn name(&mut self, disk: &Disk) -> Result<String> {
        let serial = disk.serial();
        let find = format!(
            "n=0; while [ $n -lt 300 ]; do for d in /sys/block/vd* /sys/block/nvme*; do \
             case $(cat $d/serial $d/device/serial 2>/dev/null) in {serial}*) basename $d; n=300;; esac; \
             done; [ $n = 300 ] || sleep 0.1; n=$((n+1)); done"
        );
        let name = self.shell.sh(&find)?;
        ensure!(!name.is_empty() && !name.contains('\n'), "disk {} is {name:?}", disk.id);
        Ok(name)
    }

    pub fn api(&self) -> Result<Api> {
        Api::connect(&self.socket)
    }

    /// What the API shows of a disk.
    pub fn drive(&self, disk: &Disk) -> Result<Value> {
        self.api()?.get(&format!("/drives/{}", disk.id))
    }

    /// One of its numbers, or a counter.
    pub fn number(&self, disk: &Disk, name: &str) -> Result<u64> {
        let drive = self.drive(disk)?;
        let number = drive["counters"][name].as_u64().or(drive[name].as_u64());
        number.with_context(|| format!("no {name} in {drive}"))
    }

    /// Changes a disk; returns the message if that is refused.
    pub fn change(&self, disk: &Disk, mut fields: Value) -> Result<Option<String>> {
        fields["drive_id"] = json!(disk.id);
        let path = format!("/drives/{}", disk.id);
        let answer = self.api()?.ask("PATCH", &path, &fields.to_string())?;
        if answer.status == 204 { Ok(None) } else { Ok(Some(answer.fault()?)) }
    }

    /// Changes a disk, which must be taken.
    pub fn changed(&self, disk: &Disk, fields: Value) -> Result<()> {
        let refused = self.change(disk, fields.clone())?;
        ensure!(refused.is_none(), "disk {}: {fields} is refused: {refused:?}", disk.id);
        Ok(())
    }

    /// Has the size of its image looked at; returns the message if that is refused.
    pub fn refresh(&self, disk: &Disk) -> Result<Option<String>> {
        let answer = self.api()?.ask("POST", &format!("/drives/{}/refresh", disk.id), "")?;
        if answer.status == 200 { Ok(None) } else { Ok(Some(answer.fault()?)) }
    }

    pub fn inject(&self, disk: &Disk, fault: &str) -> Result<()> {
        let path = format!("/drives/{}/faults", disk.id);
        self.api()?.done("PUT", &path, &json!({ "fault": fault }))
    }

    pub fn clear_faults(&self, disk: &Disk) -> Result<()> {
        let answer = self.api()?.ask("DELETE", &format!("/drives/{}/faults", disk.id), "")?;
        ensure!(answer.status == 204, "{answer:?}");
        Ok(())
    }

    pub fn set_state(&self, state: &str) -> Result<()> {
        self.api()?.done("PATCH", "/vm", &json!({ "state": state }))
    }

    /// Waits until the guest's kernel has said this, and forgets all that it said so far.
    pub fn hears(&mut self, words: &str) -> Result<()> {
        let line = format!(
            "n=0; until dmesg | grep -qE '{words}'; do n=$((n+1)); [ $n -lt 600 ] || break; \
             sleep 0.2; done; dmesg -c | grep -E '{words}'"
        );
        let heard = self.shell.sh_within(&line, PATIENCE);
        heard.map(drop).with_context(|| format!("the guest's kernel did not say {words:?}"))
    }

    /// Lines of vmm's with these words.
    pub fn lines(&self, words: &str) -> usize {
        self.running.errors.text().lines().filter(|line| line.contains(words)).count()
    }

    /// A line of shell that must fail, with these words in what it says.
    pub fn fails(&mut self, line: &str, words: &str) -> Result<()> {
        let ran = self.shell.run(&format!("{{ {line}; }} 2>&1"), PATIENCE)?;
        ensure!(ran.status != 0 && ran.output.contains(words), "`{line}` did not fail so: {ran:?}");
        Ok(())
    }

    /// Powers the guest off; fails if its kernel complained.
    pub fn finish(mut self) -> Result<()> {
        let ended = finish(&mut self.running, &mut self.shell);
        ended.with_context(|| format!("vmm said {:?}", self.running.errors.text()))
    }
}

/// A load of the guest's disks that goes on until it is ended: fio writes, reads and compares.
pub struct Load {
    name: &'static str,
}

/// What all jobs have in common. Threads start sooner than processes.
const COMMON: &str = "[global]\\nthread=1\\ndirect=1\\nverify=crc32c\\nverify_fatal=1\\nverify_state_save=0\\n\
                      clocksource=clock_gettime\\nrandrepeat=0\\n";

impl Load {
    /// Writes jobs to a file: each its name and more lines, without blanks.
    fn write(shell: &mut Shell, name: &str, jobs: &[(String, String)]) -> Result<()> {
        let words = |(name, lines): &(String, String)| {
            let lines: Vec<_> = lines.split_whitespace().collect();
            format!("[{name}]\\nfilename=/dev/{name}\\n{}\\n", lines.join("\\n"))
        };
        let jobs: String = jobs.iter().map(words).collect();
        shell.sh(&format!("printf '{COMMON}{jobs}' >/tmp/{name}.fio"))?;
        Ok(())
    }

    /// Runs jobs once, to their end.
    pub fn once(shell: &mut Shell, jobs: &[(String, String)]) -> Result<()> {
        Self::write(shell, "once", jobs)?;
        let limit = PATIENCE * if crate::scenario::long() { 20 } else { 1 };
        let line =
            "fio --output=/tmp/once.log /tmp/once.fio || { tail -n 60 /tmp/once.log; false; }";
        shell.sh_within(line, limit).map(drop)
    }

    /// Runs jobs again and again.
    pub fn begin(shell: &mut Shell, name: &'static str, jobs: &[(String, String)]) -> Result<Self> {
        Self::write(shell, name, jobs)?;
        let file = format!("/tmp/{name}");
        shell.sh(&format!(
            "(while [ ! -e {file}.stop ]; do fio --output={file}.log {file}.fio >{file}.says 2>&1 || \
             {{ touch {file}.bad; break; }}; echo >>{file}.rounds; done) &"
        ))?;
        let load = Self { name };
        load.rounds(shell, 1)?;
        Ok(load)
    }

    /// Waits until so many rounds more have ended well.
    pub fn rounds(&self, shell: &mut Shell, more: u32) -> Result<()> {
        let file = format!("/tmp/{}", self.name);
        let count = format!("$(wc -l <{file}.rounds 2>/dev/null || echo 0)");
        let line = format!(
            "n={count}; n=$((n+{more})); until [ {count} -ge $n ] || [ -e {file}.bad ]; do sleep 0.1; done; \
             [ ! -e {file}.bad ] || {{ tail -n 40 {file}.log {file}.says; false; }}"
        );
        shell.sh_within(&line, PATIENCE).map(drop).context("the load has failed")
    }

    /// Ends it; fails if anything was not as it should be.
    pub fn end(self, shell: &mut Shell) -> Result<()> {
        let file = format!("/tmp/{}", self.name);
        let line = format!(
            "touch {file}.stop; wait; [ ! -e {file}.bad ] || {{ tail -n 40 {file}.log {file}.says; false; }}"
        );
        shell.sh_within(&line, PATIENCE).map(drop).context("the load has failed")
    }
}
