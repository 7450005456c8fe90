//! Harness, testbed and integration tests of the vmm binary.
