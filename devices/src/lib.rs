//! The one list of device kinds.
