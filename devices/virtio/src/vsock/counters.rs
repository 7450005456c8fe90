//! What the device counts.

use device_core::counters;

counters! {
    /// Of the whole device, since the machine was built.
    pub struct Counters {
        /// Packets to the guest.
        rx_packets,
        /// Bytes of data in them.
        rx_bytes,
        /// Packets from the guest.
        tx_packets,
        /// Bytes of data in them that were taken.
        tx_bytes,
        /// Connections that both sides have accepted.
        connections_opened,
        /// Connections that one side refused, or that there was no room for.
        connections_refused,
        /// Clients of the socket that said something else than `CONNECT PORT`, or nothing in time.
        bad_greetings,
        /// Resets to the guest.
        resets_sent,
        /// Packets from the guest that are none: too short, or with less data than they say.
        malformed_packets,
        /// Packets from another address than the guest's.
        foreign_packets,
        /// Connections that were ended since the guest sent more than it had room for.
        overruns,
        /// Times that a reader on the host was too slow, so that data had to wait for him.
        stalls,
        /// Interrupts.
        interrupts,
    }
}
