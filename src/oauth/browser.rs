//! Log-in in a browser, with PKCE (RFC 7636): the answer comes back to a port of this machine (RFC 8252 §7.3), or, if the browser runs
//! elsewhere, as the address that it could not open, pasted.

use super::{Consent, OAuthError, Tokens, grant, reply};
use crate::store::Store;
use crate::wire::{Connection, Instant, LineEnd, WireError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// A browser's request line with a code of a few KB in it.
const MAX_LINE: usize = 16 * 1024;
/// Its header fields.
const MAX_FIELDS: usize = 200;
/// A browser that opens a connection ahead says nothing on it.
const REQUEST: Duration = Duration::from_secs(10);

/// A log-in that waits for its person.
pub struct Pending {
    listener: TcpListener,
    redirect: String,
    state: String,
    verifier: String,
    url: Url,
}

/// The provider's answer: what tokens can be had for.
pub struct Code(String);

/// Opens the port and makes the address to visit.
pub async fn begin(consent: &Consent) -> Result<Pending, OAuthError> {
    let Some(page) = &consent.auth_url else {
        return Err(OAuthError::Setting("this provider has no page to log in at; write flow = \"device\"".into()));
    };
    let wrong = |what: &str, error: String| OAuthError::Setting(format!("{what}: {error}"));
    let mut url = Url::parse(page).map_err(|error| wrong("auth_url", error.to_string()))?;
    let no_port = |error: std::io::Error| wrong("no port can be opened for the answer", error.to_string());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(no_port)?;
    let redirect = format!("http://{}:{}/", consent.loopback_name(), listener.local_addr().map_err(no_port)?.port());
    let (state, verifier) = (random()?, random()?);
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &consent.client_id)
        .append_pair("redirect_uri", &redirect)
        .append_pair("scope", &consent.scope())
        .append_pair("state", &state)
        .append_pair("code_challenge", &challenge(&verifier))
        .append_pair("code_challenge_method", "S256")
        .append_pair("login_hint", &consent.login);
    if consent.is_google() {
        url.query_pairs_mut().append_pair("access_type", "offline").append_pair("prompt", "consent");
    }
    Ok(Pending { listener, redirect, state, verifier, url })
}

impl Pending {
    /// What to open in a browser.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Waits for the browser to bring the answer.
    pub async fn answer(&self) -> Result<Code, OAuthError> {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else { continue };
            if let Ok(Some(answer)) = self.serve(stream).await {
                return answer;
            }
        }
    }

    /// The answer in an address that somebody pasted. `None`: there is none in it.
    pub fn pasted(&self, text: &str) -> Option<Result<Code, OAuthError>> {
        let url = Url::parse(text.trim()).ok()?;
        self.answer_in(&url)
    }

    /// Turns the answer into tokens.
    pub async fn redeem(&self, store: &Store, consent: &Consent, code: Code) -> Result<Tokens, OAuthError> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.0.as_str()),
            ("redirect_uri", self.redirect.as_str()),
            ("code_verifier", self.verifier.as_str()),
        ];
        grant::ask(store, consent, &form).await?.map_err(OAuthError::Refused)
    }

    /// One request; `None`: it is not the one (a browser asks for icons, and anybody on this machine may ask anything).
    async fn serve(&self, stream: TcpStream) -> Result<Option<Result<Code, OAuthError>>, WireError> {
        let deadline = Instant::now() + REQUEST;
        let mut connection = Connection::new(stream);
        connection.hush(true);
        let line = connection.line(MAX_LINE, LineEnd::Tolerant, deadline).await?;
        for _ in 0..MAX_FIELDS {
            if connection.line(MAX_LINE, LineEnd::Tolerant, deadline).await?.is_empty() {
                break;
            }
        }
        let answer = std::str::from_utf8(&line).ok().and_then(|line| {
            let path = line.strip_prefix("GET ")?.split(' ').next()?;
            self.answer_in(&Url::parse(&self.redirect).ok()?.join(path).ok()?)
        });
        let (status, text) = match &answer {
            None => ("404 Not Found", "Nothing is here."),
            Some(Ok(_)) => ("200 OK", "Mailroom has the answer. You can close this page."),
            Some(Err(_)) => ("200 OK", "The log-in did not work; Mailroom says why."),
        };
        let page = format!("<!doctype html><meta charset=utf-8><title>Mailroom</title><p>{text}</p>\n");
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            page.len()
        );
        connection.queue(head.as_bytes());
        connection.send(page.as_bytes(), deadline).await?;
        connection.close(deadline).await;
        Ok(answer)
    }

    /// The code or the refusal in an address, if its `state` is ours (RFC 6749 §10.12).
    fn answer_in(&self, url: &Url) -> Option<Result<Code, OAuthError>> {
        let get = |key: &str| url.query_pairs().find(|(name, _)| name == key).map(|(_, value)| value.into_owned());
        if get("state")? != self.state {
            return None;
        }
        match (get("code"), get("error")) {
            (_, Some(error)) => Some(Err(OAuthError::Refused(reply::refused(&error, &get("error_description").unwrap_or_default())))),
            (Some(code), None) => Some(Ok(Code(code))),
            (None, None) => None,
        }
    }
}

/// RFC 7636 §4.2.
fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

/// 256 bits, as 43 letters and digits.
fn random() -> Result<String, OAuthError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| OAuthError::Setting(format!("the system gave no random numbers: {error}")))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[tokio::test]
    async fn only_an_answer_with_our_state_counts() {
        let pending = Pending {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            redirect: "http://127.0.0.1:1/".into(),
            state: "s3".into(),
            verifier: "v".into(),
            url: Url::parse("https://login.example/").unwrap(),
        };
        let code = |text: &str| pending.pasted(text).map(|answer| answer.map(|code| code.0).map_err(|error| error.to_string()));
        assert_eq!(code(" http://127.0.0.1:1/?state=s3&code=a%2Fb \n"), Some(Ok("a/b".into())));
        assert_eq!(code("http://127.0.0.1:1/?state=other&code=a"), None);
        assert_eq!(code("http://127.0.0.1:1/?code=a"), None);
        assert_eq!(code("hello"), None);
        let refused = code("http://127.0.0.1:1/?state=s3&error=access_denied&error_description=no").unwrap().unwrap_err();
        assert!(refused.contains("access_denied"), "{refused}");
    }
}
