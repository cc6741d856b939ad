//! From the people to the outside: submit → route → queue → relay.

pub mod submit;
