//! What a command line asks of the running gateway, and the answer.

use super::{Store, StoreError};
use serde_json::Value;

/// Of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub i64);

/// A request that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Its number.
    pub id: RequestId,
    /// What is asked, for instance `fetch`.
    pub kind: String,
    /// With what.
    pub arguments: Value,
    /// When.
    pub posted: i64,
}

impl Store {
    /// Asks the gateway.
    pub async fn request_post(&self, kind: &str, arguments: Value) -> Result<RequestId, StoreError> {
        todo!("{kind} {arguments}")
    }

    /// Takes the requests that nobody took yet, oldest first: each is handed out once.
    pub async fn requests_take(&self) -> Result<Vec<Request>, StoreError> {
        todo!()
    }

    /// Answers one.
    pub async fn request_answer(&self, id: RequestId, result: Value) -> Result<(), StoreError> {
        todo!("{id:?} {result}")
    }

    /// The answer, once it is there. The caller asks again on [`super::Change::Anything`].
    pub async fn request_result(&self, id: RequestId) -> Result<Option<Value>, StoreError> {
        todo!("{id:?}")
    }

    /// Forgets a request, answered or not.
    pub async fn request_drop(&self, id: RequestId) -> Result<(), StoreError> {
        todo!("{id:?}")
    }
}
