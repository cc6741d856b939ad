//! A message that a user or device hands in: checked, completed, delivered or queued in one transaction.
