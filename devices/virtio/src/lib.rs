//! Virtio over PCI: transport, split rings and the network front.
