//! Entries of the log that go out together: whoever logs does not wait for the file, the pipe or the journal behind stderr. The first one goes
//! at once, and those that come in the [`PAUSE`] after it, in a burst of mail, are one write.
//!
//! A process that is killed takes the entries of one pause with it.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Nobody who reads along notices this delay.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes that wait at most: whoever logs more than is taken away waits, as without this.
const MOST: usize = 1 << 20;

/// Where entries are gathered.
pub struct Gathered(Arc<Desk>);

/// Writes what is gathered. What is logged before [`Clerk::gather`], or after this is dropped, goes straight out.
pub struct Clerk {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

struct Desk {
    state: Mutex<State>,
    /// The thread has something to do.
    filled: Condvar,
    /// There is room again.
    emptied: Condvar,
}

struct State {
    waiting: Vec<u8>,
    straight: bool,
    closed: bool,
}

/// Starts the thread that writes to `out`.
pub fn start(mut out: impl Write + Send + 'static) -> io::Result<(Gathered, Clerk)> {
    let state = State { waiting: Vec::new(), straight: true, closed: false };
    let desk = Arc::new(Desk { state: Mutex::new(state), filled: Condvar::new(), emptied: Condvar::new() });
    let shared = desk.clone();
    let thread = std::thread::Builder::new().name("log".into()).spawn(move || {
        while let Some(entries) = shared.next() {
            // Nobody could be told that the log can't be written.
            let _ = out.write_all(&entries).and_then(|()| out.flush());
            shared.pause();
        }
    })?;
    Ok((Gathered(desk.clone()), Clerk { desk, thread: Some(thread) }))
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that has come; `None` after the end.
    fn next(&self) -> Option<Vec<u8>> {
        let nothing = |state: &mut State| state.waiting.is_empty() && !state.closed;
        let mut state = self.filled.wait_while(self.lock(), nothing).unwrap_or_else(PoisonError::into_inner);
        let entries = std::mem::take(&mut state.waiting);
        self.emptied.notify_all();
        (!entries.is_empty()).then_some(entries)
    }

    fn pause(&self) {
        let room = |state: &mut State| state.waiting.len() < MOST && !state.closed;
        drop(self.filled.wait_timeout_while(self.lock(), PAUSE, room).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Clerk {
    /// From now on entries are gathered.
    pub fn gather(&self) {
        self.desk.lock().straight = false;
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        {
            let mut state = self.desk.lock();
            (state.straight, state.closed) = (true, true);
        }
        self.desk.filled.notify_all();
        self.desk.emptied.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl<'w> MakeWriter<'w> for Gathered {
    type Writer = Entry<'w>;

    fn make_writer(&'w self) -> Entry<'w> {
        Entry(&self.0)
    }
}

/// Room for one entry.
pub struct Entry<'w>(&'w Desk);

impl Write for Entry<'_> {
    /// The subscriber hands over whole entries.
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let full = |state: &mut State| state.waiting.len() >= MOST && !state.straight;
        let mut state = self.0.emptied.wait_while(self.0.lock(), full).unwrap_or_else(PoisonError::into_inner);
        if state.straight {
            drop(state);
            return io::stderr().write_all(entry).map(|()| entry.len());
        }
        let first = state.waiting.is_empty();
        state.waiting.extend_from_slice(entry);
        if first || state.waiting.len() >= MOST {
            self.0.filled.notify_one();
        }
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the writes, and keeps what was written.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_burst_goes_out_in_order_and_in_few_writes() {
        let sink = Sink::default();
        let (log, clerk) = start(sink.clone()).unwrap();
        clerk.gather();
        let lines: Vec<String> = (0..1000).map(|number| format!("line {number}\n")).collect();
        for line in &lines {
            log.make_writer().write_all(line.as_bytes()).unwrap();
        }
        drop(clerk);
        let writes = sink.0.lock().unwrap();
        assert_eq!(String::from_utf8(writes.concat()).unwrap(), lines.concat());
        assert!(writes.len() < 100, "{} writes", writes.len());
    }

    #[test]
    fn more_than_is_taken_away_waits_and_is_not_lost() {
        let sink = Sink::default();
        let (log, clerk) = start(sink.clone()).unwrap();
        clerk.gather();
        let line = vec![b'x'; MOST / 4];
        for _ in 0..20 {
            log.make_writer().write_all(&line).unwrap();
        }
        drop(clerk);
        assert_eq!(sink.0.lock().unwrap().concat().len(), 20 * line.len());
    }
}
