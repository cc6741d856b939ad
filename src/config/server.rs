//! What collectors and smarthosts have in common: a server at the ISP, how to trust it and how to log in.

use super::secret::SecretSource;
use crate::document::{Table, Value};
use base64::Engine as _;
use std::net::IpAddr;
use std::path::PathBuf;

/// How the connection to a server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// TLS from the first byte.
    Implicit,
    /// STARTTLS or STLS, mandatory.
    Starttls,
    /// None; only with `insecure = true`.
    None,
}

pub(super) const TLS_WORDS: [(&str, Tls); 3] = [("implicit", Tls::Implicit), ("starttls", Tls::Starttls), ("none", Tls::None)];

/// Host, port, protection and trust of one server at the ISP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Protection.
    pub tls: Tls,
    /// A PEM file with extra trust roots.
    pub ca: Option<PathBuf>,
    /// SHA-256 of the server's SPKI, instead of a chain to a root.
    pub pin: Option<[u8; 32]>,
}

/// `auth` and its material.
#[derive(Debug, Clone, PartialEq)]
pub enum Auth {
    /// The best password mechanism that the server offers.
    Password(SecretSource),
    /// XOAUTH2 or OAUTHBEARER.
    OAuth2(Box<OAuth2>),
}

/// Whom tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OAuthProvider {
    /// `microsoft`
    Microsoft,
    /// `google`
    Google,
    /// Anybody else, by URLs.
    Other {
        /// RFC 8628.
        device_url: Option<String>,
        /// RFC 6749 §3.1.
        auth_url: Option<String>,
        /// RFC 6749 §3.2.
        token_url: String,
        /// RFC 6749 §3.3.
        scope: String,
    },
}

/// How a person consents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OAuthFlow {
    /// A code typed in on another machine (RFC 8628).
    Device,
    /// A browser with a redirect to loopback (RFC 8252).
    Browser,
}

/// `oauth2 = {…}`
#[derive(Debug, Clone, PartialEq)]
pub struct OAuth2 {
    /// Whom tokens come from.
    pub provider: OAuthProvider,
    /// Our registration there.
    pub client_id: String,
    /// Its secret, if it has one.
    pub client_secret: Option<SecretSource>,
    /// Microsoft's directory.
    pub tenant: Option<String>,
    /// How a person consents.
    pub flow: OAuthFlow,
    /// The shared mailbox that is logged in to, if it is not that of `username`, who consents.
    pub login_as: Option<String>,
}

/// What a profile or a protocol gives where the file says nothing.
pub(super) struct Defaults<'p> {
    /// The profile's server for this protocol.
    pub(super) endpoint: Option<&'p Endpoint>,
    /// Protection if neither file nor profile says it; by the port, if one is given.
    pub(super) tls: fn(Option<u16>) -> Tls,
    /// The port that goes with a protection.
    pub(super) port: fn(Tls) -> u16,
    /// What to write for a host.
    pub(super) example: &'static str,
}

impl Endpoint {
    /// Asks for the keys without reading them, so that they are not called unknown: something else is wrong already.
    pub(super) fn skip(table: &Table<'_>) -> Option<Self> {
        let _ = ["host", "port", "tls", "insecure", "ca", "pin"].map(|key| table.get(key));
        None
    }

    /// Reads host, port, tls, ca, pin and insecure.
    pub(super) fn read(table: &Table<'_>, defaults: &Defaults<'_>) -> Option<Self> {
        let host = match (table.get("host"), defaults.endpoint) {
            (Some(value), _) => value.parse(host),
            (None, Some(endpoint)) => Some(endpoint.host.clone()),
            (None, None) => {
                table.missing("host", &format!("host = \"{}\", or provider = \"…\" for a provider that is known", defaults.example));
                None
            }
        };
        // A port or protection of its own makes the profile's other half meaningless.
        let profile = defaults.endpoint.filter(|_| !table.has("tls") && !table.has("port"));
        let port = table.integer("port", 1..=65_535).and_then(|f| u16::try_from(f.value).ok());
        let tls = table.word("tls", &TLS_WORDS).map(|f| f.value).or(profile.map(|p| p.tls)).unwrap_or_else(|| (defaults.tls)(port));
        let insecure = table.boolean("insecure").is_some_and(|f| f.value);
        if let Some(mark) = table.key_mark("tls").filter(|_| tls == Tls::None) {
            match insecure {
                false => mark.wrong_with(
                    "without TLS, the password and all mail can be read on the way",
                    "write tls = \"implicit\" or tls = \"starttls\"; if the server really has neither, add insecure = true",
                ),
                true => mark.warn("without TLS, the password and all mail can be read on the way", None),
            }
        }
        let (ca, pin) = (table.path("ca"), table.get("pin"));
        if let (Some(_), Some(pin)) = (&ca, &pin) {
            pin.mark().wrong_with("\"ca\" and \"pin\" exclude each other", "leave one of them out: a pinned key needs no root");
        }
        Some(Self {
            host: host?,
            port: port.or(profile.map(|p| p.port)).unwrap_or_else(|| (defaults.port)(tls)),
            tls,
            ca: ca.map(|f| f.value),
            pin: pin.and_then(|value| value.parse(pin_bytes)),
        })
    }
}

impl Auth {
    /// The name to log in with, where `username` is who consents or whose password it is.
    pub fn log_in_as<'a>(&'a self, username: &'a str) -> &'a str {
        match self {
            Self::OAuth2(oauth) => oauth.login_as.as_deref().unwrap_or(username),
            Self::Password(_) => username,
        }
    }

    /// Reads password, auth and oauth2. `None` if there is neither.
    pub(super) fn read(table: &Table<'_>) -> Option<Self> {
        let wants_oauth = table.word("auth", &[("password", false), ("oauth2", true)]).map(|f| f.value);
        let password = table.get("password").map(|value| SecretSource::read(&value));
        let oauth = table.get("oauth2").map(|value| OAuth2::read(&value));
        match (wants_oauth.unwrap_or(oauth.is_some()), password, oauth) {
            (false, Some(password), _) => Some(Auth::Password(password?)),
            (true, _, Some(oauth)) => Some(Auth::OAuth2(Box::new(oauth?))),
            (true, _, None) => {
                table.missing("oauth2", "oauth2 = { provider = \"microsoft\", client_id = \"…\" }");
                None
            }
            (false, None, _) => None,
        }
    }
}

impl OAuth2 {
    fn read(value: &Value<'_>) -> Option<Self> {
        let table = value.table()?;
        let text = |key: &str| table.text(key).map(|f| f.value.to_owned());
        let url = |key: &str| table.get(key).and_then(|value| value.parse(url));
        let provider = match table.get("provider") {
            Some(value) => value.word(&[("microsoft", OAuthProvider::Microsoft), ("google", OAuthProvider::Google)]),
            None => {
                table.require("token_url", "provider = \"microsoft\" or \"google\", or token_url = \"https://…\"");
                let (device_url, auth_url, scope) = (url("device_url"), url("auth_url"), text("scope").unwrap_or_default());
                url("token_url").map(|token_url| OAuthProvider::Other { device_url, auth_url, token_url, scope })
            }
        };
        table.require("client_id", "client_id = \"…\"");
        let flow = table.word("flow", &[("device", OAuthFlow::Device), ("browser", OAuthFlow::Browser)]).map(|f| f.value);
        let flow = match (&provider, flow) {
            (Some(OAuthProvider::Google), Some(OAuthFlow::Device)) => {
                let mark = table.key_mark("flow").unwrap_or_else(|| table.mark());
                mark.wrong_with("Google allows no log-in for mail by a device code", "write flow = \"browser\", or leave it out");
                OAuthFlow::Browser
            }
            (Some(OAuthProvider::Other { device_url: None, auth_url: None, .. }), _) => {
                table.missing("device_url", "device_url = \"https://…\" for a log-in by a code, or auth_url for one in a browser");
                OAuthFlow::Device
            }
            (Some(OAuthProvider::Other { device_url: None, .. }), Some(OAuthFlow::Device)) => {
                table.missing("device_url", "device_url = \"https://…\", or flow = \"browser\"");
                OAuthFlow::Device
            }
            (Some(OAuthProvider::Other { auth_url: None, .. }), Some(OAuthFlow::Browser)) => {
                table.missing("auth_url", "auth_url = \"https://…\", or flow = \"device\"");
                OAuthFlow::Browser
            }
            (Some(OAuthProvider::Google | OAuthProvider::Other { device_url: None, .. }), None) => OAuthFlow::Browser,
            (_, flow) => flow.unwrap_or(OAuthFlow::Device),
        };
        let oauth = Self {
            provider: provider?,
            client_id: text("client_id")?,
            client_secret: table.get("client_secret").and_then(|value| SecretSource::read(&value)),
            tenant: text("tenant"),
            flow,
            login_as: text("login_as"),
        };
        table.finish();
        Some(oauth)
    }
}

/// An address that secrets are sent to: https, or a test server on this machine.
fn url(text: &str) -> Result<String, String> {
    let url = url::Url::parse(text).map_err(|error| format!("\"{text}\" is no address of the form \"https://…\": {error}"))?;
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(text.to_owned()),
        "http" if loopback => Ok(text.to_owned()),
        _ => Err(format!("\"{text}\" would be asked without TLS; write \"https://…\"")),
    }
}

/// A host name or an IP address, without a port and without a scheme.
pub(super) fn host(text: &str) -> Result<String, String> {
    if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Ok(text.trim_matches(['[', ']']).to_owned());
    }
    if let Some((_, rest)) = text.split_once("://") {
        return Err(format!("\"{text}\" is no host name; write \"{}\"", rest.split(['/', ':']).next().unwrap_or(rest)));
    }
    if let Some((name, port)) = text.rsplit_once(':') {
        return Err(format!("a port has a key of its own; write host = \"{name}\" and port = {port}"));
    }
    match crate::address::Domain::parse(text) {
        Ok(domain) => Ok(domain.as_str().to_owned()),
        Err(_) => Err(format!("\"{text}\" is no host name")),
    }
}

/// `sha256/` and the base64 of 32 bytes; with two slashes as curl writes it.
fn pin_bytes(text: &str) -> Result<[u8; 32], String> {
    let encoded = text.strip_prefix("sha256/").map(|rest| rest.strip_prefix('/').filter(|rest| rest.len() == 44).unwrap_or(rest));
    let bytes = encoded.and_then(|encoded| base64::engine::general_purpose::STANDARD.decode(encoded).ok());
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        "a pin is \"sha256/\" and 44 characters of base64; `mailroom check --online` prints the one of a server that it refuses".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        assert_eq!(host("Pop.GMX.net"), Ok("pop.gmx.net".into()));
        assert_eq!(host("[::1]"), Ok("::1".into()));
        assert_eq!(host("192.0.2.1"), Ok("192.0.2.1".into()));
        assert!(host("pop.gmx.net:995").unwrap_err().contains("port = 995"));
        assert!(host("https://pop.gmx.net/x").unwrap_err().contains("write \"pop.gmx.net\""));
        assert!(host("").is_err());
        assert!(host("a b").is_err());
    }

    #[test]
    fn urls() {
        for right in ["https://login.example/token", "http://127.0.0.1:8080/token", "http://localhost/token", "http://[::1]:1/"] {
            assert_eq!(url(right).as_deref(), Ok(right));
        }
        for wrong in ["http://login.example/token", "http://127.0.0.1.evil.example/", "login.example", "file:///etc/passwd", ""] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pins() {
        let pin = "sha256/YhKJKSzoTt2b5FP18fvpHo7fJYqQCjAa3HWY3tvRMwE=";
        assert_eq!(pin_bytes(pin), pin_bytes(&pin.replace('/', "//")));
        assert!(pin_bytes(pin).is_ok());
        for wrong in ["", "sha256/", "sha1/YhKJKSzoTt2b5FP18fvpHo7fJYqQCjAa3HWY3tvRMwE=", "sha256/YhKJ", "sha256/ä"] {
            assert!(pin_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
