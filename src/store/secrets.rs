//! Named secrets, encrypted with XChaCha20-Poly1305 by `secret.key`, which lies beside the database and in no backup.

use super::{Store, StoreError};
use secrecy::SecretString;

impl Store {
    /// Sets or replaces a secret.
    pub async fn secret_set(&self, name: &str, secret: &SecretString) -> Result<(), StoreError> {
        let _ = (name, secret);
        todo!()
    }

    /// Opens a secret; `None` if there is none of that name.
    pub async fn secret(&self, name: &str) -> Result<Option<SecretString>, StoreError> {
        todo!("{name}")
    }

    /// Names, and when each was set.
    pub async fn secrets(&self) -> Result<Vec<(String, i64)>, StoreError> {
        todo!()
    }

    /// Removes a secret. [`StoreError::NotFound`] if there is none.
    pub async fn secret_remove(&self, name: &str) -> Result<(), StoreError> {
        todo!("{name}")
    }
}
