//! Firecracker's dialect as rows, each a request or a command line and what comes of it: the same as there,
//! or something better with the reason why, or something else with the reason why.
#![forbid(unsafe_code)]

#[path = "replay/before.rs"]
mod before;
#[path = "replay/command.rs"]
mod command;
#[path = "replay/devices.rs"]
mod devices;
#[path = "replay/ends.rs"]
mod ends;
#[path = "replay/files.rs"]
mod files;
#[path = "replay/later.rs"]
mod later;
#[path = "replay/launchers.rs"]
mod launchers;
#[path = "replay/row.rs"]
mod row;
#[path = "replay/running.rs"]
mod running;
#[path = "replay/scene.rs"]
mod scene;
#[path = "replay/templates.rs"]
mod templates;
#[path = "replay/watched.rs"]
mod watched;

use row::Row;
use scene::Scene;

fn before() -> Vec<Row> {
    [before::ROWS, devices::ROWS].concat()
}

fn running() -> Vec<Row> {
    [running::ROWS, running::PAUSED].concat()
}

#[test]
fn before_the_start_each_request_is_answered_as_its_row_says() {
    let scene = Scene::new();
    let served = scene.serve(&[]);
    scene.play(&served, &before());
}

#[test]
fn while_a_machine_runs_and_is_paused_each_request_is_answered_as_its_row_says() {
    let scene = Scene::new();
    let served = scene.started(&[]);
    scene.play(&served, &running());
}

#[test]
fn what_comes_into_a_machine_with_pci_and_leaves_it_is_answered_as_its_row_says() {
    let scene = Scene::new();
    let served = scene.started(&["--enable-pci"]);
    scene.play(&served, running::PLUGGED);
}

#[test]
fn each_command_line_ends_as_its_row_says() {
    command::play(&Scene::new());
}

/// What is promised of the table itself.
#[test]
fn there_are_three_hundred_rows_and_each_that_differs_says_why() {
    let plugged = running::PLUGGED.to_vec();
    let rows: Vec<Row> = [before(), running(), plugged, later::all()].concat();
    let count = rows.len() + command::ROWS.len() + files::ROWS.len() + ends::ROWS.len();
    assert!(count >= 300, "{count} rows");
    let whys = rows.iter().filter_map(|row| row.why);
    let whys = whys.chain(command::ROWS.iter().filter_map(|line| line.3));
    for why in whys.chain(ends::ROWS.iter().filter_map(|row| row.2)) {
        assert!(why.len() > 10, "{why} is no reason");
    }
}
