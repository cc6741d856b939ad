//! What happened to somebody's users when they fetched mail, trap by trap: `tests/TRAPS.md` tells which test stands for which.

use std::time::Duration;

use super::Office;
use crate::interop::isp::{Dovecot, PASSWORD};
use crate::support::imap_upstream;
use crate::support::pop3_upstream::{Faults, Pop3Upstream};
use crate::support::reader::Imap;
use mailroom::mapping::Mailbox;
use mailroom::schedule::Failure;
use mailroom::store::ledger::State;

/// To alice, unless it says otherwise.
pub(super) fn mail(id: &str, more: &str, body: &str) -> String {
    format!("{more}From: x@far.example\r\nTo: alice@example.com\r\nMessage-ID: <{id}@far.example>\r\nSubject: {id}\r\n\r\n{body}\r\n")
}

async fn isp(messages: &[String], faults: Faults) -> Pop3Upstream {
    let ids: Vec<String> = (1..=messages.len()).map(|n| format!("u{n}")).collect();
    let messages: Vec<(&str, &str)> = ids.iter().map(String::as_str).zip(messages.iter().map(String::as_str)).collect();
    Pop3Upstream::start(&messages, faults).await
}

fn letters(count: usize) -> Vec<String> {
    (0..count).map(|n| mail(&n.to_string(), "", "a letter")).collect()
}

/// Changes the store behind the program's back.
pub(super) fn tamper(office: &Office, sql: &str) {
    let database = rusqlite::Connection::open(office.dir.path().join("store/mailroom.db")).unwrap();
    database.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn trap_02_a_deletion_that_is_never_carried_out_is_asked_for_again_and_told() {
    let isp = isp(&letters(3), Faults { keeps_deleted: true, ..Faults::default() }).await;
    let office = Office::new("pop3", isp.port, "").await;
    for _ in 0..3 {
        office.fetch_well().await;
        assert!(office.states().await.iter().all(|(_, state)| *state == State::DeleteSent));
    }
    assert_eq!((isp.count("RETR"), isp.count("DELE")), (3, 9));
    let books = async || office.store.reconcile("127.0.0.1", "office").await.unwrap();
    assert_eq!(books().await.undeleted, 0, "today it may still come");
    tamper(&office, "UPDATE ledger SET changed = changed - 2 * 86400000");
    office.fetch_well().await;
    assert_eq!((books().await.undeleted, books().await.unaccounted), (3, 0));
    isp.faults(Faults::default());
    office.fetch_well().await;
    assert!(office.states().await.iter().all(|(_, state)| *state == State::DeleteSent), "gone only when it is no longer listed");
    office.fetch_well().await;
    assert!(office.states().await.is_empty());
    assert_eq!((books().await.undeleted, books().await.delivered), (0, 3));
}

/// By IMAP: the folder was made anew, and everything in it has another UIDVALIDITY and other UIDs.
#[tokio::test]
async fn trap_05_a_new_uidvalidity_fetches_nothing_again() {
    const TEXT: &str = "To: alice@example.com\r\nMessage-ID: <one@far>\r\n\r\none\r\n";
    let before: Vec<(String, String)> = vec![
        ("EXAMINE".into(), "* 1 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n$ OK done\r\n".into()),
        ("UID SEARCH".into(), "* SEARCH 5\r\n$ OK done\r\n".into()),
        ("UID FETCH 5 (UID RFC822.SIZE".into(), "* 1 FETCH (UID 5 RFC822.SIZE 60)\r\n$ OK done\r\n".into()),
        ("UID FETCH 5 (UID INTERNALDATE BODY".into(), format!("* 1 FETCH (UID 5 BODY[] {{{}}}\r\n{TEXT})\r\n$ OK done\r\n", TEXT.len())),
    ];
    let header = TEXT.split_inclusive("\r\n\r\n").next().unwrap();
    let after: Vec<(String, String)> = vec![
        ("EXAMINE".into(), "* 1 EXISTS\r\n* OK [UIDVALIDITY 8] ok\r\n$ OK done\r\n".into()),
        ("UID SEARCH".into(), "* SEARCH 1\r\n$ OK done\r\n".into()),
        (
            "UID FETCH 1 (UID INTERNALDATE BODY.PEEK[HEADER])".into(),
            format!("* 1 FETCH (UID 1 BODY[HEADER] {{{}}}\r\n{header})\r\n$ OK done\r\n", header.len()),
        ),
        ("UID FETCH".into(), "$ BAD it is known\r\n".into()),
    ];
    let greeting = "* OK [CAPABILITY IMAP4rev1] ready";
    let (port, _) = imap_upstream::start_logged(greeting, before).await;
    let mut office = Office::new("imap", port, "after = \"keep\"").await;
    assert_eq!(office.fetch_well().await.delivered, 1);
    let (port, _) = imap_upstream::start_logged(greeting, after).await;
    office.configure("imap", port, "after = \"keep\"").await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.known, figures.fetched), (1, 0));
    assert_eq!(office.states().await, [("8.1".to_owned(), State::Stored)]);
}

/// Mail from before `start` has no header here to be compared with.
#[tokio::test]
async fn trap_05_mail_that_start_left_out_stays_out_when_all_ids_change() {
    let dated = |id: &str, year: u32| mail(id, &format!("Received: from a by b; Mon, 1 Jan {year} 10:00:00 +0000\r\n"), "old");
    let isp = isp(&[dated("one", 2018), dated("two", 2024)], Faults::default()).await;
    let office = Office::new("pop3", isp.port, "start = \"new\"\nafter = \"keep\"").await;
    assert_eq!(office.fetch_well().await.fetched, 0);
    let renumber = |to: &str| {
        let mut state = isp.state.lock().unwrap();
        state.messages.iter_mut().enumerate().for_each(|(n, message)| message.0 = format!("{to}{n}"));
    };
    renumber("moved");
    let figures = office.fetch_well().await;
    assert_eq!((figures.known, figures.fetched), (2, 0));
    // And once more, with something new among them.
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(10);
    let now = jiff::fmt::rfc2822::to_string(&now.to_zoned(jiff::tz::TimeZone::UTC)).unwrap();
    let fresh = mail("fresh", &format!("Received: from a by b; {now}\r\n"), "new");
    isp.state.lock().unwrap().messages.push(("fresh".into(), fresh.into_bytes()));
    renumber("again");
    let figures = office.fetch_well().await;
    assert_eq!((figures.known, figures.fetched), (2, 1));
}

/// `start` as an age and as a date: what is older is left alone, whatever ids it has.
#[tokio::test]
async fn trap_05_what_is_older_than_start_stays_out_when_all_ids_change() {
    let dated = |id: &str, when: &str| mail(id, &format!("Received: from a by b; {when}\r\n"), "a letter");
    let hours_ago = |hours: i64| {
        let then = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(hours);
        jiff::fmt::rfc2822::to_string(&then.to_zoned(jiff::tz::TimeZone::UTC)).unwrap()
    };
    for (start, limit) in [("7d", 7 * 24), ("2024-05-01", 0)] {
        let (old, young) = match limit {
            0 => ("Tue, 30 Apr 2024 11:00:00 +0000".to_owned(), "Thu, 2 May 2024 13:00:00 +0000".to_owned()),
            hours => (hours_ago(hours + 2), hours_ago(hours - 2)),
        };
        let messages = [dated("one", &old), dated("two", &young), mail("three", "", "without any date"), dated("four", &hours_ago(1))];
        let isp = isp(&messages, Faults::default()).await;
        let more = format!("start = \"{start}\"\nafter = \"keep\"");
        let office = Office::new("pop3", isp.port, &more).await;
        let (outcome, notices) = office.fetch_telling().await;
        assert_eq!((outcome.figures.fetched, isp.count("RETR 1")), (3, 0), "{start}: too much is better than too little");
        assert!(
            notices.iter().any(|text| text.contains("4 messages are there; 1 of them stay as they are (start), 3 are fetched")),
            "{notices:?}"
        );
        for renumbered in ["moved", "again"] {
            isp.state.lock().unwrap().messages.iter_mut().enumerate().for_each(|(n, message)| message.0 = format!("{renumbered}{n}"));
            isp.forget_commands();
            let figures = office.fetch_well().await;
            assert_eq!((figures.known, figures.fetched, isp.count("RETR")), (4, 0, 0), "{start} {renumbered}");
        }
    }
}

/// The same by IMAP, where the server says when a message arrived and a new UIDVALIDITY voids all UIDs.
#[tokio::test]
async fn trap_05_what_is_older_than_start_stays_out_when_uidvalidity_changes() {
    let dovecot = Dovecot::start();
    dovecot.deliver("office", [mail("old", "", "x").as_bytes()]);
    dovecot.date_back("office", Duration::from_secs(10 * 86_400));
    dovecot.deliver("office", [mail("young", "", "x").as_bytes()]);
    let more = format!("start = \"7d\"\nafter = \"keep\"\ndeliver = \"alice\"\npassword = {{ command = [\"echo\", \"{PASSWORD}\"] }}");
    let mut office = Office::new("imap", dovecot.imap, &more).await;
    office.moment = Duration::from_secs(10);
    let validity = || String::from_utf8(Imap::login(dovecot.imap, "office", PASSWORD).run("STATUS INBOX (UIDVALIDITY)").concat()).unwrap();
    assert_eq!(office.fetch_well().await.fetched, 1);
    let before = validity();
    dovecot.renumber("office");
    assert_ne!(validity(), before);
    let figures = office.fetch_well().await;
    assert_eq!((figures.known, figures.fetched), (2, 0));
}

#[tokio::test]
async fn trap_07_without_uidl_and_top_only_deletion_tells_old_from_new() {
    let faults = || Faults { no_uidl: true, answers: vec![("TOP", "-ERR what?")], ..Faults::default() };
    let isp = isp(&letters(2), faults()).await;
    let mut office = Office::new("pop3", isp.port, "after = \"7d\"").await;
    let outcome = office.fetch().await;
    assert!(outcome.figures.error.unwrap_or_default().contains("only after = \"delete\" is possible"));
    assert_eq!(isp.count("RETR"), 0);
    office.configure("pop3", isp.port, "").await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.fetched, figures.deleted), (2, 2));
    assert!(isp.uidls().is_empty());
}

#[tokio::test]
async fn trap_08_numbers_mean_nothing_from_one_session_to_the_next() {
    let isp = isp(&letters(3), Faults::default()).await;
    let office = Office::new("pop3", isp.port, "after = \"keep\"").await;
    office.fetch_well().await;
    let new = mail("new", "", "the new one");
    {
        let mut state = isp.state.lock().unwrap();
        state.messages.remove(0);
        state.messages.push(("u4".into(), new.clone().into_bytes()));
    }
    isp.forget_commands();
    let figures = office.fetch_well().await;
    assert_eq!((figures.known, figures.fetched), (2, 1));
    assert_eq!((isp.count("RETR 3"), isp.count("RETR")), (1, 1), "number 3 was another message before");
    assert_eq!(office.originals().await.last(), Some(&new));
}

const IMAP: &str = "* OK [CAPABILITY IMAP4rev1 UIDPLUS] ready";

/// A folder with these UIDs and a body for each; asked in any other way it says BAD.
fn folder(uids: &[u32], peek: bool) -> Vec<(String, String)> {
    let list = uids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let each = |form: &dyn Fn(u32) -> String| uids.iter().map(|uid| form(*uid)).collect::<String>();
    let sizes = each(&|uid| format!("* 1 FETCH (UID {uid} RFC822.SIZE 29)\r\n"));
    let bodies = each(&|uid| format!("* 1 FETCH (UID {uid} BODY[] {{29}}\r\nTo: alice@example.com\r\n\r\n{:>3}\n)\r\n", uid % 1000));
    let mut script = vec![
        ("EXAMINE".to_owned(), "* OK [UIDVALIDITY 7] ok\r\n$ OK done\r\n".to_owned()),
        ("UID SEARCH ALL".to_owned(), format!("* SEARCH {list}\r\n$ OK done\r\n")),
    ];
    if peek {
        let set = if uids.len() > 1 { format!("{}:{}", uids[0], uids[uids.len() - 1]) } else { uids[0].to_string() };
        script.push((format!("UID FETCH {set} (UID RFC822.SIZE"), format!("{sizes}$ OK done\r\n")));
        script.push((format!("UID FETCH {set} (UID INTERNALDATE BODY.PEEK[])"), format!("{bodies}$ OK done\r\n")));
    }
    script.push(("UID".to_owned(), "$ BAD not like this\r\n".to_owned()));
    script
}

/// `UID n+1:*` gives the last message where there is nothing new, and sizes of everything make proxies download everything.
#[tokio::test]
async fn trap_09_trap_18_where_nothing_is_new_nothing_is_asked_for() {
    let (port, _) = imap_upstream::start_logged(IMAP, folder(&[5, 9], true)).await;
    let mut office = Office::new("imap", port, "after = \"keep\"").await;
    assert_eq!(office.fetch_well().await.fetched, 2);
    let (port, log) = imap_upstream::start_logged(IMAP, folder(&[5, 9], false)).await;
    office.configure("imap", port, "after = \"keep\"").await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.listed, figures.known, figures.fetched), (2, 2, 0));
    let log = log.lock().unwrap().join("\n");
    assert!(!log.contains(":*") && !log.contains("FETCH"), "{log}");
}

#[tokio::test]
async fn trap_17_uids_of_hundreds_of_millions_are_listed_and_not_walked() {
    let (port, log) = imap_upstream::start_logged(IMAP, folder(&[7, 400_000_009], true)).await;
    let office = Office::new("imap", port, "after = \"keep\"").await;
    assert_eq!(office.fetch_well().await.fetched, 2);
    assert!(log.lock().unwrap().len() < 12, "{:?}", log.lock().unwrap());
}

#[tokio::test]
async fn trap_10_what_a_phone_has_read_is_fetched_and_what_it_has_not_stays_unread() {
    let dovecot = Dovecot::start();
    let letters = letters(3);
    dovecot.deliver("office", letters.iter().map(String::as_bytes));
    let mut phone = Imap::login(dovecot.imap, "office", PASSWORD);
    phone.run("SELECT INBOX");
    phone.run("STORE 1:2 +FLAGS (\\Seen)");
    // Something may have to be changed upstream later or not: the folder is opened for writing or for reading.
    for after in ["keep", "7d"] {
        let more = format!("deliver = \"alice\"\nafter = \"{after}\"\npassword = {{ command = [\"echo\", \"{PASSWORD}\"] }}");
        let mut office = Office::new("imap", dovecot.imap, &more).await;
        office.moment = Duration::from_secs(10);
        assert_eq!(office.fetch_well().await.delivered, 3);
        // A session sees what another one marked when it looks for news.
        phone.run("NOOP");
        let unseen = phone.run("UID SEARCH UNSEEN").concat();
        assert!(unseen.starts_with(b"* SEARCH 3"), "{after}: {}", String::from_utf8_lossy(&unseen));
    }
}

#[tokio::test]
async fn trap_11_only_the_same_message_is_a_duplicate() {
    let same = mail("same", "", "one");
    let messages = [
        same.clone(),
        same,
        mail("same", "", "another text under the same Message-ID"),
        mail("other", "", "one").replace("Subject: other", "Subject: same"),
    ];
    let isp = isp(&messages, Faults::default()).await;
    let office = Office::new("pop3", isp.port, "").await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.delivered, figures.duplicate), (3, 1));
    assert_eq!((office.has("alice").await, office.originals().await.len()), (3, 4), "the duplicate's original is in the journal");
}

/// The provider stores one copy for each recipient; To names them all.
#[tokio::test]
async fn trap_12_copies_for_two_are_two_and_not_four() {
    let copy = |to: &str| {
        format!(
            "Delivered-To: {to}\r\nReceived: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\nFrom: x@far.example\r\n\
             To: alice@example.com, office@example.com\r\nMessage-ID: <both@far.example>\r\n\r\nto both\r\n"
        )
    };
    let isp = isp(&[copy("alice@example.com"), copy("office@example.com")], Faults::default()).await;
    let office = Office::new("pop3", isp.port, "").await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.delivered, figures.duplicate), (2, 0));
    assert_eq!((office.has("alice").await, office.has("bob").await), (1, 1));
}

#[tokio::test]
async fn trap_13_two_fetches_of_one_mailbox_take_turns() {
    let isp = isp(&letters(40), Faults::default()).await;
    let mut office = Office::new("pop3", isp.port, "after = \"keep\"").await;
    office.moment = Duration::from_secs(10);
    let (one, two) = tokio::join!(office.fetch_well(), office.fetch_well());
    assert_eq!((one.fetched + two.fetched, one.known + two.known), (40, 40), "the second knew what the first had brought");
    assert_eq!((isp.count("RETR"), office.has("alice").await), (40, 40));
}

#[tokio::test]
async fn trap_15_a_first_fetch_says_what_is_there_and_what_will_become_of_it() {
    let isp = isp(&letters(3), Faults::default()).await;
    let office = Office::new("pop3", isp.port, "").await;
    let (_, notices) = office.fetch_telling().await;
    assert!(notices.iter().any(|text| text.contains("3 messages are there") && text.contains("deleted at the provider")), "{notices:?}");
    let (_, notices) = office.fetch_telling().await;
    assert!(notices.is_empty(), "{notices:?}");
}

/// Gmail's POP3 shows some hundred at a time, and what was retrieved never again, deleted or not.
#[tokio::test]
async fn trap_16_a_provider_that_shows_a_part_is_asked_until_there_is_no_more() {
    let isp = isp(&letters(7), Faults { shows: Some(2), ..Faults::default() }).await;
    let mut office = Office::new("pop3", isp.port, "after = \"keep\"").await;
    office.alter(|config| config.collectors[0].partial_listing = true);
    let figures = office.fetch_well().await;
    assert_eq!((figures.fetched, office.has("alice").await), (7, 7));
    assert!(isp.count("USER") >= 4, "a session for each part");
}

/// One message under two labels is in two folders; whoever gets it has it once.
#[tokio::test]
async fn trap_16_one_message_under_two_labels_comes_once() {
    let dovecot = Dovecot::start();
    let more = format!("folders = [\"INBOX\", \"Label\"]\nafter = \"keep\"\npassword = {{ command = [\"echo\", \"{PASSWORD}\"] }}");
    let mut office = Office::new("imap", dovecot.imap, &more).await;
    office.moment = Duration::from_secs(10);
    let without_id = "From: x@far.example\r\nTo: alice@example.com\r\n\r\nwithout Message-ID\r\n".to_owned();
    dovecot.deliver("office", [mail("one", "", "text").as_bytes(), without_id.as_bytes()]);
    let mut labels = Imap::login(dovecot.imap, "office", PASSWORD);
    for command in ["CREATE Label", "SELECT INBOX", "COPY 1:2 Label"] {
        labels.run(command);
    }
    let figures = office.fetch_well().await;
    assert_eq!((figures.delivered, figures.duplicate, office.has("alice").await), (2, 2, 2));
}

/// A session that goes on for hours must not keep everybody waiting for its end.
#[tokio::test]
async fn trap_19_mail_is_delivered_while_more_is_fetched() {
    let isp = isp(&letters(60), Faults { silent_at: Some("u60"), ..Faults::default() }).await;
    let mut office = Office::new("pop3", isp.port, "").await;
    office.moment = Duration::from_secs(60);
    let watching = async {
        while office.has("alice").await < 50 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        outcome = office.fetch() => panic!("the fetch ended first: {outcome:?}"),
        seen = tokio::time::timeout(Duration::from_secs(30), watching) => seen.expect("nothing was delivered while the fetch went on"),
    }
}

#[tokio::test]
async fn trap_25_a_listed_size_is_a_hint() {
    let large = mail("large", "", &"a line of the large one\r\n".repeat(120_000));
    for size in [0, 1, 90_000_000] {
        let isp = isp(&[large.clone(), mail("small", "", "x")], Faults { size: Some(size), ..Faults::default() }).await;
        let mut office = Office::new("pop3", isp.port, "").await;
        office.moment = Duration::from_secs(20);
        assert_eq!(office.fetch_well().await.delivered, 2, "{size}");
        assert_eq!(office.originals().await[0], large, "{size}");
        assert!(isp.uidls().is_empty());
    }
}

#[tokio::test]
async fn trap_27_bombs_are_delivered_whole() {
    let recipients = (0..20_000).map(|n| format!("r{n}@far.example")).collect::<Vec<_>>().join(",\r\n ");
    let header = mail("many", &format!("Cc: {recipients}\r\n"), "x");
    let fields = mail("fields", &"X-Field: y\r\n".repeat(50_000), "x");
    let open = |n: usize| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n");
    let nested =
        mail("nested", "", "").trim_end().to_owned() + "\r\nMIME-Version: 1.0\r\n" + &(0..3000).map(open).collect::<String>() + "\r\nx\r\n";
    let messages = [header, fields, nested];
    let isp = isp(&messages, Faults::default()).await;
    let mut office = Office::new("pop3", isp.port, "deliver = \"alice\"").await;
    office.moment = Duration::from_secs(20);
    let figures = office.fetch_well().await;
    assert_eq!((figures.delivered, figures.quarantined), (3, 0));
    assert_eq!(office.originals().await, messages);
}

/// What stands above a served message, in the first copy that somebody has.
async fn prefix(office: &Office) -> String {
    let alice = office.store.account(&Mailbox::User("alice".into())).await.unwrap().unwrap().id;
    let inbox = office.store.folder_by_name(alice, "INBOX").await.unwrap().unwrap().id;
    let (_, bytes) = office.store.message(inbox, 1, 2000).await.unwrap().unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn trap_29_without_a_return_path_the_sender_is_null_and_a_broken_one_stays_as_it_is() {
    for (more, first) in [("", "Return-Path: <>\r\nDelivered-To: "), ("Return-Path: no address @\r\n", "Delivered-To: ")] {
        let isp = isp(&[mail("one", more, "x")], Faults::default()).await;
        let office = Office::new("pop3", isp.port, "").await;
        office.fetch_well().await;
        let served = prefix(&office).await;
        assert!(served.starts_with(first) && !served.contains("<@>"), "{served}");
        assert!(more.is_empty() || served.contains(more));
    }
}

#[tokio::test]
async fn trap_40_a_pause_that_the_server_wants_is_kept() {
    let capabilities = ["USER\r\nTOP\r\n", "TOP\r\nLOGIN-DELAY 900 USER\r\n"];
    let isp = isp(&letters(1), Faults { capabilities, ..Faults::default() }).await;
    let office = Office::new("pop3", isp.port, "").await;
    assert_eq!(office.fetch().await.login_delay, Some(900));
}

#[tokio::test]
async fn trap_48_capabilities_count_in_any_case_and_anew_after_the_log_in() {
    // Offered before the log-in and no longer after it: one request at a time.
    let capabilities = ["user\r\ntop\r\npipelining\r\n", "top\r\nuidl\r\n"];
    let before = isp(&letters(3), Faults { capabilities, ..Faults::default() }).await;
    let office = Office::new("pop3", before.port, "").await;
    assert_eq!(office.fetch_well().await.fetched, 3);
    assert_eq!(before.state.lock().unwrap().ahead, 0);
    // Offered after it, and written small.
    let capabilities = ["user\r\n", "top\r\npipelining\r\n"];
    let after = isp(&letters(3), Faults { capabilities, ..Faults::default() }).await;
    let office = Office::new("pop3", after.port, "").await;
    assert_eq!(office.fetch_well().await.fetched, 3);
    assert_eq!(after.state.lock().unwrap().ahead, 2);
}

#[tokio::test]
async fn trap_49_a_server_without_top_is_not_asked_for_headers() {
    let large = mail("large", "", &"x\r\n".repeat(1000));
    for faults in [
        Faults { capabilities: ["USER\r\n", "USER\r\nUIDL\r\n"], ..Faults::default() },
        Faults { answers: vec![("TOP", "-ERR not today")], ..Faults::default() },
    ] {
        let claims = faults.answers.len();
        let isp = isp(&[large.clone(), mail("small", "", "x")], faults).await;
        let office = Office::new("pop3", isp.port, "max_size = \"1KB\"\nafter = \"keep\"").await;
        let figures = office.fetch_well().await;
        assert_eq!((figures.delivered, figures.stub), (1, 1));
        assert_eq!(isp.count("TOP"), claims);
    }
    // Once it has refused, nothing more is asked, for whatever purpose: here dates, and then a stub.
    let isp = isp(&[large, mail("small", "", "x")], Faults { answers: vec![("TOP", "-ERR not today")], ..Faults::default() }).await;
    let office = Office::new("pop3", isp.port, "max_size = \"1KB\"\nafter = \"keep\"\nstart = \"7d\"").await;
    assert_eq!(office.fetch_well().await.stub, 1);
    assert_eq!(isp.count("TOP"), 2);
}

/// A message as TOP is a header for recognising it, and no more.
#[tokio::test]
async fn trap_49_a_server_whose_top_gives_everything_is_understood() {
    let isp = isp(&letters(3), Faults { whole_top: true, ..Faults::default() }).await;
    let office = Office::new("pop3", isp.port, "after = \"keep\"").await;
    office.fetch_well().await;
    isp.state.lock().unwrap().messages.iter_mut().for_each(|message| message.0 = format!("new {}", message.0));
    let figures = office.fetch_well().await;
    assert_eq!((figures.known, figures.fetched), (3, 0));
}

#[tokio::test]
async fn trap_52_endless_answers_end_the_session() {
    let endless = |line: &str| format!("{}$ OK done\r\n", line.repeat(200_000));
    for (command, answer) in [
        ("CAPABILITY", endless("* 1 EXISTS\r\n")),
        ("EXAMINE", endless("* OK still there\r\n")),
        ("UID SEARCH", endless("* SEARCH 1 2 3 4 5 6 7 8 9\r\n")),
        ("LOGIN", format!("* {}\r\n$ OK done\r\n", "x".repeat(20_000_000))),
        ("UID FETCH 5 (UID INT", endless("* OK still there\r\n")),
        ("UID FETCH 5 (UID INT", endless("* 1 FETCH (UID 6 BODY[] {1}\r\nx)\r\n")),
        ("UID FETCH 5 (UID INT", format!("* LIST {}", "{1}\r\nx".repeat(200_000))),
    ] {
        let mailbox =
            [("EXAMINE", "* 1 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n$ OK done\r\n"), ("UID SEARCH", "* SEARCH 5\r\n$ OK done\r\n")];
        let mut script = vec![(command.to_owned(), answer)];
        script.extend(mailbox.map(|(begin, answer)| (begin.to_owned(), answer.to_owned())));
        let (port, _) = imap_upstream::start_logged("* OK ready", script).await;
        let mut office = Office::new("imap", port, "after = \"keep\"").await;
        office.moment = Duration::from_secs(20);
        let error = office.fetch().await.figures.error.unwrap_or_default();
        assert!(error.contains("make no sense"), "{command}: {error}");
    }
    let isp = isp(&[], Faults { capabilities: [Box::leak("X-YES\r\n".repeat(1000).into_boxed_str()), ""], ..Faults::default() }).await;
    let office = Office::new("pop3", isp.port, "").await;
    assert!(office.fetch().await.figures.error.unwrap_or_default().contains("more than 200 lines"));
}

#[tokio::test]
async fn broken_books_are_found_out() {
    let isp =
        isp(&[mail("a", "", "x"), mail("b", "", "x").replace("alice@", "nobody@elsewhere."), mail("c", "", "x")], Faults::default()).await;
    let office = Office::new("pop3", isp.port, "after = \"keep\"").await;
    office.fetch_well().await;
    let books = async || office.store.reconcile("127.0.0.1", "office").await.unwrap();
    let sound = books().await;
    assert_eq!((sound.listed, sound.fetched, sound.delivered, sound.held, sound.unaccounted), (3, 3, 2, 1, 0));
    assert_eq!(sound.to_string(), "3 listed: 2 delivered, 1 held; 0 unaccounted for");
    // Something that the ledger calls held, and nobody took out of the tray.
    tamper(&office, "DELETE FROM tray");
    assert_eq!(books().await.unaccounted, 1);
    // Something that it calls delivered, and whose life nobody knows.
    tamper(&office, "DELETE FROM trace WHERE message_id = 'a@far.example'");
    assert_eq!(books().await.unaccounted, 2);
    tamper(&office, "UPDATE ledger SET outcome = 'nonsense' WHERE uid = 'u3'");
    assert_eq!(books().await.unaccounted, 3);
    tamper(&office, "UPDATE source SET missing = 4");
    assert_eq!((books().await.unaccounted, books().await.listed), (7, 7));
}

#[tokio::test]
async fn every_kind_of_failure_has_its_class_and_is_said_in_plain_words() {
    for (answer, failure, words) in [
        ("-ERR [SYS/TEMP] later", Failure::Temporary, "the server can't do this now"),
        ("-ERR [IN-USE] locked", Failure::Temporary, "the mailbox is in use by another session"),
        ("-ERR [LOGIN-DELAY] slow down", Failure::Throttled, "a longer pause between log-ins"),
        ("-ERR [AUTH] no", Failure::LogIn, "the server refused user name or password"),
        ("-ERR no", Failure::LogInPerhaps, "perhaps because of the password"),
    ] {
        let isp = isp(&letters(1), Faults { answers: vec![("PASS", answer)], ..Faults::default() }).await;
        let outcome = Office::new("pop3", isp.port, "").await.fetch().await;
        assert_eq!(outcome.failure, Some(failure), "{answer}");
        let error = outcome.figures.error.unwrap_or_default();
        assert!(error.contains(words) && error.contains(&answer[5..]), "{error}");
    }
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let silent = isp(&[], Faults { stall: Some("greeting"), ..Faults::default() }).await;
    let dovecot = Dovecot::start();
    for (port, more, failure, words) in [
        (closed, "", Failure::Network, "nothing listens there; check host and port"),
        (silent.port, "", Failure::Network, "waiting for the server's greeting: no answer in time"),
        (dovecot.pop3s, "tls = \"implicit\"", Failure::Certificate, "nobody whom this machine trusts has signed it"),
    ] {
        let mut office = Office::new("pop3", port, more).await;
        office.moment = Duration::from_secs(2);
        let outcome = office.fetch().await;
        assert_eq!(outcome.failure, Some(failure), "{:?}", outcome.figures.error);
        assert!(outcome.figures.error.as_deref().is_some_and(|error| error.contains(words)), "{:?}", outcome.figures.error);
    }
}

/// Some servers hang up on what they can't read, and send not a byte of it.
#[tokio::test]
async fn trap_20_a_message_at_which_the_server_hangs_up_blocks_nothing_behind_it() {
    let isp = isp(&letters(3), Faults { hangs_up_at: Some("u2"), ..Faults::default() }).await;
    let office = Office::new("pop3", isp.port, "").await;
    for round in 0..5 {
        office.fetch().await;
        let new = mail(&format!("round {round}"), "", "new");
        isp.state.lock().unwrap().messages.push((format!("round {round}"), new.into_bytes()));
    }
    assert!(office.has("alice").await >= 5);
    assert!(office.tray().await.iter().any(|reason| reason.contains("broke off")), "{:?}", office.states().await);
    office.fetch_well().await;
    assert_eq!(isp.uidls(), ["u2"], "the original stays at the provider");
}
