#!/usr/bin/env python3
"""What COMPRESS (RFC 4978) would bring to a fetch: the same mails by IMAPS with and without it, on loopback and over slow lines.

    benches/compress.py [--bench ../shared/bench] [--count 200] [--rounds 5]

The mails and Dovecot are those of the bench in the reference material; it needs root, as that does. The client is written down here: log in,
COMPRESS or not, EXAMINE, one UID FETCH of everything, LOGOUT. It parses nothing, so that what is measured is the line, the server and
zlib. The line is a proxy that passes bytes on after a delay and not faster than so many a second.
"""
import argparse
import asyncio
import multiprocessing
import os
import shutil
import socket
import ssl
import statistics
import sys
import tempfile
import time
import zlib

# name, seconds one way, bits a second (0: as fast as it goes)
LINES = [("loopback", 0, 0), ("50 ms, 100 Mbit/s", 0.025, 100e6), ("50 ms, 16 Mbit/s", 0.025, 16e6), ("50 ms, 2 Mbit/s", 0.025, 2e6)]


async def pass_on(reader, writer, delay: float, rate: float):
    """What comes, `delay` later, each byte when the line has had time for it."""
    queue, free = asyncio.Queue(64), time.monotonic()

    async def write():
        while True:
            due, piece = await queue.get()
            await asyncio.sleep(max(0, due - time.monotonic()))
            if not piece:
                return writer.close()
            writer.write(piece)
            await writer.drain()

    task = asyncio.create_task(write())
    while True:
        piece = await reader.read(4096)
        free = max(free, time.monotonic()) + (len(piece) * 8 / rate if rate else 0)
        await queue.put((free + delay, piece))
        if not piece:
            return await task


def line(listener: socket.socket, target: int, delay: float, rate: float):
    async def serve(reader, writer):
        there = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(pass_on(reader, there[1], delay, rate), pass_on(there[0], writer, delay, rate), return_exceptions=True)

    async def run():
        server = await asyncio.start_server(serve, sock=listener)
        await server.serve_forever()

    asyncio.run(run())


class Client:
    def __init__(self, port: int, ca: str):
        raw = socket.create_connection(("127.0.0.1", port), 300)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = ssl.create_default_context(cafile=ca).wrap_socket(raw, server_hostname="localhost")
        self.out = self.into = None
        self.wire = 0
        self.rest = b""
        self.read_until(b"\r\n")

    def read_until(self, end: bytes) -> bytes:
        """The line that has this in it, which stands in no mail."""
        seen = self.rest
        while (at := seen.find(end)) < 0 or (stop := seen.find(b"\r\n", at) + 2) < 2:
            piece = self.socket.recv(65536)
            assert piece, "the connection ended"
            self.wire += len(piece)
            seen = (seen if at >= 0 else seen[-len(end):]) + (self.into.decompress(piece) if self.into else piece)
        self.rest = seen[stop:]
        return seen[at:stop]

    def run(self, tag: str, command: str):
        data = f"{tag} {command}\r\n".encode()
        if self.out:
            data = self.out.compress(data) + self.out.flush(zlib.Z_SYNC_FLUSH)
        self.socket.sendall(data)
        answer = self.read_until(f"{tag} ".encode())
        assert b" OK" in answer[:len(tag) + 4], answer


def fetch(port: int, ca: str, password: str, compress: bool, servers: list[int], cpu) -> tuple[float, float, float, int]:
    """Seconds, seconds of CPU here and at the server, bytes on the line (inside TLS)."""
    before = cpu(servers)
    began, busy = time.monotonic(), time.process_time()
    client = Client(port, ca)
    client.run("benchtag1", f"LOGIN office {password}")
    if compress:
        client.run("benchtag2", "COMPRESS DEFLATE")
        client.out, client.into = zlib.compressobj(wbits=-15), zlib.decompressobj(wbits=-15)
    client.run("benchtag3", "EXAMINE INBOX")
    client.run("benchtag4", "UID FETCH 1:* (UID INTERNALDATE BODY.PEEK[])")
    took, busy = time.monotonic() - began, time.process_time() - busy
    # While its session is still there.
    served = cpu(servers) - before
    client.socket.close()
    return took, busy, served, client.wire


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bench", default="../shared/bench")
    options.add_argument("--count", type=int, default=200)
    options.add_argument("--rounds", type=int, default=5)
    options = options.parse_args()
    sys.dont_write_bytecode = True
    sys.path.insert(0, options.bench)
    import corpus
    import measure
    import peers
    peers.DOVECOT += "protocol imap {{\n  mail_plugins = imap_zlib\n}}\n"
    with tempfile.TemporaryDirectory(prefix="compress-") as work:
        os.chmod(work, 0o755)
        measure.certificates(work)
        dovecot = peers.Dovecot(f"{work}/isp", work)
        try:
            shutil.rmtree(dovecot.path("office"), ignore_errors=True)
            size = corpus.maildir(dovecot.path("office"), options.count, owner=peers.OWNER)
            print(f"{options.count} mails, {size / 1e6:.1f} MB\n\n| line | COMPRESS | seconds | spread | client CPU s | server CPU s | MB on the line |\n|---|---|--:|--:|--:|--:|--:|")
            for name, delay, rate in LINES:
                listener = socket.create_server(("127.0.0.1", 0))
                port = listener.getsockname()[1]
                proxy = multiprocessing.get_context("fork").Process(target=line, args=(listener, dovecot.ports["imaps"], delay, rate), daemon=True)
                if delay or rate:
                    proxy.start()
                else:
                    port = dovecot.ports["imaps"]
                listener.close()
                runs = {False: [], True: []}
                for _ in range(options.rounds + 1):
                    for compress in runs:
                        runs[compress].append(fetch(port, f"{work}/ca.pem", peers.PASSWORD, compress, dovecot.pids, measure.cpu))
                if proxy.is_alive():
                    proxy.terminate()
                for compress, each in runs.items():
                    # The first one warms up.
                    seconds, busy, server, wire = (statistics.median(values) for values in zip(*each[1:]))
                    spread = max(run[0] for run in each[1:]) / min(run[0] for run in each[1:])
                    print(f"| {name} | {'yes' if compress else 'no'} | {seconds:.2f} | {spread:.2f} | {busy:.2f} | {server:.2f} | {wire / 1e6:.2f} |", flush=True)
        finally:
            dovecot.stop()


if __name__ == "__main__":
    main()
