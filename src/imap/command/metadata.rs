//! Arguments of GETMETADATA and SETMETADATA (RFC 5464).

use super::lexer::Lexer;
use super::{Command, Invalid, parenthesised};

/// Bytes of an entry's name: registered ones have fewer than fifty.
const MAX_ENTRY: usize = 500;

/// GETMETADATA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetMetadata {
    /// Empty is the server.
    pub mailbox: String,
    /// Which entries, in lower case.
    pub entries: Vec<String>,
    /// Longer values are left out.
    pub max_size: Option<u64>,
    /// What below the entries.
    pub depth: Depth,
}

/// How far below an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Depth {
    /// Itself.
    #[default]
    Zero,
    /// And its children.
    One,
    /// And everything below.
    Infinity,
}

impl Depth {
    /// Whether asking for `asked` with this depth gives `entry`, both in lower case.
    pub fn covers(self, asked: &str, entry: &str) -> bool {
        match entry.strip_prefix(asked) {
            Some("") => true,
            Some(below) => match below.strip_prefix('/') {
                Some(below) => self == Depth::Infinity || (self == Depth::One && !below.contains('/')),
                None => false,
            },
            None => false,
        }
    }
}

/// `getmetadata = "GETMETADATA" [SP getmetadata-options] SP mailbox SP entries`; the options are found behind the mailbox as well, where
/// the RFC's own examples have them.
pub fn get(lexer: &mut Lexer) -> Result<Command, Invalid> {
    let mut get = GetMetadata { mailbox: String::new(), entries: Vec::new(), max_size: None, depth: Depth::Zero };
    let mut given = false;
    if lexer.peek() == Some(b'(') {
        options(lexer, &mut get)?;
        given = true;
        lexer.space()?;
    }
    get.mailbox = lexer.mailbox_or_nothing()?;
    lexer.space()?;
    if !given && lexer.peek() == Some(b'(') {
        let before = lexer.clone();
        if options(lexer, &mut get).is_ok() {
            lexer.space()?;
        } else {
            *lexer = before;
        }
    }
    if lexer.peek() == Some(b'(') {
        get.entries = parenthesised(lexer, entry)?;
    } else {
        // Several without parentheses stand in an example of the RFC, too.
        get.entries = super::list(lexer, entry)?;
    }
    if get.entries.is_empty() {
        return Err(Invalid::new("Which entries?"));
    }
    Ok(Command::GetMetadata(get))
}

fn options(lexer: &mut Lexer, get: &mut GetMetadata) -> Result<(), Invalid> {
    let options = parenthesised(lexer, |lexer| {
        if lexer.take_word("MAXSIZE") {
            lexer.space()?;
            get.max_size = Some(lexer.number64()?);
        } else if lexer.take_word("DEPTH") {
            lexer.space()?;
            get.depth = match lexer.word()?.to_ascii_lowercase().as_str() {
                "0" => Depth::Zero,
                "1" => Depth::One,
                "infinity" => Depth::Infinity,
                _ => return Err(Invalid::new("DEPTH is 0, 1 or infinity.")),
            };
        } else {
            return Err(Invalid::new("GETMETADATA has no such option."));
        }
        Ok(())
    })?;
    if options.is_empty() { Err(Invalid::new("These options are empty.")) } else { Ok(()) }
}

/// `setmetadata = "SETMETADATA" SP mailbox SP "(" entry SP value *(SP entry SP value) ")"`, `value = nstring / literal8`
pub fn set(lexer: &mut Lexer) -> Result<Command, Invalid> {
    let mailbox = lexer.mailbox_or_nothing()?;
    lexer.space()?;
    let values = parenthesised(lexer, |lexer| {
        let entry = entry(lexer)?;
        lexer.space()?;
        Ok((entry, lexer.nstring()?.map(std::borrow::Cow::into_owned)))
    })?;
    if values.is_empty() {
        return Err(Invalid::new("Which entries?"));
    }
    Ok(Command::SetMetadata { mailbox, values })
}

/// `entry = astring`: below `/private` or `/shared`, in lower case.
fn entry(lexer: &mut Lexer) -> Result<String, Invalid> {
    let entry = lexer.astring_text()?.to_ascii_lowercase();
    let printable = entry.bytes().all(|byte| (0x20..0x7f).contains(&byte) && !matches!(byte, b'*' | b'%'));
    if !printable || entry.contains("//") || entry.ends_with('/') || entry.len() > MAX_ENTRY {
        return Err(Invalid::new("No entry can be called that."));
    }
    let rest = entry.strip_prefix("/private").or(entry.strip_prefix("/shared"));
    if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Err(Invalid::new("Entries begin with /private/ or /shared/."));
    }
    Ok(entry)
}
