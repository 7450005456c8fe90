//! Tests of the tables.

use super::*;

#[test]
fn tables_show_medians_and_spread_and_what_did_not_run() {
    let mut results = Results::default();
    for rate in [3.0, 1.0, 2.0] {
        results.add("send 60", "vmm", Measure::Rate, rate);
    }
    results.add("send 60", "floor", Measure::Cpu, 338.0);
    results.absent("send 60", "small", "it has none");
    assert!(results.is_complete());
    results.failed("send 60", "other", "it ended".to_owned());
    assert!(!results.is_complete());
    let table = [
        "",
        "| send 60 | 1000 frames/s | ns of CPU a frame |",
        "|---|---|---|",
        "| vmm | 2.00 (1.00 to 3.00) | – |",
        "| floor | – | 338 (338 to 338) |",
        "| small | – | – |",
        "| other | – | – |",
        "small: it has none",
        "other did not run: it ended",
    ];
    assert_eq!(results.tell(), table);
    let json = results.json();
    assert_eq!(json["results"][0]["figures"]["kframes_per_second"]["median"], 2.0);
    assert_eq!(json["results"][2]["absent"], "it has none");
    assert_eq!(json["results"][3]["failed"], "it ended");
}
