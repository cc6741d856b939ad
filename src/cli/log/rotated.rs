//! A log in files that never grow without end: the newest is `mailroom.log`, older ones are `mailroom.log.1` and so on.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

use crate::service::platform;

const NAME: &str = "mailroom.log";
/// A few months of an office's log at the usual level, and still something that an editor opens.
const LIMIT: u64 = 10_000_000;
/// Older files that are kept.
const KEPT: u32 = 5;

/// The files; shared by all threads that log.
pub struct Rotated(Mutex<Files>);

struct Files {
    folder: PathBuf,
    file: File,
    size: u64,
    limit: u64,
}

impl Rotated {
    /// Opens the newest one to go on with it.
    pub fn open(folder: PathBuf) -> io::Result<Rotated> {
        Self::with_limit(folder, LIMIT)
    }

    fn with_limit(folder: PathBuf, limit: u64) -> io::Result<Rotated> {
        platform::private_directory(&folder)?;
        let mut file = platform::private_file(&folder.join(NAME))?;
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Rotated(Mutex::new(Files { folder, file, size, limit })))
    }
}

impl<'w> MakeWriter<'w> for Rotated {
    type Writer = Line<'w>;

    fn make_writer(&'w self) -> Line<'w> {
        Line(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Room for one entry of the log.
pub struct Line<'w>(MutexGuard<'w, Files>);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let files = &mut *self.0;
        if files.size > 0 && files.size + bytes.len() as u64 > files.limit && files.rotate().is_err() {
            // On Windows somebody may read it with a program that lets nobody rename it: the log goes on in it for another round.
            files.size = 0;
        }
        let written = files.file.write(bytes)?;
        files.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.file.flush()
    }
}

impl Files {
    fn rotate(&mut self) -> io::Result<()> {
        let older = |number: u32| self.folder.join(format!("{NAME}.{number}"));
        for number in (1..KEPT).rev() {
            match std::fs::rename(older(number), older(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(self.folder.join(NAME), older(1))?;
        self.file = platform::private_file(&self.folder.join(NAME))?;
        self.size = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_files_go_and_no_line_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let rotated = Rotated::with_limit(log.clone(), 20).unwrap();
        for number in 10..30 {
            rotated.make_writer().write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        let text = |name: &str| std::fs::read_to_string(log.join(name)).unwrap();
        assert_eq!(text("mailroom.log"), "line 28\nline 29\n");
        assert_eq!(text("mailroom.log.1"), "line 26\nline 27\n");
        assert_eq!(text("mailroom.log.5"), "line 18\nline 19\n");
        assert_eq!(std::fs::read_dir(&log).unwrap().count(), 6);
        drop(rotated);
        Rotated::with_limit(log.clone(), 100).unwrap().make_writer().write_all(b"later\n").unwrap();
        assert_eq!(text("mailroom.log"), "line 28\nline 29\nlater\n");
    }
}
