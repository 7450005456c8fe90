//! PC board devices: serial, i8042, RTC, ACPI power registers.
