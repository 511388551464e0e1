# SPDX-License-Identifier: GPL-2.0-only
"""The exchange itself: look, refuse or go, and back again if anything goes wrong.

    prepare     nothing is touched; what stands in the way is found
    exchange    signals wait, nothing is printed (the terminal may be at the far end of a tunnel)
    rollback    the former modules, and the same giving back
The snapshot is in a file before the first device goes, so that "iptnl recover" can finish after a crash.
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

RUN = "/run/iptnl"
STATE, LEFT, LOCK = RUN + "/state.json", RUN + "/left.json", RUN + "/lock"
CARRIED = ("tunnel4", "gre", "ipip", "ip_gre")
LOWER = {"ipip": "tunnel4", "ip_gre": "gre"}
HELPER = {modules.OURS: "ip_tunnel_core", modules.THEIRS: "ip_tunnel"}
OTHER = {modules.OURS: modules.THEIRS, modules.THEIRS: modules.OURS}
FINE, REFUSED, ROLLED_BACK, BROKEN = 0, 1, 3, 4
SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP}
ATTEMPTS = 5


class Refused(Exception):
    """It was not begun; the lines say why."""

    def __init__(self, lines):
        super().__init__("\n".join(lines))
        self.lines = lines


class Output:
    """Lines for the terminal, held back while nothing may block us."""

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
            pass                        # nobody listens any more


def boot_id():
    return modules.read("/proc/sys/kernel/random/boot_id")


def take_lock(wait=False):
    """Of which there is one. A program of kmod that outlives us has it too, so that "recover" waits for its end."""
    os.makedirs(RUN, mode=0o700, exist_ok=True)
    lock = open(LOCK, "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        lock.close()
        raise Refused(["another iptnl is running"]) from None
    modules.inherited = (lock.fileno(),)
    return lock


def open_spaces():
    """-> every network namespace with sockets in it; those that cannot be entered are a refusal"""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    found, failures = namespaces.find()
    lines = ["network namespace %s cannot be entered: %s" % failure for failure in failures]
    spaces = []
    for one in found:
        try:
            spaces.append(snapshot.Space(one))
        except OSError as error:
            lines.append("network namespace %s cannot be entered: %s" % (one.title, error.strerror))
    if lines:
        raise Refused(lines)
    return spaces


def plural(number, word):
    return "%d %s%s" % (number, word, "" if number == 1 else "s")


class Plan:
    """Which modules go and which come. Empty if those wanted are there already.

    stale       those of iptnl that run are not those that are installed: new ones come in their place. The files of the
                old ones are gone, so the way back is to the kernel's own.
    """

    def __init__(self, side, keep_held):
        self.side, self.before = side, modules.state()
        self.obstacles = ["module %s is neither the kernel's nor iptnl's: unload it first" % name
                          for name in modules.MODULES if self.before[name] == modules.FOREIGN]
        self.stale = side == modules.OURS and any(map(modules.is_stale, modules.MODULES))
        going = (OTHER[side], side) if self.stale else (OTHER[side],)
        self.replaced = [name for name in CARRIED if self.before[name] in going]
        self.kept = []
        self.look_at_holders(keep_held)
        # What stands on a module that goes has to go with it, whosever it is.
        upper = [name for name in ("ip_gre", "ipip") if name in self.replaced or
                 LOWER[name] in self.replaced and modules.is_loaded(name)]
        self.unloaded = upper + [name for name in ("gre", "tunnel4") if name in self.replaced]
        self.kinds = {kind for kind, module in ln.KINDS.items() if module in upper}
        self.helper = HELPER[side] if upper and not modules.is_loaded(HELPER[side]) else ""
        self.renewed = HELPER[side] if upper and self.stale and not self.helper else ""
        self.files = {name: modules.file_of(name, side)
                      for name in self.unloaded + [self.helper or self.renewed] if name}
        self.undo = {name: (modules.file_of(name, self.origin(name)), self.origin(name)) for name in self.unloaded}
        leaving = self.renewed or HELPER[OTHER[side]]
        self.leaving = leaving if modules.is_loaded(leaving) and set(modules.holders(leaving)) <= set(upper) else ""
        path = modules.file_of(HELPER[OTHER[side]], OTHER[side]) if self.leaving else ""
        self.old_helper = (path, OTHER[side]) if path else None

    def origin(self, name):
        """-> whose module is to come back if the exchange fails"""
        return OTHER[self.side] if self.before[name] == self.side and self.stale else self.before[name]

    def look_at_holders(self, keep_held):
        for name in list(self.replaced):
            others = [holder for holder in modules.holders(name) if holder not in CARRIED]
            beyond = modules.references(name) - len(modules.holders(name))
            if not others and beyond <= 0:
                continue
            by = ", ".join(others + (["%s not by modules" % plural(beyond, "reference")] if beyond > 0 else []))
            if name in LOWER:
                self.obstacles.append("module %s is held by %s" % (name, by))
            elif keep_held:
                self.kept.append(name)
                self.replaced.remove(name)
            else:
                self.obstacles.append("module %s is held by %s; --keep-held leaves it in place, the other modules work "
                                      "on it as well" % (name, by))

    def files_missing(self):
        found = []
        for name in self.unloaded + [name for name in (self.helper, self.renewed) if name]:
            found += modules.file_obstacles(name, self.side)
        for name, (path, whose) in self.undo.items():
            if not path:
                found.append("module %s (%s) could not be loaded again: its file is gone; %s" % (
                    name, whose, "install iptnl again, or reboot: the kernel's own are loaded then"
                    if whose == modules.OURS else "the kernel's package has it"))
        return found

    def wrong(self):
        """-> modules that an exchange that failed left loaded and that have to go, in order"""
        now = modules.state()
        if self.stale and all(map(modules.is_loaded, self.unloaded)) and modules.is_stale(self.leaving):
            return []                           # none has gone
        back = {name for name in self.unloaded if now[name] == self.side != self.origin(name)}
        back |= {name for name in self.unloaded if LOWER.get(name) in back}
        return [name for name in self.unloaded if name in back]

    def missing(self):
        """-> (file, whose) of the former modules that are not there"""
        helper = [self.old_helper] if self.old_helper else []
        return [(path, whose) for path, whose in helper + [self.undo[name] for name in self.order()]
                if not modules.is_loaded(modules.module_name(path))]

    def coming(self):
        """-> (file, whose) of those to load once the others are gone"""
        return [(self.files[name], self.side) for name in [self.renewed] + self.order() if name]

    def order(self):
        return [name for name in CARRIED if name in self.unloaded]

    def describe(self):
        lines = ["unload %s: %s" % (whose, " ".join(names)) for whose in (OTHER[self.side], self.side) for names in
                 [[name for name in self.unloaded if self.before[name] == whose]] if names]
        lines += ["load %s: %s" % (self.side, self.files[name])
                  for name in [self.helper or self.renewed] + self.order() if name]
        lines += ["keep %s: %s, held by %s" % (self.before[name], name, ", ".join(
            h for h in modules.holders(name) if h not in CARRIED) or "others") for name in self.kept]
        return lines


class Swap:
    """One exchange of modules, from the looking to the summary"""

    def __init__(self, side, keep_held=False, dry_run=False, output=None):
        self.plan, self.dry_run = Plan(side, keep_held), dry_run
        self.out = output or Output()
        self.spaces, self.shapes, self.taken_at = [], settings.Shapes(), 0
        self.parameters, self.notes = {}, []
        self.numbers = {}               # space -> index -> sequence numbers
        self.giving = None              # what gave back last
        self.came = []                  # what was loaded before the exchange, and goes again if there is none
        self.began = self.ended = 0     # the interruption

    # ---- before

    def observe(self):
        """Find all tunnels. -> [(space, links)]"""
        for space in self.spaces:
            space.close()
        self.spaces = open_spaces()
        return [(space, space.look(self.plan.kinds)) for space in self.spaces]

    def prepare(self):
        """Everything short of touching. Raises Refused."""
        lines = list(self.plan.obstacles) + self.plan.files_missing()
        inspection = obstacles.Inspection(self.observe(), self.plan.kinds, self.plan.side)
        inspection.run()
        lines += inspection.obstacles
        if self.plan.side == modules.OURS:
            lines += obstacles.threaded(self.spaces, self.from_sysfs())
        self.notes = inspection.notes
        if not lines:
            lines = rehearsal.rehearse(self.spaces)
        if lines:
            raise Refused(lines)

    def take(self):
        self.shapes, self.taken_at = settings.Shapes(), time.time()
        self.parameters = modules.parameters()
        for space in self.spaces:
            if space.links:
                with namespaces.inside(space.namespace.fd):
                    space.take(self.shapes)
        for i, found in self.from_sysfs().items():
            self.spaces[i].sysfs = found

    def from_sysfs(self):
        """-> {number of a space: {name: {file: value}}}"""
        wanted = {i: (space.namespace.fd, [link.name for link in space.links.values()])
                  for i, space in enumerate(self.spaces) if space.links}
        return sysfs.read(wanted) if wanted else {}

    def unchanged(self):
        """Whether the tunnels are still those that were taken"""
        found, _ = namespaces.find()
        idents = {one.ident for one in found}
        for one in found:
            os.close(one.fd)
        if idents != {space.namespace.ident for space in self.spaces}:
            return False
        for space in self.spaces:
            now = {link.index: link for link in ln.links(space.sock) if link.kind in self.plan.kinds}
            if set(now) != set(space.links) or any(
                    (link.name, link.kind, link.data, link.flags, link.master) !=
                    (now[i].name, now[i].kind, now[i].data, now[i].flags, now[i].master)
                    for i, link in space.links.items()):
                return False
        return True

    def offer(self):
        """Have the kernel look at the files while it cannot take them, and load what can be beside the others."""
        names = self.plan.replaced + ([self.plan.renewed] if self.plan.renewed else [])
        lines = [said for name in names for said in [modules.trial(name, self.plan.side)] if said]
        if lines:
            raise Refused(lines)
        if self.plan.helper:
            try:
                modules.load(self.plan.files[self.plan.helper], self.plan.side)
            except modules.Error as error:
                raise Refused([str(error)]) from None
            self.came.append(self.plan.helper)

    def withdraw(self):
        for name in self.came:
            modules.tool("rmmod", name)
        self.came = []

    def tunnels(self):
        return sum(len(space.tunnels()) for space in self.spaces)

    def inhabited(self):
        return sum(1 for space in self.spaces if not space.idle or space.tunnels())

    # ---- the file

    def save(self):
        kept = {"boot": boot_id(), "release": modules.release(), "side": self.plan.side, "before": self.plan.before,
                "unloaded": self.plan.unloaded, "files": self.plan.files, "undo": self.plan.undo,
                "kinds": sorted(self.plan.kinds), "renewed": self.plan.renewed,
                "came": self.came, "old_helper": self.plan.old_helper, "taken_at": self.taken_at,
                "numbers": [[space.namespace.ident, list(found.items())] for space, found in self.numbers.items()],
                "shapes": self.shapes.known, "parameters": [[*key, value] for key, value in self.parameters.items()],
                "spaces": [space.freeze() for space in self.spaces]}
        with open(STATE + ".new", "w") as file:
            os.fchmod(file.fileno(), 0o600)
            json.dump(kept, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(STATE + ".new", STATE)

    # ---- the exchange

    def run(self):
        """-> exit status"""
        self.prepare()
        for line in self.plan.describe():
            self.out.say(line)
        self.out.say("carry %s in %s" % (plural(self.tunnels(), "tunnel"), plural(self.inhabited(), "namespace")))
        for note in self.notes:
            self.out.say("note: " + note)
        if self.dry_run:
            return FINE
        self.offer()
        try:
            for _ in range(ATTEMPTS):
                self.take()
                if self.unchanged():
                    break
                self.prepare()
            else:
                raise Refused(["the tunnels change all the time"])
            block_signals()
            self.save()
        except BaseException:
            self.withdraw()
            raise
        return self.exchange()

    def exchange(self):
        brace()
        self.out.hold()
        self.began = time.monotonic()
        try:
            failures = self.forward()
            if failures:
                return self.rollback(failures)
            os.unlink(STATE)
            self.summary()
            return FINE
        finally:
            forget_signals()
            self.out.release()

    def forward(self):
        """-> what went wrong"""
        with_them = [self.plan.leaving] if self.plan.leaving == HELPER[modules.THEIRS] else []
        try:
            carry.record()
            modules.unload(self.plan.unloaded + with_them)
            if self.plan.renewed:
                self.renew()
            failures = self.restore(self.plan.coming(), stop=True)
            if not failures:
                self.dismiss()
            return failures
        except Exception as error:      # whatever it is: there are tunnels to bring back
            return [words(error)]

    def keep_numbers(self):
        for space, found in carry.take(self.spaces).items():
            self.numbers.setdefault(space, {}).update(found)

    def renew(self):
        """The module that keeps the sequence numbers is one that goes: in between, the file has them."""
        self.keep_numbers()
        if self.numbers:
            self.save()
        modules.unload([self.plan.renewed])

    def dismiss(self):
        """The tunnels are there: nobody needs what was kept for them, nor ip_tunnel_core without a user."""
        carry.forget()
        if self.plan.side == modules.THEIRS and self.plan.leaving:
            modules.tool("rmmod", self.plan.leaving)

    def restore(self, files, stop=False):
        """Load files, and give everything back. -> failures"""
        self.giving = giving = replay.Replay(self.spaces, self.shapes, self.taken_at, lenient=not stop)
        self.keep_numbers()
        load_free(giving, files)
        failures = give_back(giving, self.parameters, self.numbers, stop)
        self.ended = giving.ended
        return failures

    def interruption(self):
        return "interruption %d ms" % ((self.ended - self.began) * 1000)

    def rollback(self, failures):
        for line in failures:
            self.out.say("failed: " + line)
        self.out.say("going back to the former modules")
        try:
            modules.unload(self.plan.wrong())
            self.keep_numbers()
            if self.plan.side == modules.THEIRS and modules.is_stale(self.plan.leaving):
                modules.unload([self.plan.leaving])     # the files that are there are of newer ones
            left = self.restore(self.plan.missing())
        except Exception as error:      # as above
            left = [words(error)]
        carry.forget()
        self.withdraw()
        if self.plan.renewed:
            modules.tool("rmmod", self.plan.renewed)    # refused where it has users
        if left:
            for line in left:
                self.out.say("failed: " + line)
            self.out.say("not everything could be restored; what there was is in %s, 'iptnl recover%s' tries again" % (
                (LEFT, " " + LEFT) if set_aside(STATE, self.giving) else (STATE, "")))
            return BROKEN
        os.unlink(STATE)
        for line in self.giving.moved():
            self.out.say("note: " + line)
        self.out.say("%s in %s are as before%s, %s" % (
            plural(self.tunnels(), "tunnel"), plural(self.inhabited(), "namespace"),
            ", on the kernel's own modules" if self.plan.stale else "", self.interruption()))
        return ROLLED_BACK

    def summary(self):
        loaded = [name for name in modules.MODULES if modules.owner(name) == self.plan.side]
        self.out.say("%s: %s" % (self.plan.side, " ".join(loaded)))
        self.out.say("%s in %s carried over, %s" % (
            plural(self.tunnels(), "tunnel"), plural(self.inhabited(), "namespace"), self.interruption()))
        self.out.say("the statistics of the tunnels start at 0")


def words(error):
    return str(error) if isinstance(error, (OSError, modules.Error)) else repr(error)


def load_all(files):
    for path, side in files:
        modules.load(path, side)


def load_free(giving, files):
    """Load files, such that the devices the modules make leave the tunnels' indexes alone."""
    helpers = [one for one in files if modules.module_name(one[0]) not in CARRIED]
    load_all(helpers)
    carry.ask_for_indexes(giving.spaces)
    load_all([one for one in files if one not in helpers])
    for _ in range(ATTEMPTS):
        taken = giving.taken_indexes() if files else {}
        if not taken:
            break
        giving.step_over(taken)
        loaded = [modules.module_name(path) for path, _ in files]
        modules.unload([name for name in reversed(loaded) if name in CARRIED])
        carry.ask_for_indexes(giving.spaces)
        load_all([(path, side) for path, side in files if not modules.is_loaded(modules.module_name(path))])


def set_aside(path, giving):
    """What could not be given back but for tunnels that are all there is no reason to refuse another exchange.
    -> whether the file is kept as LEFT now"""
    if path != STATE or not giving or not giving.complete():
        return False
    os.rename(STATE, LEFT)
    return True


def give_back(giving, parameters, numbers, stop=False):
    """-> failures; with stop, go no further when a tunnel could not be made"""
    giving.make()
    if giving.failures and stop:
        return giving.failures
    for space in giving.spaces:
        try:
            with namespaces.inside(space.namespace.fd):
                giving.count_on(space, numbers.get(space, {}))
                giving.dress(space)
        except Exception as error:      # the other namespaces have tunnels, too
            giving.failures.append("namespace %s: %s" % (space.title, words(error)))
    giving.sysfs()
    giving.ended = time.monotonic()
    giving.settle()
    modules.set_parameters(parameters)
    return giving.failures


def block_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def forget_signals():
    """What came meanwhile came too late: it is done, and the exit status has to say so."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def brace():
    """From here on we must not be stopped, killed for memory, or wait for a page."""
    gc.disable()
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("-1000")
        namespaces.libc.mlockall(ctypes.c_int(3))
    except OSError:
        pass


# ---- after a crash

def recover(path, output):
    """Finish what a file holds: with the modules of whichever side is there, or else the former ones."""
    try:
        with open(path) as file:
            kept = json.load(file)
    except FileNotFoundError:
        output.say("nothing to recover")
        return FINE
    except (OSError, ValueError) as error:
        raise Refused(["%s: %s" % (path, error)]) from None
    if kept["boot"] != boot_id():
        raise Refused(["%s: of an earlier boot" % path])
    spaces, lost = thaw(kept)
    for title in lost:
        output.say("note: network namespace %s is gone, with its tunnels" % title)
    output.hold()
    block_signals()
    try:
        return finish(kept, spaces, path, output)
    except Exception as error:          # the file stays, to try again
        output.say("failed: " + words(error))
        return BROKEN
    finally:
        forget_signals()
        output.release()


def discard(path, output):
    """Do without what a file holds."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        output.say("nothing to discard")
        return FINE
    except OSError as error:
        raise Refused(["%s: %s" % (path, error.strerror)]) from None
    output.say("%s is removed" % path)
    return FINE


def thaw(kept):
    """-> (spaces, titles of those that are gone)"""
    spaces = open_spaces()
    by_ident = {space.namespace.ident: space for space in spaces}
    lost = []
    for one in kept["spaces"]:
        space = by_ident.get(tuple(one["ident"]))
        if space:
            space.thaw(one)
        elif one["links"]:
            lost.append(one["title"])
    return spaces, lost


def finish(kept, spaces, path, output):
    numbers = numbers_of(kept, spaces)
    files, side = files_to_finish(kept)
    giving = replay.Replay(spaces, settings.Shapes(kept["shapes"]), kept["taken_at"], lenient=True)
    load_free(giving, [(file, whose) for file, whose in files if not modules.is_loaded(modules.module_name(file))])
    failures = give_back(giving, {(module, name): value for module, name, value in kept["parameters"]}, numbers)
    for line in failures:
        output.say("failed: " + line)
    count = sum(len(space.tunnels()) for space in spaces)
    if failures:
        output.say("not everything could be restored; %s is kept" % (LEFT if set_aside(path, giving) else path))
        return BROKEN
    os.unlink(path)
    carry.forget()
    for name in kept["came"] if side != kept["side"] else [HELPER[modules.OURS]] if side == modules.THEIRS else ():
        modules.tool("rmmod", name)
    output.say("%s restored, with the %s modules" % (plural(count, "tunnel"), side))
    return FINE


def numbers_of(kept, spaces):
    """-> the sequence numbers that the file has, and those that ip_tunnel_core still has"""
    by_ident = {space.namespace.ident: space for space in spaces}
    found = {by_ident[tuple(ident)]: {index: tuple(value) for index, value in values}
             for ident, values in kept["numbers"] if tuple(ident) in by_ident}
    for space, values in carry.take(spaces).items():
        found.setdefault(space, {}).update(values)
    return found


def files_to_finish(kept):
    """-> ([(file, whose)] to be loaded where they are not, which side they are)"""
    side, names = kept["side"], [name for name in CARRIED if name in kept["unloaded"]]
    there = {modules.owner(name) for name in names if modules.is_loaded(name)}
    if kept["renewed"]:
        if not there and modules.is_loaded(kept["renewed"]):
            modules.unload([kept["renewed"]])           # it may be the old one
        return [(kept["files"][name], side) for name in [kept["renewed"]] + names], side
    if there == {side}:
        return [(kept["files"][name], side) for name in names], side
    if len(there) > 1:
        modules.unload([name for name in reversed(names) if modules.owner(name) == side])
    helper = [tuple(kept["old_helper"])] if kept["old_helper"] else []
    return helper + [tuple(kept["undo"][name]) for name in names], OTHER[side]
