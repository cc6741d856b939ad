//! The Windows service control manager. Not built yet.
