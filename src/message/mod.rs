//! Reading mail: header fields as bytes, dates, MIME tree, trace fields to prepend (RFC 5322, RFC 2045). Hostile input is normal here.
