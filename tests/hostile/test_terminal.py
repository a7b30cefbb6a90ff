"""A person at a terminal: what `lorank delete` asks, and what each answer does. The terminal is a pseudo-terminal."""

import errno
import os
import pty
import select
import signal
import subprocess
import time
import unittest

from harness import ENVIRONMENT, LORANK, documents, index, run

SECONDS_MAX = 120


class Terminal:
    """The program with a terminal as its standard streams."""

    def __init__(self, *arguments):
        self.ours, theirs = pty.openpty()
        # A suite that runs in the background ignores Ctrl-C, and its children would inherit that.
        heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        self.process = subprocess.Popen(
            [LORANK, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=ENVIRONMENT, preexec_fn=heed)
        os.close(theirs)
        self.shown = ""

    def read(self, until=None):
        """Reads what is shown, up to a text or to the end."""
        end = time.monotonic() + SECONDS_MAX
        while until is None or until not in self.shown:
            if not select.select([self.ours], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError(f"waited {SECONDS_MAX} s for {until!r}, and got {self.shown!r}")
            try:
                part = os.read(self.ours, 4096)
            except OSError as error:
                # Linux reports the end of a pseudo-terminal so.
                if error.errno != errno.EIO:
                    raise
                part = b""
            if not part:
                break
            self.shown += part.decode().replace("\r\n", "\n")
        return self.shown

    def type(self, text):
        os.write(self.ours, text.encode())

    def end(self):
        """Everything that was shown, and the exit status."""
        shown = self.read()
        os.close(self.ours)
        return shown, self.process.wait(SECONDS_MAX)


class Asking(unittest.TestCase):
    def check(self, typed, is_deleted, *selection):
        folder = index("asked", documents(3))
        terminal = Terminal("delete", "--index", folder, *(selection or ["--all"]))
        self.assertIn(f"delete 3 documents of `{folder}`? [y/N] ", terminal.read("[y/N] "))
        terminal.type(typed)
        shown, status = terminal.end()
        left = run("delete", "--index", folder, "--all", "--dry-run").stdout
        if is_deleted:
            self.assertIn(f"deleted 3 documents; `{folder}` now holds 0 documents", shown)
            self.assertEqual((status, left), (0, f"would delete 0 documents; `{folder}` holds 0 documents\n"), repr(typed))
        else:
            self.assertIn("nothing was deleted", shown)
            self.assertEqual((status, left), (1, f"would delete 3 documents; `{folder}` holds 3 documents\n"), repr(typed))

    def test_only_yes_deletes(self):
        # "\x04" at the start of a line ends the input (Ctrl-D).
        for typed, is_deleted in [("y\n", True), ("yes\n", True), ("Y\n", True), (" YES \n", True), ("n\n", False), ("no\n", False),
                                  ("\n", False), ("yess\n", False), ("\x04", False), ("ja\n", False)]:
            with self.subTest(typed=typed):
                self.check(typed, is_deleted)

    def test_every_selection_is_asked_about(self):
        self.check("y\n", True, "--filter", "id=d0,d1,d2")

    def test_ctrl_c_deletes_nothing(self):
        folder = index("interrupted", documents(3))
        terminal = Terminal("delete", "--index", folder, "--all")
        terminal.read("[y/N] ")
        terminal.process.send_signal(signal.SIGINT)
        _, status = terminal.end()
        self.assertNotEqual(status, 0)
        self.assertIn("would delete 3 documents", run("delete", "--index", folder, "--all", "--dry-run").stdout)

    def test_nothing_to_delete_asks_nothing(self):
        folder = index("nothing", documents(3))
        shown, status = Terminal("delete", "--index", folder, "--filter", "id=absent").end()
        self.assertEqual((shown, status), (f"deleted 0 documents; `{folder}` now holds 3 documents\n", 0))

    def test_ids_yes_and_dry_run_ask_nothing(self):
        folder = index("unasked", documents(3))
        for arguments, text in [(["d0"], "deleted 1 document;"), (["--all", "--dry-run"], "would delete 2 documents;"),
                                (["--all", "--yes"], "deleted 2 documents;")]:
            shown, status = Terminal("delete", "--index", folder, *arguments).end()
            self.assertTrue(status == 0 and shown.startswith(text), shown)


if __name__ == "__main__":
    unittest.main()
