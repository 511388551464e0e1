# SPDX-License-Identifier: GPL-2.0-only
"""Device settings that are only in sysfs: packet steering and polling

sysfs shows the devices of the namespace it was mounted in, so a child process mounts one for each.
"""

import ctypes
import glob
import json
import os

import namespaces

CLONE_NEWNS, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x4000, 0x40000, 2
FILES = ("queues/rx-*/rps_cpus", "queues/rx-*/rps_flow_cnt", "queues/tx-*/xps_cpus", "queues/tx-*/xps_rxqs",
         "gro_flush_timeout", "napi_defer_hard_irqs", "threaded")
# Not /sys: it may already be the sysfs of that namespace, which cannot be mounted twice.
MOUNT_POINT = "/run/iptnl/sys"
BASE = MOUNT_POINT + "/class/net/"


def checked(result):
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def in_child(work):
    """-> the result of work(), called in a child process with its own mount namespace"""
    os.makedirs(MOUNT_POINT, exist_ok=True)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            result = {"done": in_new_mount_ns(work)}
        except OSError as error:
            result = {"error": error.strerror}
        finally:
            with os.fdopen(writer, "w") as file:
                json.dump(result, file)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        result = json.load(file)
    os.waitpid(child, 0)
    if "error" in result:
        raise OSError(0, "sysfs of a network namespace: " + result["error"])
    return result["done"]


def in_new_mount_ns(work):
    checked(namespaces.libc.unshare(CLONE_NEWNS))
    checked(namespaces.libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None))
    return work()


def with_sysfs_of(fd, work):
    """-> the result of work(), called in a namespace with its sysfs mounted"""
    namespaces.enter(fd)
    checked(namespaces.libc.mount(b"sysfs", MOUNT_POINT.encode(), b"sysfs", ctypes.c_ulong(0), None))
    try:
        return work()
    finally:
        namespaces.libc.umount2(MOUNT_POINT.encode(), MNT_DETACH)


def non_default_value(path):
    """-> the content of a file, "" if it is the default (0)"""
    try:
        with open(path) as file:
            text = file.read().strip()
    except OSError:
        return ""
    return text if text.strip("0,\n") else ""


def non_default_values(names):
    """-> {name: {file: value}}"""
    found = {}
    for name in names:
        base = BASE + name + "/"
        files = [path for pattern in FILES for path in glob.glob(glob.escape(base) + pattern)]
        some = {path[len(base):]: non_default_value(path) for path in sorted(files) if non_default_value(path)}
        if some:
            found[name] = some
    return found


def read(wanted):
    """Read settings in namespaces. {key: (file descriptor, names)} -> {key: {name: {file: value}}}"""
    result = in_child(lambda: [[key, with_sysfs_of(fd, lambda: non_default_values(names))]
                               for key, (fd, names) in wanted.items()])
    return {key: found for key, found in result if found}


def write_values(values):
    """-> errors, one per line"""
    wrong = []
    for name, files in values.items():
        for path, text in files.items():
            try:
                with open(BASE + name + "/" + path, "w") as file:
                    file.write(text)
            except OSError as error:
                wrong.append("%s/%s: %s" % (name, path, error.strerror))
    return wrong


def write(wanted):
    """Write settings in namespaces. {key: (file descriptor, result of read())} -> {key: errors}"""
    result = in_child(lambda: [[key, with_sysfs_of(fd, lambda: write_values(values))]
                               for key, (fd, values) in wanted.items()])
    return {key: wrong for key, wrong in result if wrong}
