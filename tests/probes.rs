//! What strangers and careless programs try: to be relayed for, to hide a mail in another one, to write lines of a header that are
//! not theirs. All of it against the real program, and what leaves it is looked at as the next server sees it.

use std::sync::Arc;

use serde_json::Value;

use crate::support::office::{Gateway, Office, PASSWORD, until};
use crate::support::reader::Pop3;
use crate::support::smarthost::{Fault, Smarthost};
use crate::support::smtp_client::SmtpClient;

const COPIER: &str = "127.0.0.40";
const ALARM: &str = "127.0.0.41";
const PROVIDER: &str = "127.0.0.25";
const CLIENT: &str = "127.0.0.1";

/// Two ways out, by DATA and by BDAT, and another mail system behind LMTP.
struct Site {
    office: Office,
    by_data: Arc<Smarthost>,
    by_chunks: Arc<Smarthost>,
    by_lmtp: Arc<Smarthost>,
    _runtime: tokio::runtime::Runtime,
}

impl Site {
    fn new(mapping: &str, faults: &[Fault]) -> Site {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let start = |kind: Fault| Arc::new(runtime.block_on(Smarthost::start(faults.iter().cloned().chain([kind]))));
        let [by_data, by_chunks, by_lmtp] = [Fault::With("DSN"), Fault::With("CHUNKING"), Fault::Lmtp].map(start);
        let smarthost = |name: &str, server: &Smarthost, sender: &str| {
            let port = server.address.port();
            format!(
                "[[smarthost]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\ninsecure = true\nsenders = [\"{sender}\"]\n"
            )
        };
        let config = format!(
            "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\nhostname = \"mail.office.lan\"\n\
             [listen]\nsmtp = [\"127.0.0.1:0\"]\npop3 = [\"127.0.0.1:0\"]\nsubmission = [\"127.0.0.1:0\"]\npop3s = []\nimaps = []\nsubmissions = []\n\
             [access]\nclients = [\"127.0.0.1\"]\ninbound = [\"{PROVIDER}\"]\n\
             [[device]]\nname = \"copier\"\naddress = [\"{COPIER}\"]\nsend_as = \"office@isp.example\"\nbounces = \"bob\"\n\
             [[device]]\nname = \"alarm\"\naddress = [\"{ALARM}\"]\nuser = \"bob\"\nto = \"local\"\n{}{}{}",
            smarthost("data", &by_data, "alice@example.com"),
            smarthost("chunks", &by_chunks, "bob@example.com"),
            smarthost("scans", &by_chunks, "office@isp.example"),
        );
        let office = Office::new(&config, &mapping.replace("{lmtp}", &format!("lmtp:{}", by_lmtp.address)));
        office.add_users(&["alice", "bob"]);
        Site { office, by_data, by_chunks, by_lmtp, _runtime: runtime }
    }

    fn queue(&self) -> Value {
        self.office.json(&["queue", "list", "--json"])
    }
}

fn mails(gateway: &Gateway, user: &str) -> Vec<String> {
    let mut session = Pop3::login(gateway.port("pop3"), user, PASSWORD);
    let messages = session.messages().into_iter().map(|message| String::from_utf8_lossy(&message).into_owned()).collect();
    session.quit();
    messages
}

/// Senders with which servers were talked into it: none, a stranger, one of ours, this machine by each of its names, and none of these.
const SENDERS: [&str; 14] = [
    "<>",
    "<x@spam.example>",
    "<bob@example.com>",
    "<alice@office.lan>",
    "<bob>",
    "<x@mail.office.lan>",
    "<x@localhost>",
    "<x@[127.0.0.1]>",
    "<x@[IPv6:::1]>",
    "<\"x@spam.example\"@example.com>",
    "<x%spam.example@example.com>",
    "<spam.example!x@example.com>",
    "<@example.com:x@spam.example>",
    "x@spam.example",
];

/// The forms of a recipient that the tests of abuse.net and nmap's smtp-open-relay try, and their relatives: the percent hack, bang
/// paths, source routes, quoted and nested addresses, address literals, no domain, ports, lists.
const RECIPIENTS: [&str; 60] = [
    "<victim@far.example>",
    "victim@far.example",
    "<victim@FAR.example.>",
    "<victim@far.example:25>",
    "<victim@xn--fr-fka.example>",
    "<\"victim\"@far.example>",
    "<\"victim@far.example\">",
    "<\"victim%far.example\">",
    "<\"victim@far.example\"@>",
    "<victim%far.example>",
    "<victim%far.example@example.com>",
    "<victim%far.example@office.lan>",
    "<victim%far.example@mail.office.lan>",
    "<victim%far.example@localhost>",
    "<victim%far.example@[127.0.0.1]>",
    "<victim%far.example@>",
    "<\"victim%far.example\"@example.com>",
    "<\"victim%far.example\"@mail.office.lan>",
    "<victim%far.example%office.lan@example.com>",
    "<\"victim@far.example\"@example.com>",
    "<\"victim@far.example\"@office.lan>",
    "<\"victim@far.example\"@mail.office.lan>",
    "<\"victim@far.example\"@[127.0.0.1]>",
    "<\"<victim@far.example>\"@example.com>",
    "<\"victim@far.example,\"@example.com>",
    "<victim@far.example@example.com>",
    "<victim@far.example@mail.office.lan>",
    "<victim@far.example@[127.0.0.1]>",
    "<bob@example.com@far.example>",
    "<bob%example.com@far.example>",
    "<\"bob@example.com\"@far.example>",
    "<@example.com:victim@far.example>",
    "<@mail.office.lan:victim@far.example>",
    "<@localhost:victim@far.example>",
    "<@[127.0.0.1]:victim@far.example>",
    "<@example.com,@mail.office.lan:victim@far.example>",
    "<@example.com:\"victim@far.example\"@far.example>",
    "<@far.example:victim@far.example>",
    "<@example.com:@far.example:victim@far.example>",
    "<far.example!victim>",
    "<far.example!victim@example.com>",
    "<far.example!victim@mail.office.lan>",
    "<far.example!victim@[127.0.0.1]>",
    "<example.com!far.example!victim>",
    "<example.com!far.example!victim@office.lan>",
    "<\"far.example!victim\"@example.com>",
    "<victim@[203.0.113.77]>",
    "<victim@[127.0.0.1]>",
    "<victim@[IPv6:2001:db8::1]>",
    "<victim@[far.example]>",
    "<victim@203.0.113.77>",
    "<victim@localhost>",
    "<victim@mail.office.lan>",
    "<victim@>",
    "<@far.example>",
    "<victim>",
    "<>",
    "<bob@example.com>,<victim@far.example>",
    "<bob@example.com> <victim@far.example>",
    "<victim@far.example> ORCPT=rfc822;bob@example.com",
];

/// However an address is dressed up, it leads to somebody here or nowhere: for whoever is not logged in, and for who may only write to
/// people here.
#[test]
fn nobody_is_relayed_for_whatever_the_forms_of_the_addresses() {
    let site = Site::new("[senders]\nbob = { address = \"bob@example.com\", external = false }\n", &[]);
    let gateway = site.office.run();
    let doors =
        [(PROVIDER, "smtp", ""), (ALARM, "smtp", ""), (CLIENT, "smtp", ""), (CLIENT, "submission", ""), (CLIENT, "submission", "bob")];
    let mut tried = 0;
    for (from, door, user) in doors {
        for sender in SENDERS {
            // Few at a time: a client that is refused for ever is sent away.
            for forms in RECIPIENTS.chunks(10) {
                let mut client = SmtpClient::connect(from, gateway.port(door));
                client.say("EHLO spammer.example\r\n");
                if !user.is_empty() {
                    client.log_in(user);
                }
                let welcome = client.say(&format!("MAIL FROM:{sender}\r\n"));
                let heard = from != CLIENT || !user.is_empty();
                assert!(heard || welcome.starts_with("530") || welcome.starts_with("55"), "{door} {sender}: {welcome}");
                for form in forms {
                    let reply = client.say(&format!("RCPT TO:{form}\r\n"));
                    assert!(reply.starts_with('5'), "{from} {user} {sender} {form}: {reply}");
                    tried += 1;
                }
                let reply = client.say("DATA\r\n");
                assert!(reply.starts_with("50") || reply.starts_with("554"), "{from} {user} {sender}: {reply}");
                assert!(client.say("QUIT\r\n").starts_with("221"));
            }
        }
    }
    assert_eq!(tried, doors.len() * SENDERS.len() * RECIPIENTS.len());
    assert_eq!(site.queue(), Value::Array(vec![]));
    assert_eq!(site.office.json(&["tray", "list", "--json"]), Value::Array(vec![]));
    assert!(mails(&gateway, "alice").is_empty() && mails(&gateway, "bob").is_empty());
    assert_eq!(site.by_data.connections() + site.by_chunks.connections() + site.by_lmtp.connections(), 0);
}

/// Ends of DATA that one server takes for an end and the next one does not (CVE-2023-51764 to 51766).
const FALSE_ENDS: [&str; 14] = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\r",
    "\n.\r",
    "\r.\n",
    "\r\r\n.\r\r\n",
    "\n\r.\r\n",
    "\r\n.\r\r\n",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\r\n .\r\n",
];

/// These are no line ends, so that they may come from anybody.
fn is_plain(end: &str) -> bool {
    end.contains(['\0', ' '])
}

fn smuggled(end: &str, n: usize) -> String {
    format!(
        "Subject: first {n}\r\n\r\nhello{end}MAIL FROM:<boss@example.com>\r\nRCPT TO:<victim@far.example>\r\nDATA\r\nSubject: second\r\n\r\nx"
    )
}

#[test]
fn trap_53_smuggled_mail_is_refused_from_outside_and_stays_one_message_from_who_is_known() {
    let site = Site::new("", &[]);
    let gateway = site.office.run();
    let mut taken = 0;
    for (n, end) in FALSE_ENDS.into_iter().enumerate() {
        for by_chunk in [false, true] {
            let message = smuggled(end, 2 * n + usize::from(by_chunk));
            let hand_in = |client: &mut SmtpClient, from: &str| {
                let reply = match by_chunk {
                    true => client.chunk(from, "bob@example.com", &format!("{message}\r\n")),
                    false => client.mail(from, "bob@example.com", &message),
                };
                assert!(client.say("NOOP\r\n").starts_with("250 2.0.0 Ok"), "{end:?} by {from}: out of step");
                reply
            };
            let mut provider = SmtpClient::connect(PROVIDER, gateway.port("smtp"));
            provider.say("EHLO mx.isp.example\r\n");
            let expected = if is_plain(end) { "250" } else { "554 5.6.0" };
            let reply = hand_in(&mut provider, "<x@spam.example>");
            assert!(reply.starts_with(expected), "{end:?}, by chunk: {by_chunk}: {reply}");
            let mut copier = SmtpClient::connect(COPIER, gateway.port("smtp"));
            copier.say("EHLO copier\r\n");
            assert!(hand_in(&mut copier, "<scan@copier>").starts_with("250"), "{end:?}");
            let mut user = SmtpClient::connect(CLIENT, gateway.port("submission"));
            user.say("EHLO pc7\r\n");
            user.log_in("alice");
            assert!(hand_in(&mut user, "<alice@example.com>").starts_with("250"), "{end:?}");
            taken += 2 + usize::from(is_plain(end));
        }
    }
    let bob = mails(&gateway, "bob");
    assert_eq!(bob.len(), taken);
    assert!(bob.iter().all(|mail| mail.contains("MAIL FROM:<boss@example.com>") && mail.contains("Subject: second")));
    assert_eq!(site.queue(), Value::Array(vec![]));
    assert!(mails(&gateway, "alice").is_empty());
}

/// What comes in with such ends leaves as one message with no line end but CR LF, by DATA, by BDAT and by LMTP.
#[test]
fn trap_53_what_leaves_can_not_be_taken_for_two_messages_by_any_server() {
    let site = Site::new("[addresses]\n\"lab@example.com\" = \"{lmtp}\"\n", &[]);
    let gateway = site.office.run();
    let port = gateway.port("submission");
    let mut clients = ["alice", "bob"].map(|user| {
        let mut client = SmtpClient::connect(CLIENT, port);
        client.say("EHLO pc7\r\n");
        client.log_in(user);
        client
    });
    for (n, end) in FALSE_ENDS.into_iter().enumerate() {
        let message = smuggled(end, n);
        for (client, from) in clients.iter_mut().zip(["<alice@example.com>", "<bob@example.com>"]) {
            for to in ["carol@far.example", "lab@example.com"] {
                assert!(client.mail(from, to, &message).starts_with("250"), "{end:?}");
                assert!(client.chunk(from, to, &message).starts_with("250"), "{end:?}");
            }
        }
    }
    until("the queue to be empty", || site.queue() == Value::Array(vec![]));
    let each = 2 * FALSE_ENDS.len();
    for (server, to, mails) in [
        (&site.by_data, "carol@far.example", each),
        (&site.by_chunks, "carol@far.example", each),
        (&site.by_lmtp, "lab@example.com", 2 * each),
    ] {
        let received = server.received();
        assert_eq!(received.len(), mails);
        for mail in received {
            let text = String::from_utf8_lossy(&mail.message).into_owned();
            assert_eq!(mail.recipients, [to]);
            assert!(
                mail.sender != "boss@example.com" && text.contains("\r\nMAIL FROM:<boss@example.com>\r\n") || text.contains('.'),
                "{text}"
            );
            assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text:?}");
        }
        assert!(!server.commands().iter().any(|command| command.contains("boss@example.com")));
    }
}

/// Names, subjects and file names whose letters would be lines of a header, and identifiers that would be.
#[test]
fn trap_54_no_name_subject_or_file_name_becomes_a_field() {
    let mapping = "[addresses]\n\"lab@example.com\" = \"{lmtp}\"\n\"sales@example.com\" = \"forward:rep@far.example\"\n\
                   [senders]\nalice = { address = \"alice@example.com\", name = \"Alice\\r\\nBcc: victim@far.example\\r\\n\\r\\n \\\"the boss\\\" <x@y.example>\" }\n\
                   [[rule]]\nname = \"checkup\"\nwhen = { direction = \"out\", subject = \"*approve*\" }\napprove = \"alice\"\n";
    let site = Site::new(mapping, &[Fault::Matching("gone@far.example", "550-5.1.1 X-Injected: 1\r\n550 5.1.1 Bcc: victim@far.example")]);
    let gateway = site.office.run();
    site.office.must(&["vacation", "bob", "on"]);
    let encoded = "=?utf-8?Q?hi=0D=0AX-Injected:_1=0ABcc:_victim@far.example=0D=0A=0D=0Abody?=";
    let base64 = "=?utf-8?B?aGkNClgtSW5qZWN0ZWQ6IDENCg==?=";
    let message = |from: &str, subject: &str| {
        format!(
            "From: {encoded} <{from}>\r\nReply-To: {base64} <{from}>\r\nSender: \"a\\\r\n X-Injected: 1\" <{from}>\r\n\
             To: {base64} <bob@office.lan>, \"=?utf-8?Q?x=0D=0AX-Injected:_1?=\" <lab@office.lan>\r\n\
             Disposition-Notification-To: {encoded} <{from}>\r\nSubject: {subject} {encoded} {base64}\r\nMessage-ID: <{from}\r\n X-Injected:1>\r\n\
             MIME-Version: 1.0\r\nContent-Type: application/pdf; name=\"{encoded}\"\r\n\
             Content-Disposition: attachment; filename*=utf-8''a%0D%0AX-Injected%3A%201%0D%0A.pdf\r\n\r\nX-Injected: in the body\r\n"
        )
    };
    for user in ["alice", "bob"] {
        let mut client = SmtpClient::connect(CLIENT, gateway.port("submission"));
        client.say("EHLO pc7;X-Injected:1\r\n");
        client.log_in(user);
        let from = format!("<{user}@example.com>");
        for parameter in ["ENVID=a+0D+0AX-Injected:1", "ENVID=a+00b", "ENVID=a\rb"] {
            let reply = client.say(&format!("MAIL FROM:{from} {parameter}\r\n"));
            assert!(reply.starts_with('5'), "{parameter:?}: {reply}");
        }
        for (n, to) in
            ["carol@far.example", "gone@far.example", "bob@office.lan", "lab@example.com", "sales@example.com"].iter().enumerate()
        {
            let text = message(&format!("{user}@office.lan"), if n == 0 { "approve" } else { "" });
            assert!(client.mail(&from, to, &text).starts_with("250"), "{to}");
        }
        client.say(&format!("MAIL FROM:{from}\r\n"));
        for wish in ["ORCPT=rfc822;a+0D+0AX-Injected:1", "ORCPT=rfc822;a+0A", "ORCPT=r\0;a", "NOTIFY=SUCCESS+0D+0A"] {
            let reply = client.say(&format!("RCPT TO:<carol@far.example> {wish}\r\n"));
            assert!(reply.starts_with('5'), "{wish:?}: {reply}");
        }
    }
    let mut copier = SmtpClient::connect(COPIER, gateway.port("smtp"));
    copier.say("HELO x\tX-Injected:1\r\n");
    assert!(copier.mail("<scan@copier>", "carol@far.example", &message("scan@copier", "")).starts_with("250"));
    until("only what waits for approval to be in the queue", || {
        site.queue().as_array().unwrap().iter().all(|mail| mail["recipients"][0]["state"] == "held")
    });
    // A bounce, an answer of who is away, and the question for approval are among them.
    until("the bounces", || mails(&gateway, "bob").iter().any(|mail| mail.contains("Action: failed")));
    let mut all: Vec<String> = [&site.by_data, &site.by_chunks, &site.by_lmtp]
        .iter()
        .flat_map(|server| server.received())
        .map(|mail| String::from_utf8_lossy(&mail.message).into_owned())
        .collect();
    assert!(all.len() >= 5, "{all:?}");
    all.extend(mails(&gateway, "alice"));
    all.extend(mails(&gateway, "bob"));
    for sign in ["Auto-Submitted: auto-replied", "Action: failed", "via sales@example.com"] {
        assert!(all.iter().any(|mail| mail.contains(sign)), "{sign}: {all:#?}");
    }
    for mail in &all {
        let (header, _) = mail.split_once("\r\n\r\n").unwrap();
        let fields = header.lines().filter(|line| !line.starts_with([' ', '\t']));
        let names: Vec<&str> = fields.map(|line| line.split_once(':').unwrap_or_else(|| panic!("{line:?} in {mail}")).0).collect();
        assert!(!names.iter().any(|name| name.eq_ignore_ascii_case("x-injected") || name.eq_ignore_ascii_case("bcc")), "{mail}");
        assert!(!header.replace("\r\n", "").contains(['\r', '\n']), "{mail:?}");
    }
    for server in [&site.by_data, &site.by_chunks, &site.by_lmtp] {
        assert!(!server.commands().iter().any(|command| command.contains("victim")), "{:?}", server.commands());
    }
}
