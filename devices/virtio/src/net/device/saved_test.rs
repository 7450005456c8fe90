//! Tests of a device that goes on in another process.
