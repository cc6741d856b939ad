//! Windows' event log: warnings and errors stand there too, under the service's name, where administrators look first.

use std::io::{self, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use winsafe::{HEVENTLOG, HKEY, RegistryValue, co};

use super::NAME;

/// Where programs that write to the log "Application" are listed.
const SOURCES: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";
/// Part of Windows; its messages 1 to 1000 are the text that an entry brings along.
const MESSAGES: &str = r"%SystemRoot%\System32\EventCreate.exe";
/// Errors, warnings, information.
const TYPES: u32 = 7;
/// An entry holds 31,839 characters, some of which count double; the end of a longer text is not worth a second one.
const MAX_TEXT: usize = 15_000;

/// Number of the entries for errors; warnings have the next one.
const ERROR_ENTRY: u32 = 1;
const WARNING_ENTRY: u32 = 2;

/// Registers the service as one that writes to the event log.
pub fn register() -> Result<(), String> {
    let register = || {
        let path = format!(r"{SOURCES}\{NAME}");
        let (key, _) = HKEY::LOCAL_MACHINE.RegCreateKeyEx(&path, None, co::REG_OPTION::NON_VOLATILE, co::KEY::SET_VALUE, None)?;
        key.RegSetValueEx(Some("EventMessageFile"), RegistryValue::ExpandSz(MESSAGES.to_owned()))?;
        key.RegSetValueEx(Some("TypesSupported"), RegistryValue::Dword(TYPES))
    };
    register().map_err(|error: co::ERROR| error.to_string())
}

/// Takes it out again. That there was nothing to take out is no matter.
pub fn forget() {
    let _ = HKEY::LOCAL_MACHINE.RegDeleteTree(Some(&format!(r"{SOURCES}\{NAME}")));
}

/// Where a layer of the log writes its lines: each becomes an entry.
#[derive(Debug, Clone, Copy)]
pub struct EventLog;

/// Writes the lines of one event.
#[derive(Debug)]
pub struct Entry(Level);

impl<'a> MakeWriter<'a> for EventLog {
    type Writer = Entry;

    fn make_writer(&'a self) -> Entry {
        Entry(Level::ERROR)
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Entry {
        Entry(*metadata.level())
    }
}

impl Write for Entry {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text: String = String::from_utf8_lossy(line).trim_end().chars().take(MAX_TEXT).collect();
        let (kind, number) = match self.0 {
            Level::ERROR => (co::EVENTLOG::ERROR_TYPE, ERROR_ENTRY),
            _ => (co::EVENTLOG::WARNING_TYPE, WARNING_ENTRY),
        };
        let log = HEVENTLOG::RegisterEventSource(None, NAME).map_err(io::Error::other)?;
        log.ReportEvent(kind, 0, number, None, &[text], &[]).map_err(io::Error::other)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
