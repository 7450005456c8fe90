//! Command lines, and how they end.

use std::process::{Output, Stdio};

use super::scene::Scene;

/// Arguments, the exit code, and a part of what is printed or said. Why, if it is not so in Firecracker.
pub struct Line(pub &'static [&'static str], pub i32, pub &'static str, pub Option<&'static str>);

const AS_THERE: Option<&str> = None;
const ABORTED: Option<&str> = Some("there it is a panic, exit code 134");

#[rustfmt::skip]
pub const ROWS: &[Line] = &[
    Line(&["--version"], 0, "Firecracker v1.16.1\n\n", AS_THERE),
    Line(&["--version"], 0, "vmm 0.", Some("and whose it is")),
    Line(&["--help"], 0, "--api-sock", AS_THERE),
    Line(&["-h"], 0, "--config-file", AS_THERE),
    Line(&["--version", "--api-sock", "x"], 0, "Firecracker v", AS_THERE),
    Line(&["--floppy"], 153, "--floppy", AS_THERE),
    Line(&["--floppy", "x"], 153, "--floppy", AS_THERE),
    Line(&["stray"], 153, "stray", AS_THERE),
    Line(&["--api-sock"], 153, "--api-sock", AS_THERE),
    Line(&["--api-sock", "a", "--api-sock", "b"], 153, "--api-sock", AS_THERE),
    Line(&["--id", "a", "--id", "b"], 153, "--id", AS_THERE),
    Line(&["--no-api"], 153, "--config-file", AS_THERE),
    Line(&["--no-seccomp", "--seccomp-filter", "{text}"], 153, "--no-seccomp", AS_THERE),
    Line(&["--start-time-us", "soon"], 153, "--start-time-us", AS_THERE),
    Line(&["--start-time-cpu-us", "-1"], 153, "-1", AS_THERE),
    Line(&["--parent-cpu-time-us", "x"], 153, "--parent-cpu-time-us", AS_THERE),
    Line(&["--http-api-max-payload-size", "many"], 153, "--http-api-max-payload-size", AS_THERE),
    Line(&["--mmds-size-limit", "many"], 153, "--mmds-size-limit", AS_THERE),
    Line(&["--level", "loud"], 152, "--level", AS_THERE),
    Line(&["--id", ""], 153, "--id", ABORTED),
    Line(&["--id", "a_b"], 153, "--id", ABORTED),
    Line(&["--id", "a.b"], 153, "--id", ABORTED),
    Line(&["--id", "a/b"], 153, "--id", ABORTED),
    Line(&["--id", "01234567890123456789012345678901234567890123456789012345678901234"], 153, "--id", ABORTED),
    Line(&["--config-file", "/nowhere/f", "--no-api"], 1, "/nowhere/f", AS_THERE),
    Line(&["--config-file", "{text}", "--no-api"], 1, "{text}", AS_THERE),
    Line(&["--config-file", "{dir}", "--no-api"], 1, "{dir}", AS_THERE),
    Line(&["--log-path", "/nowhere/log"], 1, "/nowhere/log", AS_THERE),
    Line(&["--metrics-path", "/nowhere/m", "--api-sock", "{new}"], 1, "/nowhere/m", AS_THERE),
    Line(&["--api-sock", "/nowhere/api"], 1, "/nowhere/api", AS_THERE),
    Line(&["--api-sock", "{text}"], 1, "{text}", AS_THERE),
    Line(&["--api-sock", "{dir}"], 1, "{dir}", AS_THERE),
    Line(&["--describe-snapshot", "{text}"], 153, "snapshot", AS_THERE),
    Line(&["--snapshot-version"], 0, "v1.0.0\n", Some("a format of its own")),
    Line(&["--log-path", "{dir}"], 1, "{dir}", AS_THERE),
    Line(&["--metrics-path", "{dir}", "--api-sock", "{new}"], 1, "{dir}", AS_THERE),
];

/// Runs each row's command line to its end.
pub fn play(scene: &Scene) {
    for Line(arguments, code, said, _) in ROWS {
        let mut command = scene.firecracker(arguments);
        let Output { status, stdout, stderr } =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        let told =
            format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert_eq!(status.code(), Some(*code), "{arguments:?}: {told}");
        assert!(told.contains(&scene.fill(said)), "{arguments:?}: {told}");
    }
}
