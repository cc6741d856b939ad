"""The ISP: Debian's Dovecot on loopback, with the configuration that the other tests use too."""

import os
import pathlib
import pwd
import re
import socket
import subprocess

from wine import wait

PASSWORD = "correct-horse"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(port):
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


class Dovecot:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder) / "isp"
        for name in ["run", "state", "mail", "home"]:
            (self.folder / name).mkdir(parents=True)
        self.authority, certificate, key = certificates(self.folder)
        owner = pwd.getpwnam("mail") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        for path in [self.folder / "mail", self.folder / "home"]:
            os.chown(path, owner.pw_uid, owner.pw_gid)
        self.owner = owner
        text = pathlib.Path("tests/interop/dovecot.conf").read_text()
        self.ports = {}
        for name in re.findall(r"\{port:(\w+)\}", text):
            self.ports[name] = free_port()
            text = text.replace(f"{{port:{name}}}", str(self.ports[name]))
        facts = {"dir": self.folder, "cert": certificate, "key": key, "password": PASSWORD, "uid": owner.pw_uid, "gid": owner.pw_gid}
        for name, value in facts.items():
            text = text.replace(f"{{{name}}}", str(value))
        file = self.folder / "dovecot.conf"
        file.write_text(text)
        self.process = subprocess.Popen(["dovecot", "-F", "-c", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait("Dovecot answers", lambda: answers(self.ports["imaps"]), 30)

    def deliver(self, user, messages):
        """As a delivery would: one file each."""
        new = self.folder / "mail" / user / "new"
        for folder in [new, new.parent / "cur", new.parent / "tmp"]:
            folder.mkdir(parents=True, exist_ok=True)
        for path in [new.parent, new, new.parent / "cur", new.parent / "tmp"]:
            os.chown(path, self.owner.pw_uid, self.owner.pw_gid)
        for at, message in enumerate(messages, len(list(new.iterdir())) + 1):
            file = new / f"{1_700_000_000 + at}.{at}.isp"
            file.write_bytes(message)
            os.chown(file, self.owner.pw_uid, self.owner.pw_gid)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def certificates(folder):
    """An authority, and by it a certificate for localhost: their PEM files."""
    names = ["ca.pem", "ca-key.pem", "cert.pem", "key.pem", "request.pem", "extensions"]
    authority, authority_key, certificate, key, request, extensions = [folder / name for name in names]
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def openssl(*words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=60)

    openssl("req", "-x509", *new_key, "-keyout", authority_key, "-out", authority, "-days", 30, "-subj", "/CN=ISP test authority")
    openssl("req", "-new", *new_key, "-keyout", key, "-out", request, "-subj", "/CN=localhost")
    signing = ["-CA", authority, "-CAkey", authority_key, "-CAcreateserial", "-extfile", extensions]
    openssl("x509", "-req", "-in", request, *signing, "-out", certificate, "-days", 30)
    return authority, certificate, key
