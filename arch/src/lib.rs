//! Facts and tables of a platform: layout, CPUID, MSRs, boot protocol, ACPI.
