# SPDX-License-Identifier: GPL-2.0-only
"""What of a device is to be had from sysfs alone: packet steering and polling.

sysfs shows the devices of the namespace it was mounted in, so a child process of our own mounts one for each.
"""

import ctypes
import glob
import json
import os

import namespaces

CLONE_NEWNS, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x4000, 0x40000, 2
FILES = ("queues/rx-*/rps_cpus", "queues/rx-*/rps_flow_cnt", "queues/tx-*/xps_cpus", "queues/tx-*/xps_rxqs",
         "gro_flush_timeout", "napi_defer_hard_irqs", "threaded")
PLACE = "/run/iptnl/sys"         # to mount on; /sys itself may show that very namespace, which cannot be mounted twice
BASE = PLACE + "/class/net/"


def checked(result):
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def in_child(work):
    """-> what work() returns, called in a process that has a mount namespace of its own"""
    os.makedirs(PLACE, exist_ok=True)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = {"done": alone(work)}
        except OSError as error:
            answer = {"error": error.strerror}
        finally:
            with os.fdopen(writer, "w") as file:
                json.dump(answer, file)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        answer = json.load(file)
    os.waitpid(child, 0)
    if "error" in answer:
        raise OSError(0, "sysfs of a network namespace: " + answer["error"])
    return answer["done"]


def alone(work):
    checked(namespaces.libc.unshare(CLONE_NEWNS))
    checked(namespaces.libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None))
    return work()


def mounted(fd, work):
    """-> what work() returns while sysfs is that of a namespace"""
    namespaces.enter(fd)
    checked(namespaces.libc.mount(b"sysfs", PLACE.encode(), b"sysfs", ctypes.c_ulong(0), None))
    try:
        return work()
    finally:
        namespaces.libc.umount2(PLACE.encode(), MNT_DETACH)


def value(path):
    """-> what a file says, "" if it says that there is nothing special"""
    try:
        with open(path) as file:
            text = file.read().strip()
    except OSError:
        return ""
    return text if text.strip("0,\n") else ""


def special(names):
    """-> {name: {file: value}}"""
    found = {}
    for name in names:
        base = BASE + name + "/"
        files = [path for pattern in FILES for path in glob.glob(glob.escape(base) + pattern)]
        some = {path[len(base):]: value(path) for path in sorted(files) if value(path)}
        if some:
            found[name] = some
    return found


def read(wanted):
    """{key: (file descriptor, names)} of namespaces -> {key: {name: {file: value}}}"""
    answer = in_child(lambda: [[key, mounted(fd, lambda: special(names))] for key, (fd, names) in wanted.items()])
    return {key: found for key, found in answer if found}


def put(values):
    """-> why some could not be written"""
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
    """{key: (file descriptor, values as read)} -> {key: why some could not be written}"""
    answer = in_child(lambda: [[key, mounted(fd, lambda: put(values))] for key, (fd, values) in wanted.items()])
    return {key: wrong for key, wrong in answer if wrong}
