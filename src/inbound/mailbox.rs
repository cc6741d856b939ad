//! One mailbox, or one folder of it, in one session: list → compare with the ledger → retrieve and store → delete, move or mark.

use super::fetch::{Run, Trouble, now};
use super::plan::Nature;
use super::receive;
use super::storing::Storing;
use super::upstream::{Item, Upstream};
use crate::config::{After, Protocol};
use crate::store::failpoint::failpoint;
use crate::store::ledger::{Source, State, UpstreamId};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// One folder (POP3: the mailbox) in one session.
pub(super) struct Mailbox<'a, 'b> {
    pub(super) run: &'a mut Run<'b>,
    pub(super) source: Source,
    pub(super) folder: &'a str,
    pub(super) storing: Arc<Storing>,
    /// Memory for messages on their way to the store.
    pub(super) room: Arc<Semaphore>,
    /// What the server has refused so often that it won't be asked again.
    pub(super) hopeless: Vec<Item>,
    /// What the server is asked to remove, and has not answered yet.
    asked: HashMap<u32, UpstreamId>,
}

impl<'a, 'b> Mailbox<'a, 'b> {
    pub(super) fn open(run: &'a mut Run<'b>, folder: &'a str) -> Self {
        let order = run.order;
        let collector = &order.collector;
        let source = Source {
            host: collector.endpoint.host.to_ascii_lowercase(),
            login: collector.log_in_as().to_owned(),
            folder: folder.to_owned(),
        };
        let storing = Arc::new(Storing {
            store: order.store.clone(),
            current: Arc::clone(&order.current),
            collector: Arc::clone(collector),
            tag: format!("{}/{}/{folder}@{}", source.host, source.login, now()),
            source: source.clone(),
        });
        Self { run, source, folder, storing, room: receive::room(), hopeless: Vec::new(), asked: HashMap::new() }
    }

    /// What is durably here in the end, and has to go yet.
    pub(super) async fn fetch(&mut self, upstream: &mut Upstream) -> Result<Vec<Item>, Trouble> {
        let collector = Arc::clone(&self.run.order.collector);
        let expected = self.expected().await?;
        let failed = self.run.figures.failed;
        let mut listing = upstream.list(self.folder, collector.after != After::Keep, expected).await?;
        if let (true, Some(shape)) = (listing.unchanged, listing.shape) {
            self.run.figures.listed += u64::from(shape.exists);
            self.run.figures.known += u64::from(shape.exists);
            return Ok(Vec::new());
        }
        let nature = Nature {
            legible: listing.malformed == 0,
            complete: listing.malformed == 0 && !collector.partial_listing,
            reuses_ids: collector.protocol == Protocol::Pop3,
            by_header: listing.without_ids,
        };
        if !nature.legible {
            let lines = listing.malformed;
            tracing::warn!(collector = collector.name, lines, "lines of the listing are missing or can't be read; passed over");
        }
        if listing.without_ids {
            let mut items: Vec<Item> = listing.items.items().collect();
            self.ids_from_headers(upstream, &mut items).await?;
            listing.items = items.into_iter().collect();
        }
        self.run.figures.listed += listing.items.len() as u64;
        self.begin_with(upstream, &mut listing.items).await?;
        let (mut plan, items) = self.compare(listing.items, nature).await?;
        if self.is_renumbered(upstream, &plan, items.len()).await? || self.is_dispelled(upstream, &plan).await? {
            plan = self.compare(items, nature).await?.0;
        }
        self.unmask(upstream, &mut plan).await?;
        self.run.figures.known += plan.known;
        if plan.stuck > 0 {
            let stuck = plan.stuck;
            tracing::warn!(
                collector = collector.name,
                stuck,
                "the provider does not delete what it was asked to delete more than a day ago"
            );
        }
        self.mark(std::mem::take(&mut plan.gone), State::Gone).await?;
        self.forget(std::mem::take(&mut plan.lost)).await?;
        let new = plan.fetch.iter().chain(plan.singly.iter().map(|(item, _)| item)).map(|item| item.id.clone()).collect();
        let settled = plan.dispose.is_empty();
        let going = self.take(upstream, plan).await?;
        self.verify(new).await?;
        if settled && going.is_empty() && self.run.figures.failed == failed {
            self.remember(listing.shape).await?;
        }
        Ok(going)
    }

    /// All that was new has to be in the ledger now, if only as something to be tried again.
    async fn verify(&self, new: Vec<UpstreamId>) -> Result<(), Trouble> {
        let missing = self.run.order.store.ledger_verify(&self.source, new).await?;
        if missing > 0 {
            let collector = &self.run.order.collector.name;
            tracing::error!(collector, missing, "messages were listed, and the ledger knows nothing of them: a fault of the program");
        }
        Ok(())
    }

    /// Asks the server to delete what is durably here, while other answers are on their way. False: that has to wait.
    pub(super) fn ask_to_remove(&mut self, upstream: &mut Upstream, items: &[Item]) -> bool {
        let handles = self.going(items);
        if handles.is_empty() {
            return true;
        }
        failpoint("before_delete");
        upstream.ask_to_remove(&handles, &self.run.order.collector.after)
    }

    /// Asks the server to delete, move or mark what is durably here; the ledger knows before the session ends.
    pub(super) async fn dispose(&mut self, upstream: &mut Upstream, items: &[Item]) -> Result<(), Trouble> {
        let handles = self.going(items);
        failpoint("before_delete");
        let done = upstream.dispose(&handles, &self.run.order.collector.after).await?;
        self.marked(&handles).await?;
        self.removed(&done).await
    }

    /// Notes for `after = "seen"` that all which is here by now is marked.
    async fn marked(&self, handles: &[u32]) -> Result<(), Trouble> {
        if self.run.order.collector.after != After::Seen || handles.is_empty() {
            return Ok(());
        }
        Ok(self.run.order.store.setting_set(&self.marked_name(), Some(&now().to_string())).await?)
    }

    /// The same for the last time, and the end of the session.
    pub(super) async fn leave(&mut self, upstream: Upstream, items: &[Item]) -> Result<(), Trouble> {
        let handles = self.going(items);
        let mut done = Vec::new();
        failpoint("before_delete");
        let left = upstream.finish(&handles, &self.run.order.collector.after, &mut done).await;
        failpoint("after_quit");
        self.removed(&done).await?;
        let left = left?;
        self.marked(&handles).await?;
        if !left {
            let collector = &self.run.order.collector.name;
            tracing::warn!(collector, "the server says that it could not delete everything; it is asked again next time");
        }
        Ok(())
    }

    /// Notes that these are to go.
    fn going(&mut self, items: &[Item]) -> Vec<u32> {
        self.asked.extend(items.iter().map(|item| (item.handle, item.id.clone())));
        items.iter().map(|item| item.handle).collect()
    }

    /// The server has agreed to it.
    pub(super) async fn removed(&mut self, handles: &[u32]) -> Result<(), Trouble> {
        let done: Vec<UpstreamId> = handles.iter().filter_map(|handle| self.asked.remove(handle)).collect();
        self.run.figures.deleted += done.len() as u64;
        self.mark(done, State::DeleteSent).await
    }

    /// They are not here, or no longer what is listed.
    pub(super) async fn forget(&self, ids: Vec<UpstreamId>) -> Result<(), Trouble> {
        if ids.is_empty() {
            return Ok(());
        }
        Ok(self.run.order.store.ledger_forget(&self.source, ids).await?)
    }

    async fn mark(&self, ids: Vec<UpstreamId>, state: State) -> Result<(), Trouble> {
        if ids.is_empty() {
            return Ok(());
        }
        Ok(self.run.order.store.ledger_mark(&self.source, ids, state).await?)
    }
}
