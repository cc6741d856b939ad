//! Evidence → addresses → [`crate::mapping::Decision`]: whom a fetched message is for. Pure.
