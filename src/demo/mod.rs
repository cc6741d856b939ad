//! The sandbox: a stand-in ISP on loopback, a small office, and the real gateway between them.
