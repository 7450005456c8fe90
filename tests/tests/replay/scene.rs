//! A folder with files that rows name, and a program called `firecracker` in it.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;
use tempfile::TempDir;
use tests::api::{Api, Served};
use tests::host;
use tests::idle::{self, Deed};
use tests::machine::Hypervisor;

use super::row::Row;

pub struct Scene {
    folder: TempDir,
}

/// Ports at which a guest ends its machine: the keyboard controller's command that resets, and ACPI's
/// register of sleep states with S5.
const RESET: Deed = Deed::Out(0x64, 0xfe);
const POWER_OFF: Deed = Deed::Out(0x600, 0x34);

impl Scene {
    pub fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let Hypervisor::Vmm(vmm) = Hypervisor::ours().unwrap() else { unreachable!("it is ours") };
        symlink(fs::canonicalize(vmm).unwrap(), folder.path().join("firecracker")).unwrap();
        idle::kernel(folder.path()).unwrap();
        idle::echo(folder.path(), &[(b'r', RESET), (b'p', POWER_OFF), (b'f', Deed::Fault)])
            .unwrap();
        let scene = Scene { folder };
        for (name, len) in [
            ("disk", 1 << 20),
            ("grown", 2 << 20),
            ("odd", 1000),
            ("empty", 0),
            ("spare", 512),
            ("memory", 2 << 20),
        ] {
            File::create(scene.path(name)).unwrap().set_len(len).unwrap();
        }
        fs::write(scene.path("text"), "no kernel\n").unwrap();
        fs::write(scene.path("initrd"), [b'0'; 512]).unwrap();
        fs::create_dir(scene.path("dir")).unwrap();
        for fifo in ["log.fifo", "metrics.fifo"] {
            mkfifo(&scene.path(fifo), Mode::from_bits_truncate(0o600)).unwrap();
        }
        scene
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap()).into_owned()
    }

    /// Text of a row, with the folder's name for `{}` and paths in it for names in braces.
    pub fn fill(&self, text: &str) -> String {
        let names = [
            "idle",
            "echo",
            "disk",
            "grown",
            "odd",
            "empty",
            "spare",
            "memory",
            "text",
            "initrd",
            "dir",
            "log.fifo",
            "metrics.fifo",
            "new",
            "file",
            "template",
        ];
        names.iter().fold(text.to_owned(), |text, name| {
            text.replace(&format!("{{{name}}}"), self.path(name).to_str().unwrap())
        })
    }

    /// The program, in the folder.
    pub fn firecracker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("firecracker"));
        command.args(arguments.iter().map(|argument| self.fill(argument)));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// One that waits for requests.
    pub fn serve(&self, arguments: &[&str]) -> Served {
        Served::start(&mut self.firecracker(arguments), &self.path("api")).unwrap()
    }

    /// One whose machine runs, does nothing, and has two disks.
    pub fn started(&self, arguments: &[&str]) -> Served {
        host::need_kvm();
        let served = self.serve(arguments);
        let mut api = served.api().unwrap();
        let kernel = json!({ "kernel_image_path": self.path("idle") });
        api.done("PUT", "/boot-source", &kernel).unwrap();
        for (id, name) in [("rootfs", "disk"), ("drive_1", "empty")] {
            let drive =
                json!({ "drive_id": id, "path_on_host": self.path(name), "is_root_device": false });
            api.done("PUT", &format!("/drives/{id}"), &drive).unwrap();
        }
        api.act("InstanceStart").unwrap();
        served
    }

    /// Does what rows say, one after the other.
    pub fn play(&self, served: &Served, rows: &[Row]) {
        let mut wrong = Vec::new();
        for row in rows {
            // One that is too large ends its connection.
            let mut api: Api = served.api().unwrap();
            let body = self.fill(row.body);
            let answer = api.ask(row.method, row.path, &body).unwrap();
            let fits = answer.status == row.status
                && answer.body.contains(&self.fill(row.said))
                // What clients read of a refusal.
                && (answer.status < 400 || answer.fault().is_ok())
                && (answer.status != 204 || answer.body.is_empty());
            if !fits {
                let asked: String =
                    format!("{} {} {body}", row.method, row.path).chars().take(300).collect();
                wrong
                    .push(format!("{asked}\n  is {answer:?}\n  not {} {:?}", row.status, row.said));
            }
        }
        assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    }
}

/// The path of a file as JSON's text has it.
pub fn text(path: &Path) -> String {
    path.display().to_string()
}
