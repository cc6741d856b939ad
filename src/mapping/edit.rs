//! Adding one line to a mapping file, its comments and its order kept.

use std::path::PathBuf;

use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item, Key, Table, Value};

use crate::address::Address;

/// What a new line speaks of, the narrowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// A mailing list by List-Id: `[lists]`.
    List(String),
    /// An address of ours: `[addresses]`.
    Address(Address),
    /// Whoever writes from this address: a `[[rule]]`.
    Sender(Address),
}

impl Claim {
    /// What was written, in a line for people.
    pub fn words(&self, target: &str) -> String {
        match self {
            Claim::List(id) => format!("[lists] \"{id}\" = \"{target}\""),
            Claim::Address(address) => format!("[addresses] \"{address}\" = \"{target}\""),
            Claim::Sender(address) => format!("[[rule]] when = {{ from = \"{address}\" }}, to = \"{target}\""),
        }
    }

    fn section(&self) -> &'static str {
        match self {
            Claim::List(_) => "lists",
            Claim::Address(_) => "addresses",
            Claim::Sender(_) => "rule",
        }
    }
}

/// The file that such a line belongs into: where that very key stands, else beside its relatives, else where there is such a section.
pub fn home(files: &[(PathBuf, String)], claim: &Claim) -> Option<usize> {
    let rank = |text: &String| {
        let Ok(document) = text.parse::<DocumentMut>() else { return 0 };
        let Some(section) = document.get(claim.section()) else { return 1 };
        let Some(table) = section.as_table_like() else { return 2 };
        let mut keys = table.iter().map(|(key, _)| key.to_lowercase());
        match claim {
            Claim::Address(address) if table_key(table, address.key()).is_some() => 4,
            Claim::Address(address) if keys.any(|key| key.ends_with(&format!("@{}", address.domain()))) => 3,
            _ => 2,
        }
    };
    let ranks: Vec<u8> = files.iter().map(|(_, text)| rank(text)).collect();
    let best = ranks.iter().copied().max()?;
    ranks.iter().position(|rank| *rank == best)
}

/// The text with the line added, or, where the key stands already, with its value replaced. The error is in plain words.
pub fn add(text: &str, claim: &Claim, target: &str) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.message().to_owned())?;
    match claim {
        Claim::List(id) => set(&mut document, claim.section(), id, target)?,
        Claim::Address(address) => set(&mut document, claim.section(), &address.to_string(), target)?,
        Claim::Sender(address) => {
            let rules = document.entry(claim.section()).or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
            let rules = rules.as_array_of_tables_mut().ok_or("rule is not written as [[rule]] there")?;
            let mut when = InlineTable::new();
            when.insert("from", Value::from(address.to_string()));
            let mut rule = Table::new();
            rule.decor_mut().set_prefix("\n");
            rule.insert("name", Item::Value(Value::from(format!("what {address} writes"))));
            rule.insert("when", Item::Value(Value::InlineTable(when)));
            rule.insert("to", Item::Value(Value::from(target)));
            rules.push(rule);
        }
    }
    Ok(document.to_string())
}

fn set(document: &mut DocumentMut, section: &str, key: &str, target: &str) -> Result<(), String> {
    let is_new = document.get(section).is_none();
    let first = document.is_empty();
    let table = document.entry(section).or_insert(Item::Table(Table::new()));
    if let (true, false, Some(table)) = (is_new, first, table.as_table_mut()) {
        table.decor_mut().set_prefix("\n");
    }
    let table = table.as_table_like_mut().ok_or_else(|| format!("{section} is not a table there"))?;
    let known = table_key(table, &key.to_lowercase());
    match known.and_then(|key| table.get_mut(&key)).and_then(Item::as_value_mut) {
        Some(old) => {
            let mut new = Value::from(target);
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        None => {
            let mut key = Key::new(key);
            // An inline table or a header stands on its own terms; lines of a table look like those around them.
            key.leaf_decor_mut().set_suffix(" ");
            table.insert(key.get(), toml_edit::value(target));
        }
    }
    Ok(())
}

/// The key as it is written, whatever its case.
fn table_key(table: &dyn toml_edit::TableLike, lower: &str) -> Option<String> {
    table.iter().map(|(key, _)| key).find(|key| key.to_lowercase() == lower).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn check(text: &str, claim: &Claim, expected: &str) {
        assert_eq!(add(text, claim, "alice").as_deref(), Ok(expected));
    }

    #[test]
    fn comments_and_order_stay() {
        let text = "# ours\n[addresses] # who gets what\n\"b@x.example\" = \"bob\" # he does\n# the end of it\n\n[lists]\n";
        let new = address("a@x.example");
        let expected = "# ours\n[addresses] # who gets what\n\"b@x.example\" = \"bob\" # he does\n\"a@x.example\" = \"alice\"\n# the end of it\n\n[lists]\n";
        check(text, &Claim::Address(new), expected);
        check(text, &Claim::Address(address("B@x.example")), &text.replace("\"bob\"", "\"alice\""));
        check(text, &Claim::List("news.y.example".into()), &format!("{text}\"news.y.example\" = \"alice\"\n"));
    }

    #[test]
    fn sections_are_made() {
        check("", &Claim::List("n.y.example".into()), "[lists]\n\"n.y.example\" = \"alice\"\n");
        check("[lists]\n", &Claim::Address(address("a@x.example")), "[lists]\n\n[addresses]\n\"a@x.example\" = \"alice\"\n");
        let rule = "\n[[rule]]\nname = \"what s@y.example writes\"\nwhen = { from = \"s@y.example\" }\nto = \"alice\"\n";
        check("[lists]\n", &Claim::Sender(address("s@y.example")), &format!("[lists]\n{rule}"));
        let before = "[[rule]]\nto = \"bob\"\n\n[lists]\n";
        let expected = format!("[[rule]]\nto = \"bob\"\n{rule}\n[lists]\n");
        check(before, &Claim::Sender(address("s@y.example")), &expected);
    }

    #[test]
    fn a_line_goes_to_its_relatives() {
        let file = |text: &str| (PathBuf::new(), text.to_owned());
        let files = [file("[lists]\n"), file("[addresses]\n\"a@x.example\" = \"a\"\n"), file("[addresses]\n\"a@y.example\" = \"a\"\n")];
        let check = |claim, expected| assert_eq!(home(&files, &claim), expected, "{claim:?}");
        check(Claim::Address(address("b@y.example")), Some(2));
        check(Claim::Address(address("b@z.example")), Some(1));
        check(Claim::List("x".into()), Some(0));
        check(Claim::Sender(address("b@z.example")), Some(0));
        assert_eq!(home(&[], &Claim::List("x".into())), None);
    }
}
