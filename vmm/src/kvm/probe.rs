//! Opens `/dev/kvm` and says in one sentence what is missing, if something is.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::OnceLock;

use kvm_ioctls::{Cap, Kvm};

/// The only version of the API there is (KVM API, 4.1).
const API_VERSION: i32 = 12;

/// What this VMM cannot do without.
const REQUIRED: &[(Cap, &str)] = &[
    (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::SetTssAddr, "KVM_CAP_SET_TSS_ADDR"),
    (Cap::SetIdentityMapAddr, "KVM_CAP_SET_IDENTITY_MAP_ADDR"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::MpState, "KVM_CAP_MP_STATE"),
    (Cap::IrqRouting, "KVM_CAP_IRQ_ROUTING"),
    (Cap::Irqfd, "KVM_CAP_IRQFD"),
    (Cap::Ioeventfd, "KVM_CAP_IOEVENTFD"),
    (Cap::IoeventfdNoLength, "KVM_CAP_IOEVENTFD_ANY_LENGTH"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
];

/// Why this host cannot run a machine.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error(
        "/dev/kvm does not exist; load kvm_intel or kvm_amd, and enable virtualization in the firmware"
    )]
    Missing,
    #[error("no permission to open /dev/kvm; add the user to the group that owns it (usually kvm)")]
    Permission,
    #[error("cannot open /dev/kvm")]
    Open(#[source] io::Error),
    #[error("/dev/kvm speaks API version {0}, but {API_VERSION} is needed")]
    Version(i32),
    #[error("KVM of this host lacks {0}; a newer host kernel is needed")]
    Lacks(&'static str),
}

/// Opens KVM and checks that it has all we need.
pub fn open() -> Result<Kvm, ProbeError> {
    // A thread that is to tell it later can open nothing then.
    has_hardware_virtualization();
    let kvm = Kvm::new().map_err(|error| match error.errno() {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => ProbeError::Missing,
        libc::EACCES | libc::EPERM => ProbeError::Permission,
        errno => ProbeError::Open(io::Error::from_raw_os_error(errno)),
    })?;
    let version = kvm.get_api_version();
    if version != API_VERSION {
        return Err(ProbeError::Version(version));
    }
    match REQUIRED.iter().find(|(cap, _)| !kvm.check_extension(*cap)) {
        Some((_, name)) => Err(ProbeError::Lacks(name)),
        None => Ok(kvm),
    }
}

/// Whether this host virtualizes in hardware. Where it does not (`kvm_pvm`), ring 0 of a guest is
/// emulated, slowly and not completely.
pub fn has_hardware_virtualization() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| !Path::new("/sys/module/kvm_pvm").exists() || has_cpu_flag())
}

/// Looks at the first processor alone: the kernel makes the text of each as it is read.
fn has_cpu_flag() -> bool {
    let mut text = [0; 4096];
    let read = File::open("/proc/cpuinfo").and_then(|mut file| file.read(&mut text));
    let text = text.get(..read.unwrap_or(0)).unwrap_or_default();
    String::from_utf8_lossy(text)
        .lines()
        .find(|line| line.starts_with("flags"))
        .is_some_and(|line| line.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}
