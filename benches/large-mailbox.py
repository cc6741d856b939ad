#!/usr/bin/env python3
"""What a poll without news costs when a mailbox of many messages is kept upstream: seconds and peak memory of `mailroom fetch`. Then, with
all of them in the store, how long the gateway takes from its start to an answer at every port.

    cargo build --release
    benches/large-mailbox.py [--mailroom target/release/mailroom] [--bench ../shared/bench] [--count 100000]

Needs what the bench in the reference material needs: root, and Dovecot (it is the one of that bench). All is in a temporary folder. The
first fetch stores the whole mailbox and is not measured; `after = "keep"`, so that everything stays listed.
"""
import argparse
import json
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

CONFIG = """\
[office]
domains    = ["example.com"]
postmaster = "alice"
[storage]
path = "store"
[listen]
pop3s = []
imaps = []
submission = []
submissions = []
admin = []
[[collector]]
name     = "isp"
protocol = "{protocol}"
host     = "localhost"
port     = {port}
ca       = "{certs}/ca.pem"
username = "office"
password = {{ file = "isp.pass" }}
deliver  = "alice"
after    = "keep"
"""


def fill(maildir: str, count: int, owner: tuple[int, int]):
    for sub in ("cur", "new", "tmp"):
        os.makedirs(f"{maildir}/{sub}")
    for n in range(count):
        text = f"From: far@far.example\nTo: office@example.com\nSubject: {n}\nMessage-ID: <{n}@far.example>\n\nNumber {n}.\n"
        path = f"{maildir}/cur/{1_700_000_000 + n}.M{n}P1.isp,S={len(text)},W={len(text) + text.count(chr(10))}:2,"
        with open(path, "w") as file:
            file.write(text)
        os.chown(path, *owner)
    for sub in ("", "cur", "new", "tmp"):
        os.chown(f"{maildir}/{sub}", *owner)


def run(line: list[str], **options) -> tuple[dict, float, float, float]:
    """What it printed, seconds, peak MB, seconds of CPU."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(line, stdout=out, **options)
        _, status, usage = os.wait4(child.pid, 0)
        took = time.monotonic() - began
        out.seek(0)
        text = out.read()
    if status:
        sys.exit(f"{' '.join(line)}: {text.decode()}")
    return json.loads(text)["collectors"][0], took, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def forget(folder: str):
    """Takes a folder's files out of the page cache, as after a start of the machine."""
    for path in (os.path.join(at, name) for at, _, names in os.walk(folder) for name in names):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def answers(ports: dict[str, int], certs: str):
    """Waits until every port has said its first words."""
    for name, port in ports.items():
        while True:
            try:
                client = socket.create_connection(("localhost", port), 5)
                break
            except ConnectionRefusedError:
                time.sleep(0.001)
        if name.endswith("s"):
            client = ssl.create_default_context(cafile=f"{certs}/ca.pem").wrap_socket(client, server_hostname="localhost")
        with client:
            assert client.recv(1), f"nothing from {name}"


def start(command: list[str], office: str, certs: str, ports: dict[str, int]):
    """Prints the seconds of ten starts, of which every other one finds neither program nor store in memory."""
    with open(f"{office}/mailroom.toml") as file:
        text = file.read()
    listen = "".join(f'{name} = ["127.0.0.1:{port}"]\n' for name, port in ports.items())
    begin, end = text.index("[listen]"), text.index("[[collector]]")
    text = f'{text[:begin]}[listen]\n{listen}pop3s = []\nsubmissions = []\nadmin = []\n[tls]\ncert = "{certs}/cert.pem"\nkey = "{certs}/key.pem"\n{text[end:]}'
    with open(f"{office}/mailroom.toml", "w") as file:
        file.write(text)
    taken: dict[bool, list[float]] = {False: [], True: []}
    # a copy: the program itself may be in use elsewhere, and what is in use stays in memory
    program = shutil.copy(command[0], f"{office}/program")
    for cold in [True, False] * 5:
        if cold:
            forget(office)
        began = time.monotonic()
        gateway = subprocess.Popen([program, *command[1:], "run"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            answers(ports, certs)
            taken[cold].append(time.monotonic() - began)
        finally:
            gateway.terminate()
            gateway.wait(20)
    for cold, seconds in taken.items():
        print(f"start to an answer at every port, {'not in memory' if cold else 'in memory'}: {statistics.median(seconds):.3f} s (at most {max(seconds):.3f})")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mailroom", default="target/release/mailroom")
    options.add_argument("--bench", default="../shared/bench")
    options.add_argument("--count", type=int, default=100_000)
    options.add_argument("--protocol", choices=["pop3", "imap"], action="append")
    options = options.parse_args()
    sys.dont_write_bytecode = True
    sys.path.insert(0, options.bench)
    import measure
    import peers
    binary = os.path.abspath(options.mailroom)
    with tempfile.TemporaryDirectory(prefix="large-mailbox-") as work:
        os.chmod(work, 0o755)
        measure.certificates(work)
        dovecot = peers.Dovecot(f"{work}/isp", work)
        try:
            fill(dovecot.path("office"), options.count, peers.OWNER)
            for protocol in options.protocol or ["pop3", "imap"]:
                office = f"{work}/{protocol}"
                os.makedirs(f"{office}/mappings")
                for name, text in (("mailroom.toml", CONFIG.format(protocol=protocol, port=dovecot.ports[protocol + "s"], certs=work)),
                                   ("isp.pass", peers.PASSWORD)):
                    with open(f"{office}/{name}", "w") as file:
                        os.chmod(file.fileno(), 0o600)
                        file.write(text)
                command = [binary, "--config", f"{office}/mailroom.toml"]
                subprocess.run([*command, "user", "add", "alice", "--password-stdin"], input=b"secret-word\n", check=True, capture_output=True)
                first, took, peak, _ = run([*command, "fetch", "--json"])
                print(f"{protocol}: first fetch of {first['fetched']}: {took:.1f} s, {peak:.1f} MB")
                polls = [run([*command, "fetch", "--json"]) for _ in range(6)][1:]
                for figures, *_ in polls:
                    assert (figures["listed"], figures["known"], figures["fetched"]) == (options.count, options.count, 0), figures
                took, peak, busy = (statistics.median(poll[i] for poll in polls) for i in (1, 2, 3))
                inside = statistics.median(poll[0]["seconds"] for poll in polls)
                print(f"{protocol}: a poll without news: {took:.2f} s ({inside:.2f} s of it the fetch itself, {busy:.2f} s CPU), {peak:.1f} MB", flush=True)
                start(command, office, work, {name: measure.port() for name in ("pop3", "imap", "imaps", "submission")})
                shutil.rmtree(office)
        finally:
            dovecot.stop()


if __name__ == "__main__":
    main()
