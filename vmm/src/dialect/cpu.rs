//! `/cpu-config`: a CPU template.

use std::path::Path;
use std::time::Duration;

use arch::template::{Bits, LeafPatch, MsrPatch, Register, Template};
use serde::Deserialize;

use super::{BodyError, bad};
use crate::text_file;

/// Largest file with a template.
const MAX_FILE: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// Bits of CPUID and MSRs that are to be otherwise than they would.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CpuConfig {
    /// Numbers of capabilities that KVM must have. Those behind `!` need not be there.
    #[serde(default)]
    pub kvm_capabilities: Vec<String>,
    #[serde(default)]
    pub cpuid_modifiers: Vec<CpuidModifier>,
    #[serde(default)]
    pub msr_modifiers: Vec<MsrModifier>,
}

/// What changes of one leaf.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CpuidModifier {
    /// A number: decimal, or behind `0x` or `0b`.
    pub leaf: String,
    /// A number: decimal, or behind `0x` or `0b`.
    pub subleaf: String,
    /// KVM's flags of the leaf; of no matter.
    pub flags: u32,
    pub modifiers: Vec<RegisterModifier>,
}

/// What changes of one register of a leaf.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RegisterModifier {
    pub register: RegisterName,
    /// `0b` and 32 digits, `x` for those that stay; missing ones in front stay, and `_` is no digit.
    pub bitmap: String,
}

/// A register.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum RegisterName {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

/// What changes of one MSR.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MsrModifier {
    /// A number: decimal, or behind `0x` or `0b`.
    pub addr: String,
    /// `0b` and 64 digits, as of a register.
    pub bitmap: String,
}

/// Reads a file that holds a template. Fails with what is wrong with it.
pub fn file(path: &Path) -> Result<CpuConfig, BodyError> {
    let wrong = |why: String| bad("cpu-config", format!("{}: {why}", path.display()));
    let text = text_file::read(path, MAX_FILE, PATIENCE);
    let text = text.map_err(|error| wrong(crate::words::one_line(None, &error)))?;
    super::read(&text).map_err(|error| wrong(error.to_string()))
}

impl TryFrom<CpuConfig> for Template {
    type Error = BodyError;

    fn try_from(body: CpuConfig) -> Result<Template, BodyError> {
        let mut template = Template::default();
        for text in &body.kvm_capabilities {
            let needed = text.strip_prefix('!').unwrap_or(text);
            let number = needed.parse().map_err(|_| {
                bad("kvm_capabilities", format!("{text:?} is no number of a capability"))
            })?;
            if needed == text {
                template.capabilities.push(number);
            }
        }
        for modifier in body.cpuid_modifiers {
            let mut changes = Vec::new();
            for RegisterModifier { register, bitmap } in modifier.modifiers {
                let register = match register {
                    RegisterName::Eax => Register::Eax,
                    RegisterName::Ebx => Register::Ebx,
                    RegisterName::Ecx => Register::Ecx,
                    RegisterName::Edx => Register::Edx,
                };
                changes.push((register, bits("cpuid_modifiers", &bitmap, 32)?));
            }
            template.leaves.push(LeafPatch {
                leaf: number("cpuid_modifiers", &modifier.leaf)?,
                subleaf: number("cpuid_modifiers", &modifier.subleaf)?,
                changes,
            });
        }
        for MsrModifier { addr, bitmap } in body.msr_modifiers {
            let index = number("msr_modifiers", &addr)?;
            let bits = bits("msr_modifiers", &bitmap, 64)?;
            template.msrs.push(MsrPatch { index, bits });
        }
        Ok(template)
    }
}

/// A number in one of three bases.
fn number(field: &'static str, text: &str) -> Result<u32, BodyError> {
    let (digits, base) = match (text.strip_prefix("0x"), text.strip_prefix("0b")) {
        (Some(digits), _) => (digits, 16),
        (_, Some(digits)) => (digits, 2),
        _ => (text, 10),
    };
    let number = Some(digits).filter(|digits| !digits.starts_with('+'));
    number.and_then(|digits| u32::from_str_radix(digits, base).ok()).ok_or_else(|| {
        bad(field, format!("{text:?} is no number of 32 bits; write 0x and digits, 0b, or decimal"))
    })
}

/// Digits of two values, or `x` for what stays; the last is bit 0.
fn bits(field: &'static str, text: &str, width: usize) -> Result<Bits, BodyError> {
    let wrong = || {
        let why = format!("{text:?} is no bitmap; write 0b and up to {width} of 0, 1 and x");
        bad(field, why)
    };
    let digits = text.strip_prefix("0b").ok_or_else(wrong)?;
    let mut bits = Bits::default();
    let mut places = 0u32..u32::try_from(width).unwrap_or(0);
    for digit in digits.chars().rev().filter(|digit| *digit != '_') {
        let bit = 1 << places.next().ok_or_else(wrong)?;
        match digit {
            '0' => bits.mask |= bit,
            '1' => {
                bits.mask |= bit;
                bits.value |= bit;
            }
            'x' => {}
            _ => return Err(wrong()),
        }
    }
    // At least one.
    if places.start == 0 { Err(wrong()) } else { Ok(bits) }
}

#[cfg(test)]
#[path = "cpu_test.rs"]
mod tests;
