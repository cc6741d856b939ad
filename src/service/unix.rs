//! Signals, and what systemd wants to hear.
