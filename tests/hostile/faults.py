"""The library of `faults.c`, and what a power cut leaves of a folder."""

import os
import subprocess

import power_cut
from harness import HERE, WORK


def library():
    """The built library."""
    path = os.path.join(WORK, "faults.so")
    if not os.path.exists(path):
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", path, os.path.join(HERE, "faults.c"), "-ldl"], check=True)
    return path


def preload(**variables):
    """The environment of a process that uses the library."""
    return {"LD_PRELOAD": library(), **variables}


class PowerCut:
    """A folder whose unsynced changes can be undone."""

    def __init__(self, folder):
        self.folder, self.log = folder, folder + ".faults"
        self.begin()

    def begin(self):
        """Forgets what was logged: all of it is on the disk."""
        for name in os.listdir(self.log + ".kept") if os.path.isdir(self.log + ".kept") else []:
            os.unlink(os.path.join(self.log + ".kept", name))
        os.makedirs(self.log + ".kept", exist_ok=True)
        open(self.log, "w").close()

    def environment(self):
        return preload(FAULTS_ROOT=self.folder, FAULTS_LOG=self.log)

    def cut(self):
        """After every process that uses the folder was killed: undoes what was not synced. Gives the number of changes."""
        n = power_cut.apply(self.folder, self.log)
        self.begin()
        return n
