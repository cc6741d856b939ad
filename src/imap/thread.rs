//! THREAD's two ways of putting conversations together (RFC 5256 §3). Pure, and without recursion: a thread may be as long as a mailbox.

use std::collections::HashMap;
use std::fmt::Write;

use super::casemap::casemap;
use super::command::ThreadAlgorithm;

/// What is compared of one message.
#[derive(Debug, Clone, Default)]
pub struct ThreadRow {
    /// Its number or UID, as it is to be shown.
    pub number: u32,
    /// Without angle brackets.
    pub message_id: Option<String>,
    /// Oldest first; the last one is the message that it answers.
    pub references: Vec<String>,
    /// Base subject.
    pub subject: String,
    /// The subject is that of a reply or a forward.
    pub reply: bool,
    /// Date field; INTERNALDATE where that is missing.
    pub date: i64,
}

/// The threads of `rows`, as THREAD shows them: `(2)(3 6 (4 23)(44 7 96))`.
pub fn thread(rows: &[ThreadRow], algorithm: ThreadAlgorithm) -> String {
    let forest = match algorithm {
        ThreadAlgorithm::OrderedSubject => ordered_subject(rows),
        ThreadAlgorithm::References => references(rows),
    };
    forest.render(rows)
}

/// Nodes by index; a node without a row stands for a message that isn't there.
#[derive(Default)]
struct Forest {
    nodes: Vec<Node>,
    roots: Vec<usize>,
}

#[derive(Default, Clone)]
struct Node {
    row: Option<usize>,
    parent: Option<usize>,
    children: Vec<usize>,
}

/// Same base subject, oldest first; all but the first are children of the first.
fn ordered_subject(rows: &[ThreadRow]) -> Forest {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|at| (rows[*at].date, rows[*at].number));
    let mut forest = Forest::default();
    let mut by_subject: HashMap<String, usize> = HashMap::new();
    for at in order {
        let node = forest.add(Some(at));
        let subject = casemap(&rows[at].subject);
        match by_subject.get(&subject) {
            Some(first) => forest.adopt(*first, node),
            None => {
                by_subject.insert(subject, node);
                forest.roots.push(node);
            }
        }
    }
    forest
}

fn references(rows: &[ThreadRow]) -> Forest {
    let mut forest = Forest::default();
    let mut by_id: HashMap<&str, usize> = HashMap::new();
    // Step 1: who answers whom.
    for (at, row) in rows.iter().enumerate() {
        let mut above = None;
        for reference in &row.references {
            let node = *by_id.entry(reference).or_insert_with(|| forest.add(None));
            if let Some(parent) = above
                && forest.nodes[node].parent.is_none()
            {
                forest.adopt(parent, node);
            }
            above = Some(node);
        }
        let known = row.message_id.as_deref().and_then(|id| by_id.get(id).copied()).filter(|node| forest.nodes[*node].row.is_none());
        let node = known.unwrap_or_else(|| forest.add(None));
        forest.nodes[node].row = Some(at);
        if let Some(id) = row.message_id.as_deref() {
            by_id.entry(id).or_insert(node);
        }
        if forest.nodes[node].parent != above {
            forest.orphan(node);
            if let Some(parent) = above {
                forest.adopt(parent, node);
            }
        }
    }
    // Steps 2 and 3: roots, without the messages that aren't there.
    forest.roots = (0..forest.nodes.len()).filter(|node| forest.nodes[*node].parent.is_none()).collect();
    forest.prune();
    // Step 4 to 6.
    forest.sort(rows);
    forest.gather_subjects(rows);
    forest.sort(rows);
    forest
}

impl Forest {
    fn add(&mut self, row: Option<usize>) -> usize {
        self.nodes.push(Node { row, ..Node::default() });
        self.nodes.len() - 1
    }

    /// Makes `child` a child of `parent`, unless that would make a ring.
    fn adopt(&mut self, parent: usize, child: usize) {
        // What has no children is above nobody.
        let mut above = Some(parent).filter(|_| parent == child || !self.nodes[child].children.is_empty());
        while let Some(node) = above {
            if node == child {
                return;
            }
            above = self.nodes[node].parent;
        }
        self.nodes[child].parent = Some(parent);
        self.nodes[parent].children.push(child);
    }

    fn orphan(&mut self, child: usize) {
        if let Some(parent) = self.nodes[child].parent.take() {
            self.nodes[parent].children.retain(|other| *other != child);
        }
    }

    /// Nodes from the leaves up.
    fn leaves_first(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut open = self.roots.clone();
        while let Some(node) = open.pop() {
            order.push(node);
            open.extend(&self.nodes[node].children);
        }
        order.reverse();
        order
    }

    /// Missing messages give way to their children; a missing root stays if it holds several together.
    fn prune(&mut self) {
        for node in self.leaves_first() {
            let children = std::mem::take(&mut self.nodes[node].children);
            let mut kept = Vec::with_capacity(children.len());
            for child in children {
                if self.nodes[child].row.is_some() {
                    kept.push(child);
                } else {
                    let orphans = std::mem::take(&mut self.nodes[child].children);
                    for orphan in &orphans {
                        self.nodes[*orphan].parent = Some(node);
                    }
                    kept.extend(orphans);
                }
            }
            self.nodes[node].children = kept;
        }
        let roots = std::mem::take(&mut self.roots);
        for root in roots {
            match (self.nodes[root].row, self.nodes[root].children.len()) {
                (None, 0) => {}
                (None, 1) => {
                    let child = self.nodes[root].children.remove(0);
                    self.nodes[child].parent = None;
                    self.roots.push(child);
                }
                _ => self.roots.push(root),
            }
        }
    }

    fn sort(&mut self, rows: &[ThreadRow]) {
        for node in self.leaves_first() {
            let mut children = std::mem::take(&mut self.nodes[node].children);
            children.sort_by_key(|child| self.key(*child, rows));
            self.nodes[node].children = children;
        }
        let mut roots = std::mem::take(&mut self.roots);
        roots.sort_by_key(|root| self.key(*root, rows));
        self.roots = roots;
    }

    /// The row that speaks for a node: its own, or that of its first child.
    fn speaker(&self, node: usize) -> Option<usize> {
        let node = &self.nodes[node];
        node.row.or_else(|| self.nodes[*node.children.first()?].row)
    }

    fn key(&self, node: usize, rows: &[ThreadRow]) -> (i64, u32) {
        self.speaker(node).map_or((0, 0), |row| (rows[row].date, rows[row].number))
    }

    /// Step 5: threads whose first messages share a base subject become one.
    fn gather_subjects(&mut self, rows: &[ThreadRow]) {
        let subject = |forest: &Forest, root: usize| {
            forest.speaker(root).map(|row| casemap(&rows[row].subject)).filter(|subject| !subject.is_empty())
        };
        let is_reply = |forest: &Forest, root: usize| forest.nodes[root].row.is_some_and(|row| rows[row].reply);
        let is_dummy = |forest: &Forest, root: usize| forest.nodes[root].row.is_none();
        let mut table: HashMap<String, usize> = HashMap::new();
        for root in self.roots.clone() {
            let Some(subject) = subject(self, root) else { continue };
            match table.get(&subject) {
                None => {
                    table.insert(subject, root);
                }
                Some(&known) => {
                    let better = (is_dummy(self, root) && !is_dummy(self, known)) || (is_reply(self, known) && !is_reply(self, root));
                    if better {
                        table.insert(subject, root);
                    }
                }
            }
        }
        let mut roots = Vec::with_capacity(self.roots.len());
        let mut merged: HashMap<usize, usize> = HashMap::new();
        for root in std::mem::take(&mut self.roots) {
            let first = subject(self, root).and_then(|subject| table.get(&subject).copied()).filter(|first| *first != root);
            let Some(first) = first else {
                roots.push(root);
                continue;
            };
            let first = merged.get(&first).copied().unwrap_or(first);
            if is_dummy(self, first) && is_dummy(self, root) {
                for child in std::mem::take(&mut self.nodes[root].children) {
                    self.nodes[child].parent = None;
                    self.adopt(first, child);
                }
            } else if is_dummy(self, first) || (is_reply(self, root) && !is_reply(self, first)) {
                self.adopt(first, root);
            } else {
                let both = self.add(None);
                merged.insert(first, both);
                roots.push(both);
                self.adopt(both, first);
                self.adopt(both, root);
            }
        }
        self.roots = roots;
        self.roots.retain(|root| self.nodes[*root].parent.is_none());
    }

    /// `thread-list = "(" (thread-members / thread-nested) ")"`
    fn render(&self, rows: &[ThreadRow]) -> String {
        enum Step {
            Open(usize),
            Node(usize),
            Close,
        }
        let mut written = String::new();
        let mut steps: Vec<Step> = self.roots.iter().rev().map(|root| Step::Open(*root)).collect();
        while let Some(step) = steps.pop() {
            match step {
                Step::Open(node) => {
                    written.push('(');
                    steps.push(Step::Close);
                    steps.push(Step::Node(node));
                }
                Step::Close => written.push(')'),
                Step::Node(at) => {
                    let node = &self.nodes[at];
                    if let Some(row) = node.row {
                        if !written.ends_with('(') {
                            written.push(' ');
                        }
                        // Writing into a String cannot fail.
                        let _ = write!(written, "{}", rows[row].number);
                    }
                    match node.children.as_slice() {
                        [only] if node.row.is_some() => steps.push(Step::Node(*only)),
                        [] => {}
                        children => {
                            if node.row.is_some() {
                                written.push(' ');
                            }
                            steps.extend(children.iter().rev().map(|child| Step::Open(*child)));
                        }
                    }
                }
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u32, id: &str, references: &[&str], subject: &str) -> ThreadRow {
        ThreadRow {
            number,
            message_id: Some(id.into()),
            references: references.iter().map(|&reference| reference.into()).collect(),
            subject: subject.trim_start_matches("Re: ").into(),
            reply: subject.starts_with("Re: "),
            date: i64::from(number),
        }
    }

    fn check(rows: &[ThreadRow], algorithm: ThreadAlgorithm, expected: &str) {
        assert_eq!(thread(rows, algorithm), expected);
    }

    #[test]
    fn by_reference() {
        let rows = [
            row(1, "a", &[], "x"),
            row(2, "b", &["a"], "Re: x"),
            row(3, "c", &["a", "b"], "Re: x"),
            row(4, "d", &["a"], "Re: x"),
            row(5, "e", &[], "y"),
        ];
        check(&rows, ThreadAlgorithm::References, "(1 (2 3)(4))(5)");
        // The message that both answer is missing.
        check(&[row(1, "b", &["gone"], "x"), row(2, "c", &["gone"], "x")], ThreadAlgorithm::References, "((1)(2))");
        check(&[row(1, "b", &["gone", "too"], "x")], ThreadAlgorithm::References, "(1)");
        // Only the subject says that they belong together.
        check(&[row(1, "a", &[], "x"), row(2, "b", &[], "Re: x")], ThreadAlgorithm::References, "(1 2)");
    }

    #[test]
    fn rings_and_long_chains() {
        check(&[row(1, "a", &["b"], "x"), row(2, "b", &["a"], "x")], ThreadAlgorithm::References, "(2 1)");
        let ids: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
        let chain: Vec<ThreadRow> = (1..20_000).map(|number: usize| row(number as u32, &ids[number], &[&ids[number - 1]], "x")).collect();
        assert!(thread(&chain, ThreadAlgorithm::References).starts_with("(1 2 3 "));
    }

    #[test]
    fn by_subject() {
        let rows = [row(1, "a", &[], "x"), row(2, "b", &[], "y"), row(3, "c", &[], "Re: x"), row(4, "d", &[], "Re: x")];
        check(&rows, ThreadAlgorithm::OrderedSubject, "(1 (3)(4))(2)");
    }
}
