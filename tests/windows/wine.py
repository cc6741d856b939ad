"""A Windows of its own under Wine, in a temporary folder, and what a test does with it."""

import os
import pathlib
import shutil
import subprocess
import time

# Wine starts in under a second; a busy machine takes ten times as long.
PATIENCE = 90


class Wine:
    def __init__(self, folder, shim, launcher):
        self.prefix = pathlib.Path(folder) / "wine"
        # Nothing of the caller's session: no display, no locale, no other Wine.
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "WINEPREFIX": str(self.prefix),
            "WINEARCH": "win64",
            "WINEDEBUG": "-all",
        }
        self.hold = None
        subprocess.run(["wineboot", "-i"], env=self.environment, timeout=PATIENCE, check=True, capture_output=True)
        shutil.copy(launcher, self.prefix / "drive_c/launch.exe")
        shutil.copy(shim, self.prefix / "drive_c/windows/system32/bcryptprimitives.dll")
        # Making the system leaves two service managers running, each with a list of its own.
        self.power_off()
        self.boot()

    def boot(self):
        """Services end with the last ordinary program: one is kept waiting for its input."""
        self.hold = subprocess.Popen(
            ["wine", "cmd"], env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.run("cmd", "/c", "ver")

    def power_off(self):
        """Every process ends where it stands."""
        subprocess.run(["wineserver", "-k"], env=self.environment, timeout=PATIENCE, check=False)
        if self.hold is not None:
            self.hold.stdin.close()
            self.hold.wait(PATIENCE)
        subprocess.run(["wineserver", "-w"], env=self.environment, timeout=PATIENCE, check=False)

    def call(self, *words, stdin="", patience=PATIENCE):
        """Runs a Windows program; its exit code and what it printed on both."""
        # A file, not a pipe: the service manager's own processes inherit it, and a pipe would end with them.
        output = self.prefix.parent / "output"
        result = self.path("C:\\exit-code")
        result.unlink(missing_ok=True)
        with open(output, "wb") as file:
            subprocess.run(
                ["wine", "C:\\launch.exe", *map(str, words)],
                env=self.environment,
                input=stdin.encode(),
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=patience,
                check=False,
            )
        return int(result.read_text()), output.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n")

    def run(self, *words, stdin="", patience=PATIENCE):
        """The same for a program that has to succeed."""
        code, printed = self.call(*words, stdin=stdin, patience=patience)
        assert code == 0, f"{' '.join(map(str, words))} ended with {code}:\n{printed}"
        return printed

    def path(self, windows):
        """Where a file of drive C really is."""
        assert windows.startswith("C:\\")
        return self.prefix / "drive_c" / windows[3:].replace("\\", "/")

    def registry(self, key, value):
        code, printed = self.call("reg", "query", key, "/v", value)
        return printed.split(value, 1)[1].split(None, 1)[1].strip() if code == 0 else None


def wait(what, condition, patience=PATIENCE):
    """Waits until something is so, and gives back what it came to."""
    end = time.monotonic() + patience
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < end, f"not within {patience} seconds: {what}"
        time.sleep(0.1)
