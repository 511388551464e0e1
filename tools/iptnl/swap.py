# SPDX-License-Identifier: GPL-2.0-only
"""Swap the modules: check for obstacles, swap, and roll back on failure.

    prepare     check for obstacles; nothing is changed
    exchange    swap modules and restore tunnels; signals are blocked, and nothing is printed because the terminal may
                be reached through a tunnel
    rollback    load the former modules again and restore the tunnels on them
The snapshot is saved to a file before the first device is deleted, so that "iptnl recover" can finish after a crash.
"""

import ctypes
import fcntl
import gc
import json
import os
import resource
import signal
import time

import carry
import link as ln
import modules
import namespaces
import obstacles
import rehearsal
import replay
import settings
import snapshot
import sysfs

RUN_DIR = "/run/iptnl"
STATE, LEFTOVER, LOCK = RUN_DIR + "/state.json", RUN_DIR + "/left.json", RUN_DIR + "/lock"
SWAPPED = ("tunnel4", "gre", "ipip", "ip_gre")
DEPENDS_ON = {"ipip": "tunnel4", "ip_gre": "gre"}
CORE = {modules.OURS: "ip_tunnel_core", modules.THEIRS: "ip_tunnel"}
OTHER_SIDE = {modules.OURS: modules.THEIRS, modules.THEIRS: modules.OURS}
SUCCESS, REFUSED, ROLLED_BACK, INCOMPLETE = 0, 1, 3, 4
SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP}
ATTEMPTS = 5


class Refused(Exception):
    """The swap was refused; lines has the reasons."""

    def __init__(self, lines):
        super().__init__("\n".join(lines))
        self.lines = lines


class Output:
    """Terminal output, buffered while the process must not block"""

    def __init__(self):
        self.held = None

    def hold(self):
        self.held = []

    def release(self):
        held, self.held = self.held or [], None
        for line in held:
            self.say(line)

    def say(self, line):
        if self.held is not None:
            self.held.append(line)
            return
        try:
            print(line, flush=True)
        except OSError:
            pass                        # the terminal is gone


def boot_id():
    return modules.read("/proc/sys/kernel/random/boot_id")


def take_lock(wait=False):
    """Take the lock. Child processes inherit it, so that "recover" waits for a running insmod or rmmod, too."""
    os.makedirs(RUN_DIR, mode=0o700, exist_ok=True)
    lock = open(LOCK, "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        lock.close()
        raise Refused(["another iptnl is running"]) from None
    modules.inherited = (lock.fileno(),)
    return lock


def open_netns():
    """-> all network namespaces, with sockets in them. Raises Refused if one cannot be entered."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    found, failures = namespaces.find()
    lines = ["network namespace %s cannot be entered: %s" % failure for failure in failures]
    netns_list = []
    for one in found:
        try:
            netns_list.append(snapshot.NetNs(one))
        except OSError as error:
            lines.append("network namespace %s cannot be entered: %s" % (one.title, error.strerror))
    if lines:
        raise Refused(lines)
    return netns_list


def plural(number, word):
    return "%d %s%s" % (number, word, "" if number == 1 else "s")


class Plan:
    """Which modules to unload and which to load. Empty if the wanted ones are loaded already.

    stale           another build of iptnl is loaded than is installed, and is replaced. The files of the loaded one are
                    gone, so a rollback goes to the in-tree modules.
    core            ip_tunnel_core or ip_tunnel, if it must be loaded before the swap
    upgraded_core   ip_tunnel_core, if an older build of it is replaced
    leaving         core module that is not needed after the swap
    """

    def __init__(self, side, keep_held):
        self.side, self.before = side, modules.state()
        self.obstacles = ["module %s is neither the kernel's nor iptnl's: unload it first" % name
                          for name in modules.MODULES if self.before[name] == modules.FOREIGN]
        self.stale = side == modules.OURS and any(map(modules.is_stale, modules.MODULES))
        going = (OTHER_SIDE[side], side) if self.stale else (OTHER_SIDE[side],)
        self.replaced = [name for name in SWAPPED if self.before[name] in going]
        self.kept = []
        self.check_holders(keep_held)
        # Modules that depend on a replaced one must be replaced, too, wherever they come from.
        upper = [name for name in ("ip_gre", "ipip") if name in self.replaced or
                 DEPENDS_ON[name] in self.replaced and modules.is_loaded(name)]
        self.unloaded = upper + [name for name in ("gre", "tunnel4") if name in self.replaced]
        self.kinds = {kind for kind, module in ln.KINDS.items() if module in upper}
        self.core = CORE[side] if upper and not modules.is_loaded(CORE[side]) else ""
        self.upgraded_core = CORE[side] if upper and self.stale and not self.core else ""
        self.files = {name: modules.file_of(name, side)
                      for name in self.unloaded + [self.core or self.upgraded_core] if name}
        self.undo = {name: (modules.file_of(name, self.origin(name)), self.origin(name)) for name in self.unloaded}
        leaving = self.upgraded_core or CORE[OTHER_SIDE[side]]
        self.leaving = leaving if modules.is_loaded(leaving) and set(modules.holders(leaving)) <= set(upper) else ""
        path = modules.file_of(CORE[OTHER_SIDE[side]], OTHER_SIDE[side]) if self.leaving else ""
        self.undo_core = (path, OTHER_SIDE[side]) if path else None

    def origin(self, name):
        """-> which module a rollback loads"""
        return OTHER_SIDE[self.side] if self.before[name] == self.side and self.stale else self.before[name]

    def check_holders(self, keep_held):
        for name in list(self.replaced):
            others = [holder for holder in modules.holders(name) if holder not in SWAPPED]
            beyond = modules.references(name) - len(modules.holders(name))
            if not others and beyond <= 0:
                continue
            by = ", ".join(others + (["%s not by modules" % plural(beyond, "reference")] if beyond > 0 else []))
            if name in DEPENDS_ON:
                self.obstacles.append("module %s is held by %s" % (name, by))
            elif keep_held:
                self.kept.append(name)
                self.replaced.remove(name)
            else:
                self.obstacles.append("module %s is held by %s; --keep-held leaves it in place, the other modules work "
                                      "on it as well" % (name, by))

    def files_missing(self):
        found = []
        for name in self.unloaded + [name for name in (self.core, self.upgraded_core) if name]:
            found += modules.file_obstacles(name, self.side)
        for name, (path, whose) in self.undo.items():
            if not path:
                found.append("module %s (%s) could not be loaded again: its file is gone; %s" % (
                    name, whose, "install iptnl again, or reboot: the kernel's own are loaded then"
                    if whose == modules.OURS else "the kernel's package has it"))
        return found

    def modules_to_remove(self):
        """-> modules to unload after a failed swap, in order"""
        now = modules.state()
        if self.stale and all(map(modules.is_loaded, self.unloaded)) and modules.is_stale(self.leaving):
            return []                           # none was unloaded
        back = {name for name in self.unloaded if now[name] == self.side != self.origin(name)}
        back |= {name for name in self.unloaded if DEPENDS_ON.get(name) in back}
        return [name for name in self.unloaded if name in back]

    def modules_to_reload(self):
        """-> [(file, side)] of former modules that must be loaded again"""
        core = [self.undo_core] if self.undo_core else []
        return [(path, whose) for path, whose in core + [self.undo[name] for name in self.order()]
                if not modules.is_loaded(modules.module_name(path))]

    def modules_to_load(self):
        """-> [(file, side)] of modules to load after the others are unloaded"""
        return [(self.files[name], self.side) for name in [self.upgraded_core] + self.order() if name]

    def order(self):
        return [name for name in SWAPPED if name in self.unloaded]

    def describe(self):
        lines = ["unload %s: %s" % (whose, " ".join(names)) for whose in (OTHER_SIDE[self.side], self.side) for names in
                 [[name for name in self.unloaded if self.before[name] == whose]] if names]
        lines += ["load %s: %s" % (self.side, self.files[name])
                  for name in [self.core or self.upgraded_core] + self.order() if name]
        lines += ["keep %s: %s, held by %s" % (self.before[name], name, ", ".join(
            h for h in modules.holders(name) if h not in SWAPPED) or "others") for name in self.kept]
        return lines


class Swap:
    """One swap, from the checks to the summary"""

    def __init__(self, side, keep_held=False, dry_run=False, output=None):
        self.plan, self.dry_run = Plan(side, keep_held), dry_run
        self.out = output or Output()
        self.netns_list, self.ipv6_confs, self.taken_at = [], settings.Ipv6ConfCache(), 0
        self.parameters, self.notes = {}, []
        self.numbers = {}               # netns -> index -> sequence numbers
        self.restorer = None            # the last one used
        self.preloaded = []             # modules loaded before the swap, unloaded again if it is refused
        self.began = self.ended = 0     # the interruption

    # ---- checks

    def find_tunnels(self):
        """Find all tunnels. -> [(netns, links)]"""
        for netns in self.netns_list:
            netns.close()
        self.netns_list = open_netns()
        return [(netns, netns.find_tunnels(self.plan.kinds)) for netns in self.netns_list]

    def prepare(self):
        """Check for obstacles. Raises Refused."""
        lines = list(self.plan.obstacles) + self.plan.files_missing()
        inspection = obstacles.Inspection(self.find_tunnels(), self.plan.kinds, self.plan.side)
        inspection.run()
        lines += inspection.obstacles
        if self.plan.side == modules.OURS:
            lines += obstacles.threaded_napi(self.netns_list, self.read_sysfs())
        self.notes = inspection.notes
        if not lines:
            lines = rehearsal.rehearse(self.netns_list)
        if lines:
            raise Refused(lines)

    def take_snapshot(self):
        self.ipv6_confs, self.taken_at = settings.Ipv6ConfCache(), time.time()
        self.parameters = modules.parameters()
        for netns in self.netns_list:
            if netns.links:
                with namespaces.inside(netns.handle.fd):
                    netns.capture(self.ipv6_confs)
        for i, found in self.read_sysfs().items():
            self.netns_list[i].sysfs = found

    def read_sysfs(self):
        """-> {position in netns_list: {name: {file: value}}}"""
        wanted = {i: (netns.handle.fd, [link.name for link in netns.links.values()])
                  for i, netns in enumerate(self.netns_list) if netns.links}
        return sysfs.read(wanted) if wanted else {}

    def unchanged(self):
        """Return true if the tunnels are the same as in the snapshot."""
        found, _ = namespaces.find()
        idents = {one.ident for one in found}
        for one in found:
            os.close(one.fd)
        if idents != {netns.handle.ident for netns in self.netns_list}:
            return False
        for netns in self.netns_list:
            now = {link.index: link for link in ln.dump_links(netns.sock) if link.kind in self.plan.kinds}
            if set(now) != set(netns.links) or any(
                    (link.name, link.kind, link.data, link.flags, link.master) !=
                    (now[i].name, now[i].kind, now[i].data, now[i].flags, now[i].master)
                    for i, link in netns.links.items()):
                return False
        return True

    def preload(self):
        """Have the kernel check the module files, and load those that can coexist with the loaded modules."""
        names = self.plan.replaced + ([self.plan.upgraded_core] if self.plan.upgraded_core else [])
        lines = [said for name in names for said in [modules.try_load(name, self.plan.side)] if said]
        if lines:
            raise Refused(lines)
        if self.plan.core:
            try:
                modules.load(self.plan.files[self.plan.core], self.plan.side)
            except modules.Error as error:
                raise Refused([str(error)]) from None
            self.preloaded.append(self.plan.core)

    def unload_preloaded(self):
        for name in self.preloaded:
            modules.run_kmod("rmmod", name)
        self.preloaded = []

    def tunnel_count(self):
        return sum(len(netns.tunnels()) for netns in self.netns_list)

    def netns_count(self):
        return sum(1 for netns in self.netns_list if not netns.idle or netns.tunnels())

    # ---- state file

    def save_state(self):
        kept = {"boot": boot_id(), "release": modules.release(), "side": self.plan.side, "before": self.plan.before,
                "unloaded": self.plan.unloaded, "files": self.plan.files, "undo": self.plan.undo,
                "kinds": sorted(self.plan.kinds), "upgraded_core": self.plan.upgraded_core,
                "preloaded": self.preloaded, "undo_core": self.plan.undo_core, "taken_at": self.taken_at,
                "numbers": [[netns.handle.ident, list(found.items())] for netns, found in self.numbers.items()],
                "ipv6_confs": self.ipv6_confs.known,
                "parameters": [[*key, value] for key, value in self.parameters.items()],
                "netns_list": [netns.to_dict() for netns in self.netns_list]}
        with open(STATE + ".new", "w") as file:
            os.fchmod(file.fileno(), 0o600)
            json.dump(kept, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(STATE + ".new", STATE)

    # ---- swap

    def run(self):
        """-> exit status"""
        self.prepare()
        for line in self.plan.describe():
            self.out.say(line)
        self.out.say("carry %s in %s" % (
            plural(self.tunnel_count(), "tunnel"), plural(self.netns_count(), "namespace")))
        for note in self.notes:
            self.out.say("note: " + note)
        if self.dry_run:
            return SUCCESS
        self.preload()
        try:
            for _ in range(ATTEMPTS):
                self.take_snapshot()
                if self.unchanged():
                    break
                self.prepare()
            else:
                raise Refused(["the tunnels keep changing"])
            block_signals()
            self.save_state()
        except BaseException:
            self.unload_preloaded()
            raise
        return self.exchange()

    def exchange(self):
        protect_process()
        self.out.hold()
        self.began = time.monotonic()
        try:
            failures = self.forward()
            if failures:
                return self.rollback(failures)
            os.unlink(STATE)
            self.summary()
            return SUCCESS
        finally:
            discard_signals()
            self.out.release()

    def forward(self):
        """-> failures"""
        with_them = [self.plan.leaving] if self.plan.leaving == CORE[modules.THEIRS] else []
        try:
            carry.start_recording()
            modules.unload(self.plan.unloaded + with_them)
            if self.plan.upgraded_core:
                self.unload_old_build()
            failures = self.restore(self.plan.modules_to_load(), stop=True)
            if not failures:
                self.unload_old_core()
            return failures
        except Exception as error:      # any error must lead to a rollback
            return [error_text(error)]

    def save_numbers(self):
        for netns, found in carry.collect_numbers(self.netns_list).items():
            self.numbers.setdefault(netns, {}).update(found)

    def unload_old_build(self):
        """Unload the old ip_tunnel_core. The sequence numbers that it kept are saved to the state file first."""
        self.save_numbers()
        if self.numbers:
            self.save_state()
        modules.unload([self.plan.upgraded_core])

    def unload_old_core(self):
        """The tunnels are restored: discard the recorded numbers, and unload an unused ip_tunnel_core."""
        carry.discard_recorded()
        if self.plan.side == modules.THEIRS and self.plan.leaving:
            modules.run_kmod("rmmod", self.plan.leaving)

    def restore(self, files, stop=False):
        """Load modules and restore everything. -> failures"""
        self.restorer = restorer = replay.Replay(self.netns_list, self.ipv6_confs, self.taken_at, lenient=not stop)
        self.save_numbers()
        load_avoiding_conflicts(restorer, files)
        failures = restore_all(restorer, self.parameters, self.numbers, stop)
        self.ended = restorer.ended
        return failures

    def interruption(self):
        return "interruption %d ms" % ((self.ended - self.began) * 1000)

    def rollback(self, failures):
        for line in failures:
            self.out.say("failed: " + line)
        self.out.say("going back to the former modules")
        try:
            modules.unload(self.plan.modules_to_remove())
            self.save_numbers()
            if self.plan.side == modules.THEIRS and modules.is_stale(self.plan.leaving):
                modules.unload([self.plan.leaving])     # its file is gone, the installed one is newer
            left = self.restore(self.plan.modules_to_reload())
        except Exception as error:      # report any error, keep the state file
            left = [error_text(error)]
        carry.discard_recorded()
        self.unload_preloaded()
        if self.plan.upgraded_core:
            modules.run_kmod("rmmod", self.plan.upgraded_core)    # fails if it is in use
        if left:
            for line in left:
                self.out.say("failed: " + line)
            self.out.say("not everything could be restored; what there was is in %s, 'iptnl recover%s' tries again" % (
                (LEFTOVER, " " + LEFTOVER) if keep_leftover(STATE, self.restorer) else (STATE, "")))
            return INCOMPLETE
        os.unlink(STATE)
        for line in self.restorer.changed_indexes():
            self.out.say("note: " + line)
        self.out.say("%s in %s are as before%s, %s" % (
            plural(self.tunnel_count(), "tunnel"), plural(self.netns_count(), "namespace"),
            ", on the kernel's own modules" if self.plan.stale else "", self.interruption()))
        return ROLLED_BACK

    def summary(self):
        loaded = [name for name in modules.MODULES if modules.owner(name) == self.plan.side]
        self.out.say("%s: %s" % (self.plan.side, " ".join(loaded)))
        self.out.say("%s in %s carried over, %s" % (
            plural(self.tunnel_count(), "tunnel"), plural(self.netns_count(), "namespace"), self.interruption()))
        self.out.say("the statistics of the tunnels start at 0")


def error_text(error):
    return str(error) if isinstance(error, (OSError, modules.Error)) else repr(error)


def load_all(files):
    for path, side in files:
        modules.load(path, side)


def load_avoiding_conflicts(restorer, files):
    """Load modules such that their fallback devices do not take the interface indexes of tunnels."""
    cores = [one for one in files if modules.module_name(one[0]) not in SWAPPED]
    load_all(cores)
    carry.request_indexes(restorer.netns_list)
    load_all([one for one in files if one not in cores])
    for _ in range(ATTEMPTS):
        taken = restorer.conflicting_indexes() if files else {}
        if not taken:
            break
        restorer.skip_indexes(taken)
        loaded = [modules.module_name(path) for path, _ in files]
        modules.unload([name for name in reversed(loaded) if name in SWAPPED])
        carry.request_indexes(restorer.netns_list)
        load_all([(path, side) for path, side in files if not modules.is_loaded(modules.module_name(path))])


def keep_leftover(path, restorer):
    """If all tunnels exist, move the state file to LEFTOVER: then another swap need not be refused.
    Return true if it was moved."""
    if path != STATE or not restorer or not restorer.all_tunnels_exist():
        return False
    os.rename(STATE, LEFTOVER)
    return True


def restore_all(restorer, parameters, numbers, stop=False):
    """-> failures. With stop, end after a tunnel that could not be created."""
    restorer.create_tunnels()
    if restorer.failures and stop:
        return restorer.failures
    for netns in restorer.netns_list:
        try:
            with namespaces.inside(netns.handle.fd):
                restorer.restore_sequence_numbers(netns, numbers.get(netns, {}))
                restorer.restore_settings(netns)
        except Exception as error:      # go on with the other namespaces
            restorer.failures.append("namespace %s: %s" % (netns.title, error_text(error)))
    restorer.restore_sysfs()
    restorer.ended = time.monotonic()
    restorer.settle()
    modules.set_parameters(parameters)
    return restorer.failures


def block_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def discard_signals():
    """Discard pending signals: the swap is done, and the exit status must say so."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def protect_process():
    """Protect the process from the OOM killer and page faults, and disable garbage collection."""
    gc.disable()
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("-1000")
        namespaces.libc.mlockall(ctypes.c_int(3))
    except OSError:
        pass


def unload_old_core(output):
    """Unload an ip_tunnel_core of another build that nothing uses; the installed one comes with the first tunnel."""
    core = CORE[modules.OURS]
    if modules.is_stale(core) and not modules.holders(core):
        modules.unload([core])
        output.say("%s of another build is unloaded" % core)


# ---- after a crash

def recover(path, output):
    """Finish an interrupted swap from its state file, with the modules that are loaded, else the former ones."""
    try:
        with open(path) as file:
            kept = json.load(file)
    except FileNotFoundError:
        output.say("nothing to recover")
        return SUCCESS
    except (OSError, ValueError) as error:
        raise Refused(["%s: %s" % (path, error)]) from None
    if kept["boot"] != boot_id():
        raise Refused(["%s: of an earlier boot" % path])
    netns_list, lost = load_state(kept)
    for title in lost:
        output.say("note: network namespace %s is gone, with its tunnels" % title)
    output.hold()
    block_signals()
    try:
        return finish_recovery(kept, netns_list, path, output)
    except Exception as error:          # keep the file, to try again
        output.say("failed: " + error_text(error))
        return INCOMPLETE
    finally:
        discard_signals()
        output.release()


def discard(path, output):
    """Remove a state file without restoring anything."""
    path = os.path.realpath(path)
    if os.path.dirname(path) != os.path.realpath(RUN_DIR) or not path.endswith(".json"):
        raise Refused(["%s: not a state file of iptnl; they are %s/*.json" % (path, RUN_DIR)])
    try:
        os.unlink(path)
    except FileNotFoundError:
        output.say("nothing to discard")
        return SUCCESS
    except OSError as error:
        raise Refused(["%s: %s" % (path, error.strerror)]) from None
    output.say("%s is removed" % path)
    return SUCCESS


def load_state(kept):
    """-> (namespaces, names of deleted namespaces)"""
    netns_list = open_netns()
    by_ident = {netns.handle.ident: netns for netns in netns_list}
    lost = []
    for one in kept["netns_list"]:
        netns = by_ident.get(tuple(one["ident"]))
        if netns:
            netns.load_dict(one)
        elif one["links"]:
            lost.append(one["title"])
    return netns_list, lost


def finish_recovery(kept, netns_list, path, output):
    numbers = saved_numbers(kept, netns_list)
    files, side = files_to_finish(kept)
    restorer = replay.Replay(netns_list, settings.Ipv6ConfCache(kept["ipv6_confs"]), kept["taken_at"], lenient=True)
    load_avoiding_conflicts(restorer, [(file, whose) for file, whose in files
                                       if not modules.is_loaded(modules.module_name(file))])
    failures = restore_all(restorer, {(module, name): value for module, name, value in kept["parameters"]}, numbers)
    for line in failures:
        output.say("failed: " + line)
    count = sum(len(netns.tunnels()) for netns in netns_list)
    if failures:
        output.say("not everything could be restored; %s is kept" % (
            LEFTOVER if keep_leftover(path, restorer) else path))
        return INCOMPLETE
    os.unlink(path)
    carry.discard_recorded()
    for name in kept["preloaded"] if side != kept["side"] else [CORE[modules.OURS]] if side == modules.THEIRS else ():
        modules.run_kmod("rmmod", name)
    output.say("%s restored, with the %s modules" % (plural(count, "tunnel"), side))
    return SUCCESS


def saved_numbers(kept, netns_list):
    """-> the sequence numbers in the state file and in ip_tunnel_core"""
    by_ident = {netns.handle.ident: netns for netns in netns_list}
    found = {by_ident[tuple(ident)]: {index: tuple(value) for index, value in values}
             for ident, values in kept["numbers"] if tuple(ident) in by_ident}
    for netns, values in carry.collect_numbers(netns_list).items():
        found.setdefault(netns, {}).update(values)
    return found


def files_to_finish(kept):
    """-> ([(file, side)] of modules that must be loaded, side)"""
    side, names = kept["side"], [name for name in SWAPPED if name in kept["unloaded"]]
    there = {modules.owner(name) for name in names if modules.is_loaded(name)}
    if kept["upgraded_core"]:
        if not there and modules.is_loaded(kept["upgraded_core"]):
            modules.unload([kept["upgraded_core"]])           # it may be the old one
        return [(kept["files"][name], side) for name in [kept["upgraded_core"]] + names], side
    if there == {side}:
        return [(kept["files"][name], side) for name in names], side
    if len(there) > 1:
        modules.unload([name for name in reversed(names) if modules.owner(name) == side])
    core = [tuple(kept["undo_core"])] if kept["undo_core"] else []
    return core + [tuple(kept["undo"][name]) for name in names], OTHER_SIDE[side]
