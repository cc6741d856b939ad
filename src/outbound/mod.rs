//! From the people to the outside: submit → route → queue → relay.

pub mod credentials;
pub mod judge;
pub mod relay;
pub mod submit;
