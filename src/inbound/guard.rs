//! What must not stop a collector: a panic in a fetch, and a fetch in which nothing happens any more. Both end it, are counted, and are
//! seen; the next fetch goes on where it was, as after a cut.

use super::figures::{Figures, Outcome};
use crate::schedule::Failure;
use crate::wire::Instant;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Every wait of a fetch has a deadline of its own that is shorter, and passing it is something that happens. One that lasts so long is
/// a fault of the program or a disk that does not answer.
const STANDSTILL: Duration = Duration::from_secs(15 * 60);

/// Why a fetch was ended from outside.
enum Ended {
    Panic(String),
    Standstill,
}

/// Runs a fetch. Whatever goes wrong in it ends this fetch and nothing else.
pub async fn guarded(name: &str, fetch: impl Future<Output = Outcome>) -> Outcome {
    let mut fetch = pin!(fetch);
    let mut watch = pin!(tokio::time::sleep(STANDSTILL));
    let mut moved = Instant::now();
    let ended = std::future::poll_fn(|context| {
        // It is polled when something has happened that it waited for, and never otherwise but for this alarm.
        match watch.as_mut().poll(context) {
            Poll::Pending => moved = Instant::now(),
            Poll::Ready(()) if moved.elapsed() >= STANDSTILL => return Poll::Ready(Err(Ended::Standstill)),
            Poll::Ready(()) => {
                watch.as_mut().reset(moved + STANDSTILL);
                let _ = watch.as_mut().poll(context);
            }
        }
        match catch_unwind(AssertUnwindSafe(|| fetch.as_mut().poll(context))) {
            Ok(step) => step.map(Ok),
            Err(panic) => {
                let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
                Poll::Ready(Err(Ended::Panic(said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default())))
            }
        }
    });
    match ended.await {
        Ok(outcome) => outcome,
        Err(Ended::Panic(said)) => {
            tracing::error!(collector = name, said, "the fetch ended by a fault of the program");
            fault(name, format!("a fault of the program ended the fetch ({said}); it is tried again. Please report it"))
        }
        Err(Ended::Standstill) => {
            let minutes = STANDSTILL.as_secs() / 60;
            tracing::error!(collector = name, "nothing has happened in the fetch for {minutes} minutes; it was ended");
            fault(
                name,
                format!("nothing happened in the fetch for {minutes} minutes, so it was ended; it is tried again. Please report it"),
            )
        }
    }
}

fn fault(name: &str, error: String) -> Outcome {
    let figures = Figures { name: name.to_owned(), error: Some(error), ..Figures::default() };
    Outcome { figures, failure: Some(Failure::Temporary), login_delay: None, fault: true, turned_away: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn trap_21_a_panic_in_a_fetch_is_contained_and_counted() {
        let outcome = guarded("isp", async { panic!("on {}", "purpose") }).await;
        assert!(outcome.fault);
        assert_eq!(outcome.failure, Some(Failure::Temporary));
        assert!(outcome.figures.error.is_some_and(|error| error.contains("a fault of the program") && error.contains("on purpose")));
    }

    #[tokio::test(start_paused = true)]
    async fn trap_45_a_fetch_that_stands_still_is_ended_and_counted() {
        let began = Instant::now();
        let outcome = guarded("isp", async {
            tokio::time::sleep(STANDSTILL / 2).await;
            std::future::pending().await
        });
        let outcome = outcome.await;
        assert_eq!((outcome.fault, outcome.failure), (true, Some(Failure::Temporary)));
        assert!(outcome.figures.error.is_some_and(|error| error.contains("for 15 minutes")));
        assert_eq!(began.elapsed().as_secs(), (STANDSTILL + STANDSTILL / 2).as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn however_long_a_fetch_takes_it_goes_on_while_something_happens() {
        let outcome = guarded("isp", async {
            for _ in 0..100 {
                tokio::time::sleep(STANDSTILL - Duration::from_secs(1)).await;
            }
            Outcome {
                figures: Figures { fetched: 7, ..Figures::default() },
                failure: None,
                login_delay: None,
                fault: false,
                turned_away: false,
            }
        });
        assert_eq!(outcome.await.figures.fetched, 7);
    }
}
