//! Long-running tasks: each starts again after a fault of its own, and all end together.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::serve::Stop;

/// A task that failed starts again after this long, so that one that fails at once does not burn a core.
const RESTART_AFTER: Duration = Duration::from_secs(5);

/// The tasks of a gateway.
#[derive(Default)]
pub struct Tasks {
    running: JoinSet<()>,
}

impl Tasks {
    /// Starts a task that runs once; `task` ends by itself when the gateway stops.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(task);
    }

    /// Starts a task, and starts it again if it ends by a panic. `make` makes its future anew each time.
    pub fn keep<F>(&mut self, name: &'static str, mut stop: Stop, mut make: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.running.spawn(async move {
            loop {
                // Aborting the outer task must abort the inner one too: a set does that when it is dropped.
                let mut inner = JoinSet::new();
                inner.spawn(make());
                match inner.join_next().await {
                    Some(Err(error)) if error.is_panic() && !stop.is_requested() => {
                        tracing::error!(task = name, "ended by a fault of the program; it starts again");
                    }
                    _ => return,
                }
                tokio::select! {
                    () = stop.requested() => return,
                    () = tokio::time::sleep(RESTART_AFTER) => (),
                }
            }
        });
    }

    /// Waits until all have ended; cuts those that have not by then.
    pub async fn finish(mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while let Ok(Some(_)) = timeout_at(deadline, self.running.join_next()).await {}
        if !self.running.is_empty() {
            tracing::warn!(tasks = self.running.len(), "cutting what did not end in time");
            self.running.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_starts_again() {
        let (switch, stop) = Stop::channel();
        let starts = Arc::new(AtomicU32::new(0));
        let mut tasks = Tasks::default();
        let (seen, inner_stop) = (starts.clone(), stop.clone());
        tasks.keep("test", stop, move || {
            let (n, mut stop) = (seen.fetch_add(1, Ordering::SeqCst), inner_stop.clone());
            async move {
                assert!(n >= 2, "a fault");
                stop.requested().await;
            }
        });
        tokio::time::sleep(RESTART_AFTER * 3).await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
        switch.send_replace(true);
        tasks.finish(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_is_cut() {
        let mut tasks = Tasks::default();
        tasks.spawn(std::future::pending());
        let before = Instant::now();
        tasks.finish(Duration::from_secs(9)).await;
        assert_eq!(before.elapsed().as_secs(), 9);
    }
}
