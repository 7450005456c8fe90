//! Outputs that fail, ends that must leave nothing behind, consoles, and shells that stop and start a vmm.
#![forbid(unsafe_code)]

#[path = "outputs/consoles.rs"]
mod consoles;
#[path = "outputs/scene.rs"]
mod scene;
#[path = "outputs/terminals.rs"]
mod terminals;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use tests::api::Api;
use tests::net::Network;
use tests::process::Owned;

use scene::{Scene, end, send, vmm_path, wait_until};

/// As `command`, but its files may have `KIB` KiB only.
fn limited(command: &Command) -> Command {
    let mut limited = Command::new("bash");
    limited.args(["-c", "ulimit -f 16; exec \"$0\" \"$@\""]);
    limited.arg(command.get_program()).args(command.get_args());
    limited.current_dir(command.get_current_dir().unwrap());
    limited.stdin(Stdio::null()).stdout(Stdio::null());
    limited
}

/// A machine that writes more than it may, with its words in `errors`.
fn limited_chatty(scene: &Scene) -> (Owned, Api) {
    let vmm = scene.vmm("chatty", &["--serial", "file=console", "--metrics-path", "metrics"]);
    let mut command = limited(&vmm);
    command.stderr(File::create(scene.path("errors")).unwrap());
    let process = Owned::spawn(&mut command).unwrap();
    (process, scene.running())
}

#[test]
fn a_limit_on_file_sizes_ends_no_machine() {
    let scene = Scene::new();
    let (process, mut api) = limited_chatty(&scene);
    wait_until("the console is full", || scene.read("console").len() == 16 << 10);
    while scene.read("metrics").len() < 16 << 10 {
        api.act("FlushMetrics").unwrap();
    }
    for _ in 0..10 {
        api.act("FlushMetrics").unwrap();
    }
    assert_eq!(api.get("/").unwrap()["state"], "Running");
    api.act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));
    assert!(!scene.path("api").exists());
    let errors = scene.read("errors");
    for part in
        ["cannot write the console's output: File too large", "cannot write metrics to metrics"]
    {
        assert_eq!(errors.matches(part).count(), 1, "{part:?} once in: {errors}");
    }
}

#[test]
fn an_output_that_can_be_written_again_is_told_as_its_failure_was() {
    let scene = Scene::new();
    let (process, mut api) = limited_chatty(&scene);
    let mut wait_for = |part: &str| {
        wait_until(part, || {
            api.act("FlushMetrics").unwrap();
            scene.read("errors").contains(part)
        });
    };
    wait_for("cannot write the console's output");
    wait_for("cannot write metrics to metrics");
    for name in ["console", "metrics"] {
        File::create(scene.path(name)).unwrap();
    }
    wait_for("the console's output can be written again");
    wait_for("metrics can be written again");
    api.act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));
}

/// As `vmm`, in a network, and in a folder whose part `full` has no room left.
fn short_of_room(vmm: &Command, network: &Network) -> Command {
    let fill = "mkdir full && mount -t tmpfs -o size=4k tmpfs full || exit
        cat /dev/zero >full/rest 2>/dev/null; exec \"$0\" \"$@\"";
    // Its mounts are its own.
    let mut command = network.command("bash");
    command.args(["-c", fill]).arg(vmm.get_program()).args(vmm.get_args());
    command.current_dir(vmm.get_current_dir().unwrap());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Its guest drives no card, so that a file has its head and its end alone: a ring's both in the end.
#[test]
fn a_capture_that_cannot_be_written_ends_no_machine() {
    const CAPTURE: &str = "/network-interfaces/eth0/capture";
    assert!(nix::unistd::geteuid().is_root(), "needs root: it makes a TAP and a full file system");
    let scene = Scene::new();
    let mut network = Network::new().unwrap();
    let tap = network.tap(1, 1500).unwrap();
    let card = format!("tap={}", tap.name);
    let vmm = scene.vmm("idle", &["--serial", "none", "--net", &card]);
    let mut command = short_of_room(&vmm, &network);
    // No file: that would be limited too.
    let (mut errors, said) = std::io::pipe().unwrap();
    let process = Owned::spawn(command.stderr(said)).unwrap();
    drop(command);
    let mut api = scene.running();

    let refused = api.ask("PUT", CAPTURE, r#"{"path":"full/capture"}"#).unwrap();
    assert_eq!(refused.status, 500, "{refused:?}");
    assert!(refused.fault().unwrap().contains("No space left"), "{refused:?}");

    api.done("PUT", CAPTURE, &json!({ "path": "full/ring", "ring": true })).unwrap();
    let stopped = api.ask("DELETE", CAPTURE, "").unwrap();
    assert!(stopped.body.contains(r#"{"failed":"No space left"#), "{stopped:?}");

    api.done("PUT", CAPTURE, &json!({ "path": "limited" })).unwrap();
    let most = fs::metadata(scene.path("limited")).unwrap().len();
    let pid = process.pid().to_string();
    let limit = format!("--fsize={most}:");
    assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    let stopped = api.ask("DELETE", CAPTURE, "").unwrap();
    assert!(stopped.body.contains(r#"{"failed":"File too large"#), "{stopped:?}");

    assert_eq!(api.get("/").unwrap()["state"], "Running");
    api.act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));
    let mut told = String::new();
    errors.read_to_string(&mut told).unwrap();
    for why in ["No space left", "File too large"] {
        let part = format!("a capture ends, as its file cannot be written: {why}");
        assert_eq!(told.matches(&part).count(), 1, "{part:?} once in: {told}");
    }
}

/// Where a line cannot be said: a full device, and a pipe that nobody reads any more.
fn deaf() -> [Stdio; 2] {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (_, broken) = std::io::pipe().unwrap();
    [full.into(), broken.into()]
}

#[test]
fn codes_are_the_documented_ones_if_nobody_can_hear_why() {
    for errors in deaf() {
        let scene = Scene::new();
        let mut wrong = scene.command(vmm_path(), &["--kernel", "nowhere", "--mem", "64M"]);
        assert_eq!(end(Owned::spawn(wrong.stderr(errors)).unwrap()).code(), Some(2));
    }
    for errors in deaf() {
        let scene = Scene::new();
        let mut flag = scene.command(vmm_path(), &["--floppy"]);
        assert_eq!(end(Owned::spawn(flag.stderr(errors)).unwrap()).code(), Some(2));
    }
    for errors in deaf() {
        let scene = Scene::new();
        let mut vmm = scene.vmm("idle", &["--serial", "none", "--grace", "0"]);
        let process = Owned::spawn(vmm.stderr(errors)).unwrap();
        scene.running();
        send(&process, Signal::SIGTERM);
        assert_eq!(end(process).code(), Some(143));
        assert!(!scene.path("api").exists());
    }
    for errors in deaf() {
        let scene = Scene::new();
        let mut vmm = scene.vmm("idle", &["--serial", "none"]);
        let process = Owned::spawn(vmm.stderr(errors)).unwrap();
        scene.running().act("Reset").unwrap();
        assert_eq!(end(process).code(), Some(3));
    }
    for errors in deaf() {
        let scene = Scene::new();
        let mut ctl = scene.command(vmm_path(), &["ctl", "nowhere", "info"]);
        assert_eq!(end(Owned::spawn(ctl.stderr(errors)).unwrap()).code(), Some(1));
    }
}

#[test]
fn an_answer_that_cannot_be_shown_is_an_error_unless_nobody_wants_it() {
    let scene = Scene::new();
    let process = Owned::spawn(&mut scene.vmm("idle", &["--serial", "none"])).unwrap();
    scene.running();
    for arguments in [&["ctl", "api", "info"][..], &["ctl", "api", "metrics"], &["--help"]] {
        let said = scene.path("said");
        for (output, (code, lines)) in deaf().into_iter().zip([(1, 1), (0, 0)]) {
            let mut command = scene.command(vmm_path(), arguments);
            command.stdout(output).stderr(File::create(&said).unwrap());
            assert_eq!(
                end(Owned::spawn(&mut command).unwrap()).code(),
                Some(code),
                "{arguments:?}"
            );
            let said = fs::read_to_string(&said).unwrap();
            assert_eq!(said.lines().count(), lines, "{arguments:?}: {said}");
            assert!(
                lines == 0 || said.starts_with("vmm: error: cannot write to standard output"),
                "{said}"
            );
        }
    }
    scene.api().act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));
}

#[test]
fn of_many_processes_at_one_stale_socket_one_gets_it() {
    for what in ["api", "console"] {
        let scene = Scene::new();
        drop(UnixListener::bind(scene.path(what)).unwrap());
        let start = |nth: usize| {
            let arguments: &[&str] = match what {
                "api" => &["--api-sock", "api"],
                _ => &["--kernel", "idle", "--mem", "64M", "--serial", "socket=console"],
            };
            let mut command = scene.command(vmm_path(), arguments);
            command.stderr(File::create(scene.path(&format!("errors-{nth}"))).unwrap());
            Owned::spawn(&mut command).unwrap()
        };
        let mut all: Vec<_> = (0..6).map(start).collect();
        let mut ended = Vec::new();
        wait_until("all but one have given up", || {
            ended = all.iter_mut().map(|one| one.wait(Duration::ZERO).unwrap()).collect();
            ended.iter().flatten().count() == 5
        });
        for (nth, status) in ended.iter().enumerate() {
            let Some(status) = status else { continue };
            let said = scene.read(&format!("errors-{nth}"));
            assert_eq!(status.code(), Some(2), "{said}");
            assert!(said.contains("is in use by another process"), "{said}");
        }
        assert!(std::os::unix::net::UnixStream::connect(scene.path(what)).is_ok());
        assert!(!scene.path(&format!("{what}.lock")).exists());
    }
}

#[test]
fn a_fifo_needs_no_reader_and_a_reader_may_come_back() {
    let scene = Scene::new();
    scene.fifo();
    let mut vmm = scene.vmm("chatty", &["--serial", "file=fifo"]);
    let process = Owned::spawn(&mut vmm).unwrap();
    let mut api = scene.running();
    for _ in 0..2 {
        let mut reader = File::open(scene.path("fifo")).unwrap();
        // More than a pipe holds: some of it was written while this one reads.
        let mut text = vec![0; 200_000];
        reader.read_exact(&mut text).unwrap();
        assert!(text.iter().all(|&byte| byte == b'x'));
    }
    api.act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));

    let _ = fs::remove_file(scene.path("api"));
    let mut waiting = scene.command(vmm_path(), &["--api-sock", "api"]);
    let process = Owned::spawn(&mut waiting).unwrap();
    let mut api = scene.api();
    api.done("PUT", "/serial", &json!({ "serial_out_path": "fifo" })).unwrap();
    api.done("PUT", "/boot-source", &json!({ "kernel_image_path": "idle" })).unwrap();
    api.act("InstanceStart").unwrap();
    api.act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));
}

#[test]
fn a_log_that_cannot_be_written_is_told_once() {
    let scene = Scene::new();
    let mut vmm = scene.vmm("idle", &["--serial", "none", "--log-file", "/dev/full"]);
    let process = Owned::spawn(&mut vmm).unwrap();
    let mut api = scene.running();
    for _ in 0..3 {
        assert_eq!(api.ask("GET", "/nothing", "").unwrap().status, 400);
    }
    api.act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));
    let errors = scene.read("errors");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(
        errors.starts_with("vmm: warning: cannot write the log to /dev/full: No space left"),
        "{errors}"
    );
}

#[test]
fn the_log_tells_why_it_ended_and_what_was_refused() {
    let scene = Scene::new();
    let mut vmm = scene.vmm("idle", &["--serial", "none", "--log-file", "log"]);
    let process = Owned::spawn(&mut vmm).unwrap();
    let mut api = scene.running();
    for _ in 0..100 {
        let path = format!("/nothing/{}", "long".repeat(1000));
        let answer = api.ask("PUT", &path, &"x".repeat(10_000)).unwrap();
        assert_eq!(answer.status, 400);
    }
    assert_eq!(api.ask("PATCH", "/vm", r#"{"state":"Upside\ndown"}"#).unwrap().status, 400);
    api.act("Reset").unwrap();
    assert_eq!(end(process).code(), Some(3));
    let (log, errors) = (scene.read("log"), scene.read("errors"));
    assert_eq!(errors, "vmm: reset by the API\n");
    assert!(log.contains("reset by the API"), "{log}");
    assert!(log.contains("PUT /nothing/long"), "{log}");
    assert!(log.contains("is answered with 400"), "{log}");
    assert!(log.lines().count() < 20 && log.len() < 20_000, "{log}");

    let mut wrong = scene.command(vmm_path(), &["--kernel", "nowhere", "--mem", "64M"]);
    assert_eq!(end(Owned::spawn(wrong.args(["--log-file", "log"])).unwrap()).code(), Some(2));
    assert!(scene.read("log").contains("nowhere does not exist"));
    assert_eq!(scene.read("errors").lines().count(), 1);
}

#[test]
fn the_log_tells_what_was_no_request_and_that_no_more_can_follow() {
    let scene = Scene::new();
    let mut vmm = scene.vmm("idle", &["--serial", "none", "--log-file", "log"]);
    let process = Owned::spawn(&mut vmm).unwrap();
    let mut api = scene.running();
    let say = |text: &str| {
        let mut client = UnixStream::connect(scene.path("api")).unwrap();
        client.write_all(text.as_bytes()).unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert_eq!(say("hello\r\n\r\n"), "HTTP/1.1 400");
    assert_eq!(say(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000))), "HTTP/1.1 431");
    let follow = "GET /events HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut followers: Vec<_> = (0..32).map(|_| scene.api().follow("/events").unwrap()).collect();
    followers.iter_mut().for_each(|follower| drop(follower.next()));
    assert_eq!(say(follow), "HTTP/1.1 400");
    for part in [
        "a request that cannot be read is answered with 400: this is no request of HTTP/1.1",
        "a request that cannot be read is answered with 431: the request's head is too large",
        "GET /events is answered with 400: 32 clients follow already",
    ] {
        assert_eq!(scene.read("log").matches(part).count(), 1, "{part}: {}", scene.read("log"));
    }
    let silent: Vec<_> =
        (0..200).map(|_| UnixStream::connect(scene.path("api")).unwrap()).collect();
    assert_eq!(say(""), "HTTP/1.1 503");
    drop(silent);
    let full = "one client more is answered with 503: 128 clients are connected";
    assert!(scene.read("log").contains(full), "{}", scene.read("log"));
    wait_until("there is room again", || {
        Api::connect(&scene.path("api"))
            .is_ok_and(|mut api| api.get("/").is_ok_and(|instance| instance["state"] == "Running"))
    });
    for _ in 0..200 {
        assert_eq!(say("hello\r\n\r\n"), "HTTP/1.1 400");
    }
    api.act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));
    assert!(scene.read("log").lines().count() < 50, "{}", scene.read("log"));
}

#[test]
fn a_host_that_is_out_of_descriptors_is_not_the_users_fault() {
    let scene = Scene::new();
    let mut ran = false;
    for most in 5..60 {
        let vmm = scene
            .vmm("idle", &["--serial", "file=console", "--log-file", "log", "--initrd", "idle"]);
        let mut command = Command::new("bash");
        command.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")]);
        command.arg(vmm.get_program()).args(vmm.get_args()).current_dir(scene.0.path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(scene.path("errors")).unwrap());
        let mut process = Owned::spawn(&mut command).unwrap();
        let mut status = None;
        wait_until("it ends or runs", || {
            status = process.wait(Duration::ZERO).unwrap();
            ran = Api::connect(&scene.path("api")).is_ok_and(|mut api| {
                api.get("/").is_ok_and(|instance| instance["state"] == "Running")
            });
            status.is_some() || ran
        });
        if ran {
            break;
        }
        let errors = scene.read("errors");
        // Until its libraries are loaded, the loader's.
        if errors.starts_with("vmm: ") {
            assert_eq!(status.unwrap().code(), Some(1), "{most} descriptors: {errors}");
            // As glibc says it, or musl.
            let said = ["Too many open files", "No file descriptors available"];
            assert!(said.iter().any(|said| errors.contains(said)), "{errors}");
        }
        assert!(!scene.path("api").exists(), "{errors}");
    }
    assert!(ran, "it never ran");
}
