# SPDX-License-Identifier: GPL-2.0-only
"""Make every tunnel once more, by the modules that are loaded, in a namespace of its own that is thrown away: what
they do not take back as they gave it could not be restored if the swap had to be undone."""

import errno
import os

import link as ln
import namespaces
import netlink as nl

GROUP = 0x6970746e              # to delete them at one go


class Scratch:
    """A new network namespace, gone when closed"""

    def __init__(self):
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            namespaces.unshare()
            self.sock = nl.Socket()
        finally:
            namespaces.enter(home)
            os.close(home)

    def close(self):
        self.sock.close()

    def make(self, links):
        """-> {link: why not}, and those that cannot be beside the others"""
        names = {"r%d" % i: link for i, link in enumerate(links)}
        requests = [(ln.NEWLINK, nl.CREATE | nl.EXCL, ln.header(0) + nl.string(ln.IFNAME, name) + nl.u32(
            ln.GROUP, GROUP) + birth(link)) for name, link in names.items()]
        wrong, again = {}, []
        for link, (code, words) in zip(links, self.sock.batch(requests)):
            if code == errno.EEXIST:
                again.append(link)
            elif code:
                wrong[link] = nl.Error(code, words).strerror
        for made in ln.links(self.sock):
            link = names.get(made.name)
            if link and made.data != link.data:
                wrong[link] = "the kernel makes it differently: %s, not %s" % (made.data.hex(), link.data.hex())
        self.sock.batch([(ln.DELLINK, 0, ln.header(0) + nl.u32(ln.GROUP, GROUP))])
        return wrong, again


def birth(link):
    group = nl.attribute(ln.GROUP, link.attrs[ln.GROUP])
    return ln.birth(link, {}).replace(group, b"", 1)


def rehearse(spaces):
    """-> a line for each tunnel that could not be made again"""
    scratch, lines = Scratch(), []
    try:
        # Those with the same parameters need not be tried twice.
        different = {(link.kind, link.data): (space, link) for space in spaces for link in space.tunnels()}
        left = list(different.values())
        while left:
            homes = {link: space for space, link in left}
            wrong, again = scratch.make([link for _, link in left])
            lines += ["%s in %s: cannot be made again: %s" % (link.name, homes[link].title, why)
                      for link, why in wrong.items()]
            if len(again) == len(left):
                lines += ["%s in %s: cannot be made again: another one has its addresses" % (
                    link.name, homes[link].title) for link in again]
                break
            left = [(homes[link], link) for link in again]
    finally:
        scratch.close()
    return lines
