//! What a command line asks of the running gateway, and the answer.

use super::{Change, SMALL, Store, StoreError, now};
use rusqlite::{Connection, OptionalExtension, params};
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
        let kind = kind.to_owned();
        self.write(SMALL, move |work| {
            let id = work.prepare_cached("INSERT INTO request (kind, arguments, posted) VALUES (?1, ?2, ?3)")?.insert(params![
                kind,
                arguments.to_string(),
                now()
            ])?;
            work.changed(Change::Request);
            Ok(RequestId(id))
        })
        .await
    }

    /// Takes the requests that nobody took yet, oldest first: each is handed out once.
    pub async fn requests_take(&self) -> Result<Vec<Request>, StoreError> {
        let waiting = |connection: &Connection| {
            let mut select =
                connection.prepare_cached("SELECT id, kind, arguments, posted FROM request WHERE taken IS NULL ORDER BY id")?;
            let requests = select.query_map([], |row| {
                let arguments: String = row.get(2)?;
                Ok(Request {
                    id: RequestId(row.get(0)?),
                    kind: row.get(1)?,
                    arguments: serde_json::from_str(&arguments).unwrap_or_default(),
                    posted: row.get(3)?,
                })
            })?;
            Ok(requests.collect::<Result<Vec<_>, _>>()?)
        };
        // Asked at every sign of life of another process: without requests it must not write.
        if self.read(waiting).await?.is_empty() {
            return Ok(vec![]);
        }
        self.write(SMALL, move |work| {
            let requests = waiting(work)?;
            work.prepare_cached("UPDATE request SET taken = ?1 WHERE taken IS NULL")?.execute([now()])?;
            Ok(requests)
        })
        .await
    }

    /// Answers one.
    pub async fn request_answer(&self, id: RequestId, result: Value) -> Result<(), StoreError> {
        self.write(SMALL, move |work| {
            work.prepare_cached("UPDATE request SET result = ?2 WHERE id = ?1")?.execute(params![id.0, result.to_string()])?;
            work.changed(Change::Request);
            Ok(())
        })
        .await
    }

    /// The answer, once it is there. The caller asks again on [`super::Change::Anything`].
    pub async fn request_result(&self, id: RequestId) -> Result<Option<Value>, StoreError> {
        self.read(move |connection| {
            let mut select = connection.prepare_cached("SELECT result FROM request WHERE id = ?1")?;
            let result: Option<Option<String>> = select.query_row([id.0], |row| row.get(0)).optional()?;
            match result {
                None => Err(StoreError::NotFound("the request was forgotten".into())),
                Some(text) => Ok(text.map(|text| serde_json::from_str(&text).unwrap_or_default())),
            }
        })
        .await
    }

    /// Forgets a request, answered or not.
    pub async fn request_drop(&self, id: RequestId) -> Result<(), StoreError> {
        self.write(SMALL, move |work| {
            work.prepare_cached("DELETE FROM request WHERE id = ?1")?.execute([id.0])?;
            Ok(())
        })
        .await
    }
}
