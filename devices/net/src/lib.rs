//! Frames: lanes, pipeline, offload and backends that all network cards share.
