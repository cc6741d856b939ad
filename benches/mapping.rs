//! How long a mapping takes to load, and a decision to make, with ten, ten thousand and a hundred thousand rules in a hundred domains.
//! `cargo bench --bench mapping`; the figures stand in RESULTS.md.

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{BenchmarkId, Criterion};
use mailroom::address::{Address, Domain};
use mailroom::inbound::recipients::{self, Mail, Source};
use mailroom::mapping::{Fetched, Mapping, Office};
use mailroom::message::header::Header;

const DOMAINS: usize = 100;
const RULES: [usize; 3] = [10, 10_000, 100_000];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    load(&mut criterion);
    decide(&mut criterion);
    criterion.final_summary();
}

fn load(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    for rules in RULES {
        let (office, files) = made(rules);
        group.bench_function(BenchmarkId::from_parameter(rules), |bench| bench.iter(|| Mapping::load(black_box(&files), &office).is_ok()));
    }
}

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    for rules in RULES {
        let (office, files) = made(rules);
        let (mapping, _) = Mapping::load(&files, &office).unwrap_or_else(|problems| panic!("{}", problems[0]));
        let message = message(rules);
        group.bench_function(BenchmarkId::from_parameter(rules), |bench| {
            bench.iter(|| {
                let header = Header::parse(message.as_bytes());
                let mail = Mail { header: &header, size: message.len() as u64, returned: None };
                let decision = recipients::decide(&mapping, black_box(mail), Source::default(), &|_| None);
                assert_eq!(decision.recipients.len(), 1);
                decision
            });
        });
    }
}

/// A fifth each: exact entries, patterns with a prefix, patterns with a suffix, `[[rule]]`s by sender, `[[rule]]`s by recipient.
fn made(rules: usize) -> (Office, [(PathBuf, String); 1]) {
    let domain = |number: usize| format!("d{}.example", number % DOMAINS);
    let mut addresses = String::from("[addresses]\n");
    let mut conditions = String::new();
    for number in 0..rules {
        let at = domain(number);
        match number % 5 {
            0 => addresses += &format!("'person{number}@{at}' = 'alice'\n"),
            1 => addresses += &format!("'p{number}-*@{at}' = 'bob'\n"),
            2 => addresses += &format!("'*-shop{number}@{at}' = ['alice', 'bob']\n"),
            3 => conditions += &format!("[[rule]]\nwhen = {{ from = '*@supplier{number}.example' }}\nfolder = 'S'\n"),
            _ => conditions += &format!("[[rule]]\nwhen = {{ to = 'desk{number}@{at}', subject = '*urgent*' }}\nadd = ['alice']\n"),
        }
    }
    let office = Office {
        domains: (0..DOMAINS).map(|number| Domain::parse(&domain(number)).expect("a domain")).collect(),
        lan_domain: Domain::parse("office.lan").expect("a domain"),
        implied: Vec::new(),
        postmaster: "alice".into(),
        collectors: vec![Fetched { name: "isp".into(), address: Address::parse("all@isp.example").ok(), deliver: None }],
        smarthosts: Vec::new(),
        users: vec![("alice".into(), None), ("bob".into(), None)],
        mentions: Vec::new(),
    };
    (office, [("mappings/bench.toml".into(), addresses + &conditions)])
}

/// The header of a normal message, for an address in the middle of the file.
fn message(rules: usize) -> String {
    let number = rules / 2 / 5 * 5 + 1;
    format!(
        "Return-Path: <carla@supplier3.example>\r\n\
         X-Original-To: p{number}-tea@d{}.example\r\n\
         Delivered-To: m0017@box.hoster.example\r\n\
         Received: from mail.customer.example (mail.customer.example [198.51.100.20])\r\n\tby mx.hoster.example (Postfix) with ESMTPS id 4V\r\n\
         \tfor <sales@example.com>; Tue, 14 May 2024 09:12:46 +0200 (CEST)\r\n\
         Received: from desk (unknown [203.0.113.9])\r\n\tby mail.customer.example (Postfix) with ESMTPSA id 4U;\r\n\tTue, 14 May 2024 09:12:45 +0200\r\n\
         DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=customer.example; s=k1;\r\n\th=from:to:subject; bh=abc=; b=def=\r\n\
         From: Carla Weber <carla@supplier3.example>\r\n\
         To: Tea shop <p{number}-tea@d{}.example>, somebody@else.example\r\n\
         Subject: Order 4711\r\nDate: Tue, 14 May 2024 09:12:44 +0200\r\nMessage-ID: <4711@customer.example>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nUser-Agent: Mail\r\n\r\n",
        number % DOMAINS,
        number % DOMAINS
    )
}
