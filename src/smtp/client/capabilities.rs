//! What a server says it can do: the lines of its EHLO reply (RFC 5321 §4.1.1.1), whatever their case.

use crate::smtp::reply::Reply;

/// The extensions that we use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 3030.
    pub chunking: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 6152.
    pub eight_bit: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 1870: `None` where SIZE is not offered, `Some(None)` where no limit is named.
    pub size: Option<Option<u64>>,
    /// RFC 9422: the most recipients that a mail may have, if that is said.
    pub recipients: Option<usize>,
    /// RFC 4954: mechanisms in upper case.
    pub auth: Vec<String>,
}

impl Capabilities {
    /// Reads them.
    pub fn parse(reply: &Reply) -> Self {
        let mut found = Self::default();
        for line in reply.lines.iter().skip(1) {
            // Old Exchange and Notes servers write AUTH=LOGIN beside, or instead of, AUTH LOGIN.
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            match words.next().map(str::to_ascii_uppercase).as_deref() {
                Some("PIPELINING") => found.pipelining = true,
                Some("CHUNKING") => found.chunking = true,
                Some("STARTTLS") => found.starttls = true,
                Some("8BITMIME") => found.eight_bit = true,
                Some("SMTPUTF8") => found.smtputf8 = true,
                Some("DSN") => found.dsn = true,
                Some("SIZE") => found.size = Some(words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0)),
                Some("LIMITS") => {
                    let limits: Vec<&str> = words.collect();
                    let most =
                        limits.chunks_exact(2).find(|pair| pair[0].eq_ignore_ascii_case("RCPTMAX")).and_then(|pair| pair[1].parse().ok());
                    found.recipients = most.filter(|most| *most > 0);
                }
                Some("AUTH") => {
                    for mechanism in words.map(str::to_ascii_uppercase) {
                        if !found.auth.contains(&mechanism) {
                            found.auth.push(mechanism);
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// The largest message that it says it takes.
    pub fn limit(&self) -> Option<u64> {
        self.size.flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_old_forms() {
        let lines = ["mx", "pipelining", "Size 35882577", "AUTH=LOGIN", "AUTH plain LOGIN", "8BITMIME", "dsn", "X-ODD"];
        let found = Capabilities::parse(&Reply::lines(250, "", lines.map(str::to_owned).to_vec()));
        assert_eq!(found.auth, ["LOGIN", "PLAIN"]);
        assert_eq!((found.pipelining, found.chunking, found.dsn, found.limit()), (true, false, true, Some(35_882_577)));
        let limits = ["mx", "LIMITS MAILMAX=20 rcptmax=100"].map(str::to_owned).to_vec();
        assert_eq!(Capabilities::parse(&Reply::lines(250, "", limits)).recipients, Some(100));
        let unlimited = Capabilities::parse(&Reply::lines(250, "", vec!["mx".into(), "SIZE 0".into()]));
        assert_eq!(unlimited.size, Some(None));
    }
}
