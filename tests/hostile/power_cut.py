"""What a power cut leaves of a folder: undoes the changes in a log of `faults.c` that were not synced, newest first."""

import collections
import os
import struct

HEAD = struct.Struct("<cQQQII")
Record = collections.namedtuple("Record", "kind inode offset size first second")


def records(log):
    """The records of a log. The last one may be cut off: the process was killed."""
    with open(log, "rb") as file:
        data = file.read()
    at, found = 0, []
    while at + HEAD.size <= len(data):
        kind, inode, offset, size, n_first, n_second = HEAD.unpack_from(data, at)
        at += HEAD.size
        if at + n_first + n_second > len(data):
            break
        found.append(Record(kind.decode(), inode, offset, size, data[at : at + n_first], data[at + n_first : at + n_first + n_second]))
        at += n_first + n_second
    return found


def lost(found):
    """The changes that nothing has synced, newest first."""
    synced_files, synced_folders = set(), set()
    for record in reversed(found):
        folder = os.path.dirname(record.first)
        if record.kind == "S":
            synced_files.add(record.inode)
        elif record.kind == "D":
            synced_folders.add(record.first)
        elif record.kind == "W":
            if record.inode not in synced_files:
                yield record
        elif record.kind == "R":
            if not {folder, os.path.dirname(record.second)} <= synced_folders:
                yield record
        elif folder not in synced_folders:
            yield record


def path_of(root, inode):
    """Where a file of this inode is now."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if os.lstat(path).st_ino == inode:
                return path
    return None


def bring_back(kept, inode, path):
    """Gives a file its name back, in its folder, whose removal is lost as well."""
    file = os.path.join(kept, b"%d" % inode)
    if inode and os.path.exists(file):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.link(file, path)


def apply(root, log):
    """Leaves of a folder what a power cut would. Gives the number of changes that were lost."""
    kept, n = os.fsencode(log + ".kept"), 0
    root = os.fsencode(root)
    for record in lost(records(log)):
        n += 1
        if record.kind == "W":
            path = path_of(root, record.inode) or path_of(kept, record.inode)
            if path:
                with open(path, "r+b") as file:
                    file.seek(record.offset)
                    file.write(record.first)
                    file.truncate(record.size)
        elif record.kind == "C" and os.path.lexists(record.first) and os.lstat(record.first).st_ino == record.inode:
            os.unlink(record.first)
        elif record.kind == "R" and os.path.lexists(record.second):
            os.makedirs(os.path.dirname(record.first), exist_ok=True)
            os.rename(record.second, record.first)
            bring_back(kept, record.inode, record.second)
        elif record.kind == "U" and not os.path.lexists(record.first):
            bring_back(kept, record.inode, record.first)
    return n
