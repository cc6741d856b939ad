//! POP3 (RFC 1939, 2449, 2595, 5034): what is said on both sides, pure, and the client for the ISP's side.
