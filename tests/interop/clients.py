"""Python's own mail library against the gateway. Arguments: six ports, the authority's certificate, the password, the number of mails."""
import imaplib, poplib, smtplib, ssl, sys, threading, time
from email.message import EmailMessage

IMAP, IMAPS, POP3, POP3S, SUBMISSION, SUBMISSIONS = map(int, sys.argv[1:7])
CA, PASSWORD, MAILS = sys.argv[7], sys.argv[8], int(sys.argv[9])
TLS = ssl.create_default_context(cafile=CA)


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


# IMAP over TLS: folders, flags, copies, moves, search, parts
m = imaplib.IMAP4_SSL("localhost", IMAPS, ssl_context=TLS)
ok(m.login("alice", PASSWORD))
capabilities = ok(m.capability())[0].decode().upper().split()
assert {"IMAP4REV1", "IDLE", "UIDPLUS", "MOVE", "NAMESPACE"} <= set(capabilities), capabilities
assert ok(m.select("INBOX")) == [b"%d" % MAILS]
assert ok(m.search(None, "SUBJECT", '"Nr. 12"')) == [b"13"]
assert ok(m.search(None, "BODY", "needle3", "UNSEEN")) == [b"4"]
text = ok(m.fetch("5", "(BODY.PEEK[1] BODYSTRUCTURE ENVELOPE)"))
assert b"needle4 in the text" in text[0][1], text
assert b"application" in b"".join(map(bytes, text[-1:])).lower() or b'"pdf"' in repr(text).lower().encode(), text
ok(m.store("1:3", "+FLAGS", r"(\Seen $Invoice)"))
assert ok(m.search(None, "KEYWORD", "$Invoice")) == [b"1 2 3"]
ok(m.create('"Kunden/M&APw-ller &- S&APY-hne"'))
assert any(b"Kunden" in line for line in ok(m.list()))
ok(m.copy("1", '"Kunden/M&APw-ller &- S&APY-hne"'))
ok(m._simple_command("MOVE", "2", "Archive"))
m.untagged_responses.clear()
ok(m.append("Drafts", r"(\Draft)", imaplib.Time2Internaldate(time.time()), b"Subject: draft\r\n\r\nx\r\n"))
assert ok(m.select("Drafts")) == [b"1"]
ok(m.select("INBOX"))
ok(m.store("1", "+FLAGS", r"(\Deleted)"))
ok(m.expunge())
assert ok(m.status("INBOX", "(MESSAGES UIDNEXT UNSEEN)"))

# IMAP with STARTTLS sees the same
n = imaplib.IMAP4("localhost", IMAP)
n.starttls(TLS)
ok(n.login("alice@office.lan", PASSWORD))
assert ok(n.select("INBOX")) == [b"%d" % (MAILS - 2)]
assert ok(n.select("Archive")) == [b"1"]
n.logout()

# a wrong password is refused, and the session goes on
w = imaplib.IMAP4_SSL("localhost", IMAPS, ssl_context=TLS)
try:
    w.login("alice", "wrong")
    raise SystemExit("a wrong password was taken")
except imaplib.IMAP4.error:
    pass
ok(w.login("bob", PASSWORD))
w.logout()

# POP3 over TLS and with STLS
p = poplib.POP3_SSL("localhost", POP3S, context=TLS)
p.user("alice")
p.pass_(PASSWORD)
count, size = p.stat()
assert count == MAILS - 2, count
assert sum(len(b"\r\n".join(p.retr(i + 1)[1])) + 2 for i in range(count)) == size
uidls = p.uidl()[1]
assert len(set(line.split()[1] for line in uidls)) == count
assert len(p.top(1, 1)[1]) < len(p.retr(1)[1])
p.dele(1)
p.quit()
q = poplib.POP3("localhost", POP3)
q.stls(TLS)
q.user("alice")
q.pass_(PASSWORD)
assert q.stat()[0] == MAILS - 3
assert [line.split()[1] for line in q.uidl()[1]] == [line.split()[1] for line in uidls[1:]]
q.quit()

# sending both ways; IDLE hears of it at once
i = imaplib.IMAP4_SSL("localhost", IMAPS, ssl_context=TLS)
ok(i.login("bob", PASSWORD))
ok(i.select("INBOX"))
i.send(b"x IDLE\r\n")
assert i.readline().startswith(b"+")
message = EmailMessage()
message["From"], message["To"], message["Subject"] = "alice@office.lan", "bob@office.lan", "Grüße"
message.set_content("Schöne Grüße\n.\n")
message.add_attachment(b"\0\1\2" * 1000, maintype="application", subtype="octet-stream", filename="ä.bin")
s = smtplib.SMTP("localhost", SUBMISSION)
s.starttls(context=TLS)
s.login("alice", PASSWORD)
s.send_message(message)
s.quit()
assert b"EXISTS" in i.readline()
t = smtplib.SMTP_SSL("localhost", SUBMISSIONS, context=TLS)
t.login("alice", PASSWORD)
t.send_message(message)
t.quit()
i.send(b"DONE\r\n")
while not i.readline().startswith(b"x OK"):
    pass
ok(i.select("INBOX"))
assert ok(i.search(None, "ALL")) == [b"1 2"]
i.logout()
m.logout()
print("all done")
