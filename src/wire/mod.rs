//! Lines and literals with limits, dot-stuffing, TLS, SASL, time-outs, redaction. Knows no protocol's commands.
