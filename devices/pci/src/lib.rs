//! PCI configuration space, BARs, MSI-X and the bus of functions.
