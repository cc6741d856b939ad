"""The life of an installation on Windows, under Wine: the set-up without questions, the first mailbox, the service, mail that is fetched
and read while it runs, a power cut, an upgrade, a port that is taken, removal with and without the mail.

    install.py SETUP NEWER-SETUP SHIM LAUNCHER        (tests/windows/run makes all four)

What Wine can't prove stands in packaging/windows/README.md.
"""

import imaplib
import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time

from isp import PASSWORD, Dovecot, free_port
from wine import Wine, wait

PROGRAM = r"C:\Program Files\Mailroom\mailroom.exe"
REMOVER = r"C:\Program Files\Mailroom\Uninstall.exe"
DATA = r"C:\ProgramData\Mailroom"
ENTRY = r"HKLM\Software\Microsoft\Windows\CurrentVersion\Uninstall\Mailroom"
MAILS = 100


def message(number):
    head = f"From: Bob <bob@example.net>\r\nTo: office@isp.example\r\nSubject: mail {number}\r\nMessage-ID: <{number}@example.net>\r\n"
    return f"{head}Date: Mon, 1 Jun 2026 10:00:00 +0000\r\n\r\nText of mail {number}.\r\n{'long ' * number}\r\n".encode()


class Test:
    def __init__(self, folder, setup, newer, shim, launcher):
        self.setup, self.newer = setup, newer
        self.isp = Dovecot(folder)
        self.wine = Wine(folder, shim, launcher)
        self.imaps = free_port()
        self.passed = 0

    def mailroom(self, *words, **more):
        return self.wine.run(PROGRAM, *words, **more)

    def status(self):
        return json.loads(self.mailroom("status", "--json"))

    def fetch(self):
        [collector] = json.loads(self.mailroom("fetch", "--json"))["collectors"]
        assert collector["error"] is None and collector["failed"] == 0, collector
        return collector

    def client(self):
        """Alice's mail program somewhere on the LAN, logged in."""
        authority = self.wine.path(DATA) / "tls" / "ca.pem"
        context = ssl.create_default_context(cafile=str(authority))
        client = imaplib.IMAP4_SSL("localhost", self.imaps, ssl_context=context, timeout=30)
        client.login("alice", "wonderland")
        client.select("INBOX", readonly=True)
        return client

    def read(self):
        """What it gets."""
        with self.client() as client:
            _, answer = client.fetch("1:*", "(BODY.PEEK[])")
        return [part[1] for part in answer if isinstance(part, tuple)]

    def has_all(self, mails):
        """Each mail once, and below our own fields byte for byte what the ISP gave."""
        found = self.read()
        assert len(found) == mails, f"{len(found)} mails instead of {mails}"
        for number in range(1, mails + 1):
            assert sum(text.endswith(message(number)) for text in found) == 1, f"mail {number}"

    def log(self):
        return (self.wine.path(DATA) / "log" / "mailroom.log").read_text()

    def installs_without_questions(self):
        self.wine.run(self.setup, "/S")
        assert self.mailroom("--version").startswith("mailroom ")
        assert self.wine.registry(ENTRY, "DisplayVersion")
        assert self.wine.call(PROGRAM, "service", "status")[0] == 1
        text = (self.wine.path(PROGRAM).parent / "mailroom-annotated.toml").read_bytes()
        assert text.count(b"\r\n") == text.count(b"\n") > 50

    def asks_for_the_first_mailbox_by_flags(self):
        self.isp.deliver("office", [message(number) for number in range(1, MAILS + 1)])
        shutil.copy(self.isp.authority, self.wine.path(r"C:\isp-ca.pem"))
        mailbox = ["--email", "office@isp.example", "--username", "office", "--protocol", "imap", "--host", "localhost"]
        server = ["--port", self.isp.ports["imaps"], "--ca", r"C:\isp-ca.pem", "--no-smarthost", "--password-stdin"]
        people = ["--user", "alice=Alice Smith", "--way", "bind"]
        printed = self.mailroom("init", DATA, *mailbox, *server, *people, stdin=PASSWORD + "\n")
        assert f"{MAILS} mails there" in printed and "user name alice" in printed and "service install" in printed, printed
        file = self.wine.path(DATA) / "mailroom.toml"
        text = file.read_text()
        assert PASSWORD not in text
        ports = f'imaps = ["127.0.0.1:{self.imaps}"]\npop3s = []\nsubmission = []\nsubmissions = []\nadmin = []\n'
        file.write_text(f"{text}\n[listen]\n{ports}".replace("\n", "\r\n"))
        self.mailroom("user", "passwd", "alice", "--password-stdin", stdin="wonderland\n")
        self.mailroom("user", "add", "bob", "--password-stdin", stdin="builder\n")
        assert "alice" in self.mailroom("user", "list")
        key = (self.wine.path(DATA) / "secret.key").read_bytes()
        assert len(key) > 32, "the key of the secrets is not sealed"
        self.mailroom("check")

    def runs_as_a_service(self):
        printed = self.mailroom("service", "install")
        assert "is registered" in printed, printed
        assert "runs" in self.mailroom("service", "start")
        assert "running" in self.mailroom("service", "status")
        assert "RUNNING" in self.wine.run("sc", "query", "Mailroom")
        code, printed = self.wine.call(PROGRAM, "run")
        assert code == 1 and "runs on the store" in printed, f"a second gateway: {code} {printed}"

    def fetches_and_is_read_while_the_service_runs(self):
        wait("the mails are there", lambda: self.status()["users"][0]["messages"] == MAILS)
        self.has_all(MAILS)
        self.isp.deliver("office", [message(number) for number in range(MAILS + 1, MAILS + 6)])
        self.fetch()
        wait("five more", lambda: self.status()["users"][0]["messages"] == MAILS + 5)
        self.has_all(MAILS + 5)

    def takes_a_password_from_a_command_without_a_restart(self):
        file = self.wine.path(DATA) / "mailroom.toml"
        self.wine.path(r"C:\isp.pass").write_text(PASSWORD + "\r\n")
        text = file.read_bytes()
        changed = text.replace(b'{ secret = "isp" }', rb"{ command = ['cmd', '/c', 'type', 'C:\isp.pass'] }")
        assert changed != text
        file.write_bytes(changed)
        wait("the change is noticed", lambda: "took the changed configuration" in self.log())
        assert "logged in as office" in self.mailroom("check", "--online")
        assert self.fetch()["known"] == MAILS + 5

    def stops_in_time(self):
        client = self.client()
        begin = time.monotonic()
        assert "has stopped" in self.mailroom("service", "stop")
        assert time.monotonic() - begin < 10
        assert client.readline().startswith(b"* BYE")
        client.shutdown()
        assert self.mailroom("service", "stop") == "the service Mailroom does not run\n"
        self.wine.run("net", "start", "Mailroom")
        self.wait_until_it_runs()
        self.has_all(MAILS + 5)

    def starts_again_with_the_system(self):
        self.wine.power_off()
        self.wine.boot()
        self.wait_until_it_runs()
        assert self.fetch()["fetched"] == 0
        self.has_all(MAILS + 5)

    def upgrades_in_place(self):
        self.wine.run(self.newer, "/S")
        assert self.wine.registry(ENTRY, "DisplayVersion") == "99.0.0"
        assert "running" in self.mailroom("service", "status")
        assert self.fetch()["fetched"] == 0
        self.has_all(MAILS + 5)

    def says_what_is_wrong(self):
        file = self.wine.path(DATA) / "mailroom.toml"
        good = file.read_bytes()
        self.mailroom("service", "stop")
        file.write_bytes(good[: len(good) // 2] + b"\r\nhalf = written")
        code, printed = self.wine.call(PROGRAM, "run")
        assert code == 2 and "mailroom.toml:" in printed, f"{code} {printed}"
        # The service starts all the same, with the last files that were good.
        self.mailroom("service", "start")
        self.has_all(MAILS + 5)
        self.mailroom("service", "stop")
        file.write_bytes(good)
        with socket.create_server(("127.0.0.1", self.imaps)):
            code, printed = self.wine.call(PROGRAM, "service", "start")
            assert code == 1 and "did not start" in printed, f"{code} {printed}"
        assert "another program has this port" in self.log()
        # Windows would start it again after a while; Wine does not even notice that it has ended.
        self.wine.power_off()
        self.wine.boot()
        self.wait_until_it_runs()

    def is_removed_and_the_mail_stays(self):
        self.remove()
        assert (self.wine.path(DATA) / "mailroom.db").stat().st_size > 100_000
        assert (self.wine.path(DATA) / "mailroom.toml").exists()
        self.wine.run(self.newer, "/S")
        self.mailroom("service", "start")
        assert self.fetch()["fetched"] == 0
        self.has_all(MAILS + 5)

    def is_removed_with_the_mail_if_told_so(self):
        self.remove("/DELETEMAIL")
        assert not self.wine.path(DATA).exists()

    def remove(self, *more):
        # A copy of it does the work, and nobody can wait for that one.
        self.wine.run(REMOVER, "/S", *more)
        wait("it is removed", lambda: self.wine.registry(ENTRY, "DisplayVersion") is None)
        assert not self.wine.path(PROGRAM).parent.exists()
        assert self.wine.call("sc", "query", "Mailroom")[0] != 0

    def wait_until_it_runs(self):
        wait("the service runs", lambda: self.wine.call(PROGRAM, "service", "status")[0] == 0)

    def step(self, step):
        begin = time.monotonic()
        step()
        self.passed += 1
        print(f"test windows {step.__name__} ... ok ({time.monotonic() - begin:.1f} s)", flush=True)

    def all(self):
        steps = [
            self.installs_without_questions,
            self.asks_for_the_first_mailbox_by_flags,
            self.runs_as_a_service,
            self.fetches_and_is_read_while_the_service_runs,
            self.takes_a_password_from_a_command_without_a_restart,
            self.stops_in_time,
            self.starts_again_with_the_system,
            self.upgrades_in_place,
            self.says_what_is_wrong,
            self.is_removed_and_the_mail_stays,
            self.is_removed_with_the_mail_if_told_so,
        ]
        for step in steps:
            self.step(step)
        print(f"windows: {self.passed} passed, 0 failed")

    def close(self):
        self.wine.power_off()
        self.isp.stop()


def main():
    folder = tempfile.mkdtemp(prefix="mailroom-windows-")
    subprocess.run(["chmod", "755", folder], check=True)
    test = Test(folder, *sys.argv[1:5])
    try:
        test.all()
    finally:
        test.close()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
