# SPDX-License-Identifier: GPL-2.0-only
"""Create every tunnel again with the loaded modules, in a temporary namespace. A tunnel that cannot be created with its
dumped parameters could not be restored by a rollback."""

import errno
import os

import link as ln
import namespaces
import netlink as nl

GROUP = 0x6970746e              # to delete all with one request


class ScratchNetNs:
    """A temporary network namespace, deleted on close()"""

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

    def create(self, links):
        """-> {link: error}, [links that conflict with others of the list]"""
        names = {"r%d" % i: link for i, link in enumerate(links)}
        requests = [(ln.NEWLINK, nl.CREATE | nl.EXCL, ln.header(0) + nl.string(ln.IFNAME, name) + nl.u32(
            ln.GROUP, GROUP) + attrs_without_group(link)) for name, link in names.items()]
        wrong, retry = {}, []
        for link, (code, message) in zip(links, self.sock.batch(requests)):
            if code == errno.EEXIST:
                retry.append(link)
            elif code:
                wrong[link] = nl.Error(code, message).strerror
        for made in ln.dump_links(self.sock):
            link = names.get(made.name)
            if link and made.data != link.data:
                wrong[link] = "it is created with other parameters: %s, not %s" % (made.data.hex(), link.data.hex())
        self.sock.batch([(ln.DELLINK, 0, ln.header(0) + nl.u32(ln.GROUP, GROUP))])
        return wrong, retry


def attrs_without_group(link):
    group = nl.attr(ln.GROUP, link.attrs[ln.GROUP])
    return ln.newlink_attrs(link, {}).replace(group, b"", 1)


def rehearse(netns_list):
    """-> a line for each tunnel that could not be created again"""
    scratch, lines = ScratchNetNs(), []
    try:
        # Tunnels with the same parameters are tried once.
        different = {(link.kind, link.data): (netns, link) for netns in netns_list for link in netns.tunnels()}
        left = list(different.values())
        while left:
            homes = {link: netns for netns, link in left}
            wrong, retry = scratch.create([link for _, link in left])
            lines += ["%s in %s: cannot be made again: %s" % (link.name, homes[link].title, why)
                      for link, why in wrong.items()]
            if len(retry) == len(left):
                lines += ["%s in %s: cannot be made again: another tunnel has its addresses" % (
                    link.name, homes[link].title) for link in retry]
                break
            left = [(homes[link], link) for link in retry]
    finally:
        scratch.close()
    return lines
