//! SASL mechanisms as values: challenges in, responses out.
