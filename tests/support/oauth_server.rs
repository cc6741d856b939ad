//! A token service that does as a script says: device codes, an authorization page, refresh tokens that change with each use, and the
//! page where a mail server asks whose token it was given.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use url::Url;

/// What a person types in.
pub const USER_CODE: &str = "WDJB-MJHT";

#[derive(Default)]
struct State {
    user: String,
    /// Answers to those who ask for a device code's token; afterwards they get it.
    polls: VecDeque<&'static str>,
    /// `expires_in`
    lifetime: u64,
    serial: u32,
    access: Vec<String>,
    /// The one refresh token that is good; using an older one ends the grant, as with providers that suspect theft.
    refresh: Option<String>,
    challenge: String,
    redirect: String,
    /// Every form that the token page was sent.
    asked: Vec<BTreeMap<String, String>>,
}

/// A listening service; ends with the process.
pub struct OAuthServer {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl OAuthServer {
    /// Tokens are for this user's mailbox.
    pub fn start(user: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { user: user.to_owned(), lifetime: 3600, ..State::default() }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, port, &shared));
            }
        });
        Self { port, state }
    }

    /// See [`config`].
    pub fn config(&self, more: &str) -> String {
        config(self.port, more)
    }

    /// How the next questions for a device code's token are answered.
    pub fn polls(&self, answers: &[&'static str]) {
        self.state.lock().unwrap().polls = answers.iter().copied().collect();
    }

    /// How many seconds new tokens last.
    pub fn lifetime(&self, seconds: u64) {
        self.state.lock().unwrap().lifetime = seconds;
    }

    /// The person, or the provider, ends all access.
    pub fn revoke(&self) {
        let mut state = self.state.lock().unwrap();
        (state.refresh, state.access) = (None, Vec::new());
    }

    /// Access tokens end before their time; the refresh token stays good.
    pub fn forget_access(&self) {
        self.state.lock().unwrap().access.clear();
    }

    /// How many questions of a grant type there were.
    pub fn asked(&self, grant_type: &str) -> usize {
        self.state.lock().unwrap().asked.iter().filter(|form| form["grant_type"].ends_with(grant_type)).count()
    }

    /// The refresh token that is good now.
    pub fn refresh_token(&self) -> Option<String> {
        self.state.lock().unwrap().refresh.clone()
    }

    /// The access token given last.
    pub fn access_token(&self) -> String {
        self.state.lock().unwrap().access.last().cloned().unwrap_or_default()
    }
}

/// `auth` and `oauth2` of a collector or smarthost that gets its tokens there; `more` goes into the table.
pub fn config(port: u16, more: &str) -> String {
    let at = format!("http://127.0.0.1:{port}");
    format!(
        "auth = \"oauth2\"\noauth2 = {{ device_url = \"{at}/device\", auth_url = \"{at}/authorize\", token_url = \"{at}/token\", \
         scope = \"mail offline\", client_id = \"mailroom\", client_secret = {{ file = \"client.secret\" }}{more} }}\n"
    )
}

fn serve(stream: TcpStream, port: u16, state: &Mutex<State>) {
    let mut reader = BufReader::new(&stream);
    let mut request = String::new();
    let (mut length, mut bearer) = (0, String::new());
    reader.read_line(&mut request).unwrap_or_default();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or_default() == 0 || line == "\r\n" {
            break;
        }
        match line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.trim())) {
            Some((name, value)) if name == "content-length" => length = value.parse().unwrap(),
            Some((name, value)) if name == "authorization" => bearer = value.trim_start_matches("Bearer ").to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
    let Some(url) = request.split(' ').nth(1).and_then(|path| Url::parse(&format!("http://127.0.0.1:{port}{path}")).ok()) else { return };
    let (status, fields, text) = answer(&url, form, &bearer, port, &mut state.lock().unwrap());
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{fields}Connection: close\r\n\r\n",
        text.len()
    );
    let _ = (&stream).write_all((head + &text).as_bytes());
}

fn answer(url: &Url, form: BTreeMap<String, String>, bearer: &str, port: u16, state: &mut State) -> (&'static str, String, String) {
    let page = |status, text: serde_json::Value| (status, String::new(), text.to_string());
    let refused = |error: &str| {
        page("400 Bad Request", serde_json::json!({ "error": error, "error_description": format!("{error}, says the test.\r\nTrace: 1") }))
    };
    match url.path() {
        "/device" => {
            assert_eq!((form["client_id"].as_str(), form["scope"].as_str()), ("mailroom", "mail offline"));
            let at = format!("http://127.0.0.1:{port}/activate");
            page(
                "200 OK",
                serde_json::json!({ "device_code": "dc", "user_code": USER_CODE, "verification_uri": at, "expires_in": 300, "interval": 1 }),
            )
        }
        "/authorize" => {
            let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
            assert_eq!((query["response_type"].as_str(), query["code_challenge_method"].as_str()), ("code", "S256"));
            (state.challenge, state.redirect) = (query["code_challenge"].clone(), query["redirect_uri"].clone());
            ("302 Found", format!("Location: {}?code=the%2Fcode&state={}\r\n", state.redirect, query["state"]), String::new())
        }
        "/userinfo" if state.access.iter().any(|token| token == bearer) => {
            page("200 OK", serde_json::json!({ "sub": state.user, "active": "true" }))
        }
        "/userinfo" => page("401 Unauthorized", serde_json::json!({ "active": "false" })),
        "/token" => {
            assert_eq!((form["client_id"].as_str(), form["client_secret"].as_str()), ("mailroom", "s3cret"));
            state.asked.push(form.clone());
            match form["grant_type"].as_str() {
                "urn:ietf:params:oauth:grant-type:device_code" => match state.polls.pop_front() {
                    Some(error) => return refused(error),
                    None => assert_eq!(form["device_code"], "dc"),
                },
                "authorization_code" => {
                    let proof = URL_SAFE_NO_PAD.encode(Sha256::digest(form["code_verifier"].as_bytes()));
                    if form["code"] != "the/code" || proof != state.challenge || form["redirect_uri"] != state.redirect {
                        return refused("invalid_grant");
                    }
                }
                "refresh_token" if state.refresh.as_ref() == Some(&form["refresh_token"]) => {}
                _ => {
                    state.refresh = None;
                    return refused("invalid_grant");
                }
            }
            state.serial += 1;
            let (access, refresh) = (format!("access-token-{}", state.serial), format!("refresh-token-{}", state.serial));
            state.access.push(access.clone());
            state.refresh = Some(refresh.clone());
            page(
                "200 OK",
                serde_json::json!({ "access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": state.lifetime }),
            )
        }
        _ => page("404 Not Found", serde_json::json!({})),
    }
}
