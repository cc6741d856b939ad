//! Finding messages of a folder by what is stored beside them, without reading their bytes.

use super::messages::Uids;
use super::{FolderId, Store, StoreError, flags, folders};
use rusqlite::types::Value;

/// What can be told from rows and stored keys without reading headers. Everything that is set must hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Among these; `None` is all.
    pub uids: Option<Uids>,
    /// All of these system flags set.
    pub set: u32,
    /// None of these system flags set.
    pub unset: u32,
    /// Keyword set.
    pub keyword: Vec<String>,
    /// Keyword not set.
    pub unkeyword: Vec<String>,
    /// INTERNALDATE, from inclusive, to exclusive.
    pub received: (Option<i64>, Option<i64>),
    /// Date header, from inclusive, to exclusive. One that could not be read passes.
    pub sent: (Option<i64>, Option<i64>),
    /// Save date, from inclusive, to exclusive.
    pub saved: (Option<i64>, Option<i64>),
    /// Bytes, more than.
    pub larger: Option<u64>,
    /// Bytes, fewer than.
    pub smaller: Option<u64>,
    /// MODSEQ, at least.
    pub modseq: Option<u64>,
    /// Message-ID, without angle brackets, exactly.
    pub message_id: Option<String>,
}

impl Store {
    /// UIDs of messages that pass the filter, ascending.
    pub async fn search(&self, folder: FolderId, filter: Filter) -> Result<Vec<u32>, StoreError> {
        self.read(move |connection| {
            let mut conditions = Conditions::default();
            conditions.numbers(&filter);
            conditions.texts(&filter);
            for (names, set) in [(&filter.keyword, true), (&filter.unkeyword, false)] {
                for name in names {
                    match (folders::keyword_bit(connection, folder, name)?, set) {
                        (Some(bit), true) => conditions.add("keywords & ? <> 0", bit as i64),
                        (Some(bit), false) => conditions.add("keywords & ? = 0", bit as i64),
                        (None, true) => return Ok(vec![]),
                        (None, false) => {}
                    }
                }
            }
            let everything = vec![1..=u32::MAX];
            let mut select = connection.prepare_cached(&conditions.sql())?;
            let mut uids = Vec::new();
            for range in filter.uids.as_ref().unwrap_or(&everything) {
                let base = folder.0 << 32;
                let bounds = [base | i64::from(*range.start()), base | i64::from(*range.end())].map(Value::Integer);
                let values = rusqlite::params_from_iter(bounds.iter().chain(&conditions.values));
                for uid in select.query_map(values, |row| row.get::<_, u32>(0))? {
                    uids.push(uid?);
                }
            }
            Ok(uids)
        })
        .await
    }
}

/// The WHERE of a search, and its values in order.
#[derive(Default)]
struct Conditions {
    sql: String,
    values: Vec<Value>,
    content: bool,
}

impl Conditions {
    fn add(&mut self, condition: &str, value: impl Into<Value>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.push(value.into());
    }

    fn numbers(&mut self, filter: &Filter) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        if filter.set != 0 {
            self.add("flags & ?1 = ?1".replace("?1", &filter.set.to_string()).as_str(), Value::Null);
            self.values.pop();
        }
        if filter.unset & flags::SEEN != 0 {
            // Written as in the index of unseen messages, so that it is used.
            self.sql.push_str(" AND flags & 1 = 0");
        }
        if filter.unset & !flags::SEEN != 0 {
            self.add("flags & ? = 0", i64::from(filter.unset & !flags::SEEN));
        }
        if let Some(larger) = filter.larger {
            self.add("message.size > ?", number(larger));
        }
        if let Some(smaller) = filter.smaller {
            self.add("message.size < ?", number(smaller));
        }
        if let Some(modseq) = filter.modseq {
            self.add("modseq >= ?", number(modseq));
        }
    }

    fn texts(&mut self, filter: &Filter) {
        // A Date that could not be read as an instant may still name a day: whoever asked looks at it.
        for (column, (from, to)) in [("internal_date", filter.received), ("saved", filter.saved), ("date IS NULL OR date", filter.sent)] {
            self.content |= column.starts_with("date") && (from.is_some() || to.is_some());
            if let Some(from) = from {
                self.add(&format!("({column} >= ?)"), from);
            }
            if let Some(to) = to {
                self.add(&format!("({column} < ?)"), to);
            }
        }
        if let Some(message_id) = &filter.message_id {
            self.content = true;
            self.add("message_id = ?", super::content::clip(message_id).to_owned());
        }
    }

    fn sql(&self) -> String {
        let join = if self.content { "JOIN content ON content.id = message.content" } else { "" };
        format!("SELECT message.id & 0xFFFFFFFF FROM message {join} WHERE message.id BETWEEN ? AND ?{} ORDER BY message.id", self.sql)
    }
}
