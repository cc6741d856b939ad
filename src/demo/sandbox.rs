//! The folder of the sandbox, the files of both sides in it, and both gateways running.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use jiff::Zoned;
use secrecy::SecretString;

use super::samples::{ANNA, CATCH_ALL, CUSTOMER, SAMPLES, STUDIO};
use crate::config::Loaded;
use crate::gateway::{Gateway, Options, files};
use crate::inbound::facts::whole;
use crate::mapping::Mailbox;
use crate::message::facts::Facts;
use crate::serve::listener::Service;
use crate::service::platform;
use crate::store::{Arrival, Deposit, Store};

/// The office's users: log-in name and full name.
pub const PEOPLE: [(&str, &str); 3] = [("anna", "Anna Linden"), ("ben", "Ben Linden"), ("carla", "Carla Weiß")];
/// Of everybody in the office.
pub const PASSWORD: &str = "demo";
/// Of every mailbox at the ISP.
pub const ISP_PASSWORD: &str = "at-the-isp";

/// A folder that goes away with everything in it.
pub struct Folder(PathBuf);

impl Folder {
    /// A new one, below the system's place for such things.
    pub fn new() -> io::Result<Folder> {
        let mut random = [0; 6];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = std::env::temp_dir().join(format!("mailroom-demo-{name}"));
        std::fs::create_dir(&path)?;
        Ok(Folder(path))
    }

    fn side(&self, name: &str, config: &str, mapping: &str) -> io::Result<PathBuf> {
        let folder = self.0.join(name);
        std::fs::create_dir_all(folder.join("mappings"))?;
        std::fs::write(folder.join("mappings/office.toml"), mapping)?;
        platform::write_private(&folder.join("isp.pass"), ISP_PASSWORD.as_bytes())?;
        let file = folder.join("mailroom.toml");
        std::fs::write(&file, config)?;
        Ok(file)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing can be done about a file that somebody else holds open; the system empties this place by itself.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running side: the stand-in ISP or the office.
pub struct Side {
    /// The gateway.
    pub gateway: Gateway,
    /// The authority of its certificate.
    pub ca: PathBuf,
}

impl Side {
    /// Where it listens.
    pub fn socket(&self, service: Service) -> anyhow::Result<SocketAddr> {
        let found = self.gateway.addresses().iter().find(|(listening, _)| *listening == service);
        found.map(|(_, address)| *address).ok_or_else(|| anyhow::anyhow!("nobody listens for {}", service.key()))
    }

    /// The store behind it.
    pub fn store(&self) -> &Store {
        self.gateway.store()
    }
}

const LISTEN: &str = r#"
[storage]
path = "store"
min_free = "1MB"

[listen]
pop3 = ["127.0.0.1:0"]
pop3s = ["127.0.0.1:0"]
imap = ["127.0.0.1:0"]
imaps = ["127.0.0.1:0"]
submission = ["127.0.0.1:0"]
submissions = ["127.0.0.1:0"]
admin = []

[access]
clients = ["127.0.0.0/8"]
"#;

/// The stand-in ISP: our own servers on a store of its own, with the sample mail in its mailboxes.
pub async fn start_isp(folder: &Folder, now: &Zoned) -> anyhow::Result<Side> {
    let config = format!(
        r#"[office]
domains = ["lindenhof.example", "linden-moebel.example", "post.example", "rossi-architetti.example"]
lan_domain = "mailbox.isp.example"
hostname = "mail.isp.example"
postmaster = "{CATCH_ALL}"
implied_addresses = false
{LISTEN}"#
    );
    // Log-ins of customers are full addresses, which imply themselves.
    let mapping = format!(
        r#"[addresses]
"anna@lindenhof.example"  = "{CATCH_ALL}"
"ben@lindenhof.example"   = "{CATCH_ALL}"
"carla@lindenhof.example" = "{CATCH_ALL}"
"*@lindenhof.example"     = "{CATCH_ALL}"
"*@linden-moebel.example" = "{CATCH_ALL}"
"#
    );
    let users = [CATCH_ALL, ANNA, STUDIO, CUSTOMER].map(|name| (name, "", ISP_PASSWORD));
    let side = start(folder.side("isp", &config, &mapping)?, &users).await?;
    let arrivals = SAMPLES.iter().map(|sample| arrival(sample.mailbox, sample.bytes(now), now)).collect();
    for outcome in side.store().arrive(arrivals).await {
        outcome?;
    }
    Ok(side)
}

/// What an ISP's own mail server would have put into the mailbox: the bytes are the ISP's, so nothing stands above them.
fn arrival(user: &str, bytes: Vec<u8>, now: &Zoned) -> Arrival {
    let facts = Facts::of(&bytes);
    let deposit = Deposit {
        mailbox: Mailbox::User(user.into()),
        folder: None,
        prefix: Bytes::new(),
        flags: 0,
        internal_date: now.timestamp().as_millisecond(),
        dedupe: None,
    };
    Arrival { deposits: vec![deposit], ..Arrival::new(whole(bytes, &facts)) }
}

/// The office: three collectors, one for each way of mapping, and two smarthosts.
pub async fn start_office(folder: &Folder, isp: &Side) -> anyhow::Result<Side> {
    let ca = isp.ca.display().to_string();
    let port = |service: Service| isp.socket(service).map(|socket| socket.port());
    let mut config = format!(
        r#"[office]
domains = ["lindenhof.example", "linden-moebel.example"]
hostname = "mail.office.lan"
postmaster = "carla"
{LISTEN}"#
    );
    let mut collector = |name: &str, protocol: &str, tls: &str, port: u16, user: &str, more: &str| {
        write!(
            config,
            r#"
[[collector]]
name = "{name}"
protocol = "{protocol}"
host = "127.0.0.1"
port = {port}
tls = "{tls}"
ca = '{ca}'
username = "{user}"
password = {{ file = "isp.pass" }}
{more}
"#
        )
    };
    let envelope = r#"envelope = { header = "Envelope-To", anchor = "top" }"#;
    collector("catch-all", "pop3", "implicit", port(Service::Pop3s)?, CATCH_ALL, &format!("after = \"delete\"\n{envelope}"))?;
    collector("anna", "pop3", "starttls", port(Service::Pop3)?, ANNA, "after = \"keep\"\ndeliver = \"anna\"")?;
    collector("studio", "imap", "implicit", port(Service::Imaps)?, STUDIO, "")?;
    let mut smarthost = |name: &str, tls: &str, port: u16, more: &str| {
        write!(config, "\n[[smarthost]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"{tls}\"\nca = '{ca}'\n{more}\n")
    };
    let own = format!("username = \"{CATCH_ALL}\"\npassword = {{ file = \"isp.pass\" }}\nsenders = [\"*@lindenhof.example\"]");
    smarthost("isp", "starttls", port(Service::Submission)?, &own)?;
    smarthost("post", "implicit", port(Service::Submissions)?, "login = \"collector\"")?;
    let mapping = format!(
        r#"[addresses]
"sales@lindenhof.example"    = ["anna", "ben"]
"rechnung@lindenhof.example" = {{ to = "carla", folder = "Rechnungen" }}
"*@linden-moebel.example"    = "*@lindenhof.example"
"{STUDIO}" = {{ share = ["anna", "ben", "carla"], otherwise = "anna" }}

[senders]
carla = {{ address = "{STUDIO}", name = "Carla Weiß" }}
"#
    );
    let users = PEOPLE.map(|(name, full)| (name, full, PASSWORD));
    start(folder.side("office", &config, &mapping)?, &users).await
}

async fn start(file: PathBuf, users: &[(&str, &str, &str)]) -> anyhow::Result<Side> {
    let Loaded { config, .. } = files::parse(&file, files::gather(&file)?)?;
    let store = Store::open(&config.storage.path)?;
    for (name, full, password) in users {
        let id = store.account_add(&Mailbox::User((*name).into()), Some(*full).filter(|full| !full.is_empty()), None).await?;
        store.password_set(id, &SecretString::from(*password)).await?;
    }
    drop(store);
    let ca = config.storage.path.join("tls").join("ca.pem");
    let gateway = Gateway::start(Options { file, last_good: false }).await?;
    Ok(Side { gateway, ca })
}
