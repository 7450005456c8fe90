//! CPU templates: what a guest sees of one, and what a host cannot do.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{host, idle};

use super::scene::Scene;

/// A template that clears the bit by which a guest knows what it is.
fn bare_metal() -> Value {
    let bitmap = format!("0b0{}", "x".repeat(31));
    let modifier = json!({ "register": "ecx", "bitmap": bitmap });
    json!({ "cpuid_modifiers": [{ "leaf": "0x1", "subleaf": "0x0", "flags": 0, "modifiers": [modifier] }] })
}

/// What a guest says of itself.
fn told(template: Option<Value>) -> String {
    let scene = Scene::new();
    let kernel = idle::teller(&scene.path("")).unwrap();
    let served = scene.serve(&[]);
    let mut api = served.api().unwrap();
    api.done("PUT", "/serial", &json!({ "serial_out_path": scene.path("console") })).unwrap();
    api.done("PUT", "/boot-source", &json!({ "kernel_image_path": kernel })).unwrap();
    if let Some(template) = template {
        api.done("PUT", "/cpu-config", &template).unwrap();
    }
    api.act("InstanceStart").unwrap();
    let begin = Instant::now();
    while scene.read("console").is_empty() {
        assert!(begin.elapsed() < host::PATIENCE, "the guest says nothing");
        std::thread::sleep(Duration::from_millis(2));
    }
    scene.read("console")
}

#[test]
fn a_guest_sees_the_bits_of_its_template() {
    host::need_kvm();
    assert_eq!(told(None), "1");
    assert_eq!(told(Some(bare_metal())), "0");
}

#[test]
fn what_a_host_cannot_do_is_told_at_the_start_which_can_be_tried_again() {
    host::need_kvm();
    let scene = Scene::new();
    let served = scene.serve(&[]);
    let mut api = served.api().unwrap();
    api.done("PUT", "/boot-source", &json!({ "kernel_image_path": scene.path("idle") })).unwrap();
    let modifier = json!({ "register": "eax", "bitmap": "0b1" });
    for (template, said) in [
        (
            json!({ "cpuid_modifiers": [{ "leaf": "0x77", "subleaf": "0", "flags": 0, "modifiers": [modifier] }] }),
            "Template changes a CPUID entry not supported by KVM: leaf 0x77",
        ),
        (
            json!({ "msr_modifiers": [{ "addr": "0x77777777", "bitmap": "0b1" }] }),
            "Template changes an MSR entry not supported by KVM: 0x77777777",
        ),
        (json!({ "kvm_capabilities": ["77777"] }), "capability 77777"),
    ] {
        api.done("PUT", "/cpu-config", &template).unwrap();
        let refused = api.ask("PUT", "/actions", r#"{"action_type":"InstanceStart"}"#).unwrap();
        assert_eq!(refused.status, 400, "{refused:?}");
        let message = refused.fault().unwrap();
        assert!(
            message.starts_with("Start microvm error: ") && message.contains(said),
            "{message}"
        );
        assert_eq!(api.get("/").unwrap()["state"], "Not started");
    }
    api.done("PUT", "/cpu-config", &json!({})).unwrap();
    api.act("InstanceStart").unwrap();
    assert_eq!(api.get("/").unwrap()["state"], "Running");
}
