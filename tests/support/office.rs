//! An office as its admin sees it: a folder with files, and the `mailroom` program run in it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

/// Every user's password here.
pub const PASSWORD: &str = "lan password";

/// How long a command or a start may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with `mailroom.toml` and `mappings/`, ports of its own, a store inside.
pub struct Office {
    folder: tempfile::TempDir,
}

impl Office {
    /// Writes the files. `config` gets `[storage]` and the keys of `[listen]` (loopback, port 0) that it has not.
    pub fn new(config: &str, mapping: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("office").tempdir().unwrap();
        fs::create_dir(folder.path().join("mappings")).unwrap();
        let office = Self { folder };
        office.configure(config, mapping);
        office
    }

    /// Replaces the files.
    pub fn configure(&self, config: &str, mapping: &str) {
        self.write("mailroom.toml", &whole(config));
        self.write("mappings/office.toml", mapping);
    }

    /// Writes a file, readable by its owner alone, in one step as an editor does.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, path).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds users, each with [`PASSWORD`].
    pub fn add_users(&self, users: &[&str]) -> &Self {
        for user in users {
            self.must_with(&["user", "add", user, "--password-stdin"], &format!("{PASSWORD}\n"));
        }
        self
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailroom"));
        command.arg("--config").arg(self.path("mailroom.toml")).args(arguments).current_dir(self.folder.path());
        command
    }

    /// Runs a command to its end, whatever that is.
    pub fn call(&self, arguments: &[&str]) -> Output {
        self.call_with(arguments, "")
    }

    fn call_with(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (ended, end) = mpsc::channel::<()>();
        let (id, name) = (child.id().to_string(), arguments.join(" "));
        std::thread::spawn(move || {
            if end.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("mailroom {name} has not ended in {} s, and is ended", PATIENCE.as_secs());
                let _ = Command::new("kill").args(["-ABRT", &id]).status();
            }
        });
        // One that ends without reading it has said why.
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes());
        let output = child.wait_with_output().unwrap();
        drop(ended);
        output
    }

    /// Runs a command that has to succeed; its standard output.
    pub fn must(&self, arguments: &[&str]) -> String {
        self.must_with(arguments, "")
    }

    /// The same with something on standard input.
    pub fn must_with(&self, arguments: &[&str], input: &str) -> String {
        let output = self.call_with(arguments, input);
        assert!(output.status.success(), "mailroom {} ended with {}:\n{}", arguments.join(" "), output.status, errors(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that has to succeed and to print one JSON document.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.must(arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{} printed no JSON ({error}):\n{text}", arguments.join(" ")))
    }

    /// `fetch --json`: the figures of the collectors, whether all succeeded or not.
    pub fn fetch(&self) -> Vec<Value> {
        let output = self.call(&["fetch", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("fetch --json printed no JSON ({error}), but on stderr:\n{}", errors(&output)));
        report["collectors"].as_array().unwrap().clone()
    }

    /// Starts the gateway and waits until it says that it is ready.
    pub fn run(&self) -> Gateway {
        self.try_run().unwrap_or_else(|said| panic!("the gateway did not start:\n{said}"))
    }

    /// The same, and waits until every collector has fetched, which one that never did does without being asked: mail that is delivered
    /// afterwards is what the next `fetch` finds, and nobody is there before it.
    pub fn run_past_first_fetch(&self) -> Gateway {
        let gateway = self.run();
        until("the first fetch to end", || {
            self.json(&["status", "--json"])["collectors"].as_array().unwrap().iter().all(|collector| collector["last_run"].is_string())
        });
        gateway
    }

    /// [`Self::run`] with a variable in its environment; `None` if that ended it before it was ready.
    #[cfg(feature = "failpoints")]
    pub fn run_with(&self, name: &str, value: &str) -> Option<Gateway> {
        let mut command = self.command(&["run"]);
        command.env(name, value);
        self.start(command).ok()
    }

    /// [`Self::run`]; on an early end what it said on stderr.
    pub fn try_run(&self) -> Result<Gateway, String> {
        self.start(self.command(&["run"]))
    }

    fn start(&self, mut command: Command) -> Result<Gateway, String> {
        let log = self.path(&format!("log-{}", fs::read_dir(self.folder.path()).unwrap().count()));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        let (send, receive) = mpsc::channel();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = lines.read_line(&mut line);
            let _ = send.send(line);
            let _ = lines.read_to_end(&mut Vec::new());
        });
        let line = receive.recv_timeout(PATIENCE).unwrap_or_default();
        match line.strip_prefix("ready") {
            Some(sockets) => Ok(Gateway { child, sockets: sockets.trim().to_owned(), log }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(fs::read_to_string(log).unwrap())
            }
        }
    }
}

/// What a command said on stderr.
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn whole(config: &str) -> String {
    let mut text = config.to_owned();
    if !config.contains("[storage]") {
        text.push_str("\n[storage]\npath = \"store\"\nmin_free = \"1MB\"\n");
    }
    // No test takes a port that somebody else on the machine may want.
    let listen: String = ["pop3", "pop3s", "imap", "imaps", "submission", "submissions"]
        .iter()
        .filter(|key| !config.contains(&format!("\n{key} = [")))
        .map(|key| format!("{key} = [\"127.0.0.1:0\"]\n"))
        .collect();
    match text.contains("[listen]\n") {
        true => text = text.replace("[listen]\n", &format!("[listen]\n{listen}")),
        false => text.push_str(&format!("\n[listen]\n{listen}")),
    }
    text
}

/// A running gateway; asked to stop, and waited for, when it is dropped.
pub struct Gateway {
    child: Child,
    sockets: String,
    log: PathBuf,
}

impl Gateway {
    /// The port of `imaps`, `pop3`, …
    pub fn port(&self, key: &str) -> u16 {
        let socket = self
            .sockets
            .split(' ')
            .find_map(|s| s.strip_prefix(&format!("{key}=")))
            .unwrap_or_else(|| panic!("no {key} in “{}”", self.sockets));
        socket.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// Looks again and again until something is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The shared reference material beside the clone, if it is there; a test that needs it says when it is not.
pub fn shared(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("MAILROOM_SHARED").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = folder.join(name);
    if !path.exists() {
        eprintln!("left out: {name} is not beside the clone (MAILROOM_SHARED names another place)");
        return None;
    }
    Some(path)
}
