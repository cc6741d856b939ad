#!/usr/bin/env python3
"""How long it takes from a mail's arrival in the provider's INBOX to the notice that a mail program on the LAN gets, which waits by IDLE.

    cargo build --release
    benches/push.py [--mailroom target/release/mailroom] [--bench ../shared/bench] [--count 20]

The provider is the reference bench's Dovecot, by IMAPS with IDLE; the mail comes into it by APPEND, whose answer is the arrival. Beside
it, a client of Dovecot's own that waits by IDLE for the same mails: what is left is ours. Needs root and Dovecot.
"""
import argparse
import imaplib
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time

CONFIG = """\
[office]
domains    = ["example.com"]
postmaster = "alice"
[storage]
path = "store"
[listen]
imap = ["127.0.0.1:{lan}"]
pop3s = []
imaps = []
submission = []
submissions = []
[[collector]]
name     = "isp"
protocol = "imap"
host     = "localhost"
port     = {port}
ca       = "{certs}/ca.pem"
username = "office"
password = {{ file = "isp.pass" }}
deliver  = "alice"
after    = "keep"
schedule = "0 0 1 1 *"
"""


class Waiting:
    """A client that waits by IDLE, and when it was told of each number of messages."""

    def __init__(self, client: imaplib.IMAP4):
        self.told: dict[int, float] = {}
        self.changed = threading.Condition()
        client.select("INBOX")
        client.send(b"x IDLE\r\n")
        self.file = client.file
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while line := self.file.readline():
            words = line.split()
            if len(words) == 3 and words[2] == b"EXISTS":
                with self.changed:
                    self.told.setdefault(int(words[1]), time.monotonic())
                    self.changed.notify_all()

    def heard_of(self, count: int) -> float:
        with self.changed:
            assert self.changed.wait_for(lambda: count in self.told, 60), f"no notice of message {count}"
            return self.told[count]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mailroom", default="target/release/mailroom")
    options.add_argument("--bench", default="../shared/bench")
    options.add_argument("--count", type=int, default=20)
    options = options.parse_args()
    sys.dont_write_bytecode = True
    sys.path.insert(0, options.bench)
    import measure
    import peers
    with tempfile.TemporaryDirectory(prefix="push-") as work:
        os.chmod(work, 0o755)
        measure.certificates(work)
        dovecot = peers.Dovecot(f"{work}/isp", work)
        trust = ssl.create_default_context(cafile=f"{work}/ca.pem")
        office = f"{work}/office"
        os.makedirs(f"{office}/mappings")
        lan = measure.port()
        for name, text in (("mailroom.toml", CONFIG.format(port=dovecot.ports["imaps"], certs=work, lan=lan)), ("isp.pass", peers.PASSWORD)):
            with open(f"{office}/{name}", "w") as file:
                os.chmod(file.fileno(), 0o600)
                file.write(text)
        command = [os.path.abspath(options.mailroom), "--config", f"{office}/mailroom.toml"]
        subprocess.run([*command, "user", "add", "alice", "--password-stdin"], input=b"secret-word\n", check=True, capture_output=True)

        def provider():
            client = imaplib.IMAP4_SSL("localhost", dovecot.ports["imaps"], ssl_context=trust)
            client.login("office", peers.PASSWORD)
            return client

        sender = provider()

        def append(number: int):
            text = f"From: far@far.example\r\nTo: office@example.com\r\nSubject: {number}\r\nMessage-ID: <{number}@far.example>\r\n\r\nx\r\n"
            assert sender.append("INBOX", None, None, text.encode())[0] == "OK"
            return time.monotonic()

        append(0)
        gateway = subprocess.Popen([*command, "run"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while True:
                time.sleep(0.1)
                try:
                    client = imaplib.IMAP4("localhost", lan)
                    break
                except ConnectionRefusedError:
                    pass
            client.login("alice", "secret-word")
            while client.select("INBOX")[1] != [b"1"]:
                time.sleep(0.1)
            ours, theirs = Waiting(client), Waiting(provider())
            # the session that waits at the provider begins after the first fetch
            time.sleep(2)
            taken = []
            for count in range(2, options.count + 2):
                arrived = append(count)
                taken.append((ours.heard_of(count) - arrived, theirs.heard_of(count) - arrived))
                time.sleep(1)
        finally:
            gateway.terminate()
            gateway.wait(20)
            dovecot.stop()
        for name, place in (("a client on the LAN", 0), ("a client of the provider", 1)):
            seconds = [pair[place] for pair in taken]
            print(f"{len(seconds)} mails, from arrival to the notice at {name}: {statistics.median(seconds):.3f} s (at most {max(seconds):.3f})")


if __name__ == "__main__":
    main()
