//! `[[rule]]` and `[[expect]]`: the tables that stand in a file more than once.

use super::Reader;
use crate::document::Table;
use crate::mapping::glob::Glob;
use crate::mapping::rules::{Rule, When};
use crate::mapping::target::folder_name;
use crate::mapping::{Direction, Expectation, Expected, Outcome};

impl<'d> Reader<'d, '_> {
    pub(super) fn rule(&mut self, table: Table<'d>) -> Option<Rule> {
        let name = table.text("name").map(|found| found.value.to_owned());
        let when = table.table("when").map(|when| self.when(when)).unwrap_or_else(|| {
            if !table.has("when") {
                table.missing("when", "when = { from = \"*@supplier.example\" }");
            }
            When::default()
        });
        let to = table.get("to").map(|value| self.target(&value));
        let add = table.get("add").map(|value| value.one_or_more()).unwrap_or_default();
        let add: Vec<_> = add.iter().filter_map(|value| self.target(value)).collect();
        let folder = table.get("folder").and_then(|value| value.parse(folder_name));
        let stop = table.boolean("stop");
        let approve = table.get("approve").and_then(|value| self.user(&value));
        if let Some(mark) = table.key_mark("approve").filter(|_| when.direction != [Direction::Out]) {
            mark.wrong_with("only mail that goes out can wait for approval", "add direction = \"out\" to \"when\"");
        }
        let mark = table.mark();
        if approve.is_none()
            && !table.has("approve")
            && to.is_none()
            && add.is_empty()
            && folder.is_none()
            && !table.has("add")
            && !table.has("folder")
        {
            mark.wrong_with("this rule does nothing", "add \"to\", \"add\", \"folder\" or, for outgoing mail, \"approve\"");
        }
        if let Some(stop) = stop
            && stop.value
            && to.is_none()
            && folder.is_none()
        {
            stop.mark
                .wrong_with("\"stop\" with \"add\" alone would leave out nobody", "leave \"stop\" out, or write \"to\" instead of \"add\"");
        }
        table.finish();
        let stop = stop.map_or(to.is_some(), |found| found.value);
        let to = match to {
            Some(to) => Some(to?),
            None => None,
        };
        self.marks.rules.insert(mark.place(), mark);
        Some(Rule { name, when, to, add, folder, stop, approve, place: mark.place() })
    }

    fn when(&mut self, table: Table<'d>) -> When {
        let globs = |reader: &Self, key: &str| -> Vec<Glob> {
            let values = table.one_or_more(key).unwrap_or_default();
            values.iter().filter_map(|value| reader.glob(value)).collect()
        };
        let texts = |key: &str| -> Vec<Glob> {
            let found = table.texts(key).unwrap_or_default();
            found.iter().map(|found| Glob::new(&found.value.to_lowercase())).collect()
        };
        let mut when = When {
            from: globs(self, "from"),
            to: globs(self, "to"),
            subject: texts("subject"),
            list: texts("list"),
            larger: table.size("larger").map(|found| found.value),
            ..When::default()
        };
        if let Some(header) = table.table("header") {
            for (name, value) in header.entries() {
                let values = value.one_or_more();
                let globs = values.iter().filter_map(|value| Some(Glob::new(&value.text()?.to_lowercase()))).collect();
                when.header.push((name.value.to_owned(), globs));
            }
        }
        let collectors: Vec<String> = self.office.collectors.iter().map(|collector| collector.name.clone()).collect();
        let named = table.one_or_more("collector").unwrap_or_default();
        when.collector = named.iter().filter_map(|value| self.known(value, "collector", &collectors)).collect();
        let named = table.one_or_more("user").unwrap_or_default();
        when.user = named.iter().filter_map(|value| self.user(value)).collect();
        let directions = [("in", Direction::In), ("out", Direction::Out), ("local", Direction::Local)];
        when.direction = match table.one_or_more("direction") {
            Some(values) => values.iter().filter_map(|value| value.word(&directions)).collect(),
            None => vec![Direction::In],
        };
        if let Some(mark) = table.key_mark("collector").filter(|_| !when.direction.contains(&Direction::In)) {
            let help = "leave \"collector\" out, or add \"in\" to \"direction\"".to_owned();
            mark.warn("this rule never holds: only mail that comes in has a collector", Some(help));
        }
        table.finish();
        when
    }

    pub(super) fn expectation(&mut self, table: Table<'d>) -> Option<Expectation> {
        let outcomes = [Outcome::Delivered, Outcome::Forwarded, Outcome::Held, Outcome::Remote, Outcome::Discarded];
        let words: Vec<_> = outcomes.iter().map(|outcome| (outcome.as_str(), *outcome)).collect();
        let gets = table.one_or_more("gets");
        let expected = Expected {
            gets: gets.map(|values| values.iter().filter_map(|value| value.text().map(str::to_owned)).collect()),
            outcome: table.word("outcome", &words).map(|found| found.value),
            folder: table.text("folder").map(|found| found.value.to_owned()),
            leaves_as: table.address("leaves_as").map(|found| found.value),
            via: table.get("via").and_then(|value| self.known(&value, "smarthost", &self.office.smarthosts)),
        };
        let sender = table.get("sender").and_then(|value| self.user(&value));
        let collectors: Vec<String> = self.office.collectors.iter().map(|collector| collector.name.clone()).collect();
        let expectation = Expectation {
            to: table.address("to").map(|found| found.value),
            message: table.path("message").map(|found| found.value),
            from: table.address("from").map(|found| found.value),
            collector: table.get("collector").and_then(|value| self.known(&value, "collector", &collectors)),
            sender,
            expected,
            problem: table.mark().problem("this expectation does not hold"),
        };
        if expectation.to.is_none() && expectation.message.is_none() && expectation.sender.is_none() {
            table.mark().wrong_with(
                "this expectation is about nothing",
                "add to = \"sales@example.com\", message = \"FILE\" or sender = \"alice\"",
            );
        } else if !["gets", "outcome", "folder", "leaves_as", "via"].iter().any(|key| table.has(key)) {
            table.mark().wrong_with("this expectation expects nothing", "add gets = [\"alice\"], outcome, folder, leaves_as or via");
        }
        table.finish();
        Some(expectation)
    }
}
