# SPDX-License-Identifier: GPL-2.0-only
"""The tunnel modules: which are loaded, where they come from, what holds them, where their files are"""

import errno
import glob
import gzip
import lzma
import os
import re
import subprocess

MODULES = ("tunnel4", "gre", "ip_tunnel_core", "ipip", "ip_gre")        # in load order
OURS, THEIRS, FOREIGN, BUILTIN, ABSENT = "iptnl", "in-tree", "foreign", "built in", "not loaded"
NEEDS = {OURS: {"ipip": ("tunnel4", "ip_tunnel_core"), "ip_gre": ("gre", "ip_tunnel_core")},
         THEIRS: {"ipip": ("tunnel4", "ip_tunnel"), "ip_gre": ("gre", "ip_tunnel")}}
SUFFIXES = ("", ".xz", ".zst", ".gz")
MARK = "/sys/module/%s/notes/.note.iptnl"       # present in iptnl's modules only
BUILD_ID = "/sys/module/%s/notes/.note.gnu.build-id"
inherited = ()          # file descriptors passed to child processes: the lock
PARAMETERS = {"ipip": ("log_ecn_error",), "ip_gre": ("log_ecn_error",)}


class Error(Exception):
    """A module could not be loaded or unloaded."""


def release():
    return os.uname().release


def directory():
    return "/lib/modules/" + release()


def read(path):
    """-> text without the spaces around it; names of devices may be any bytes"""
    try:
        with open(path, errors="surrogateescape", newline="\n") as file:
            return file.read().strip(" \t\n")
    except OSError:
        return ""


def lines(path):
    return read(path).split("\n")


def words(line):
    """-> what spaces and tabs separate; Unicode knows others, which may be part of a name"""
    return re.split("[ \t]+", line.strip(" \t"))


def table(path):
    """-> [[word]] of a file in /proc/net, without its headings"""
    return [words(line) for line in lines(path)[1:]]


def is_loaded(name):
    # Built-in modules have no initstate.
    return os.path.exists("/sys/module/%s/initstate" % name)


def is_builtin(name):
    return any(line.endswith("/%s.ko" % name) for line in read(directory() + "/modules.builtin").split())


def owner(name):
    """-> where the loaded module comes from"""
    if is_loaded(name):
        if "O" not in read("/sys/module/%s/taint" % name):
            return THEIRS
        return OURS if os.path.exists(MARK % name) else FOREIGN
    return BUILTIN if is_builtin(name) else ABSENT


def state():
    return {name: owner(name) for name in MODULES}


def version(name):
    return read("/sys/module/%s/version" % name)


def holders(name):
    try:
        return sorted(os.listdir("/sys/module/%s/holders" % name))
    except OSError:
        return []


def references(name):
    """-> the reference count, which includes the holders"""
    return int(read("/sys/module/%s/refcnt" % name) or 0)


def run_kmod(*command):
    """Run a command of kmod. -> (exit status, stdout, stderr)"""
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
                              pass_fds=inherited, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"})
    except OSError as error:
        return 127, "", "%s: %s" % (command[0], error.strerror)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def information(path):
    """-> modinfo of a file as {field: value}"""
    lines = (line.partition(":") for line in run_kmod("modinfo", path)[1].splitlines())
    return {field: value.strip() for field, _, value in lines}


def found_by_modprobe(name):
    """-> the file that modprobe would load, "" if none"""
    status, path, _ = run_kmod("modinfo", "-n", name)
    return path if status == 0 and path.startswith("/") else ""


def kernels_file(name):
    for suffix in SUFFIXES:
        path = "%s/kernel/net/ipv4/%s.ko%s" % (directory(), name, suffix)
        if os.path.exists(path):
            return path
    return ""


def our_file(name):
    """-> the installed out-of-tree file: the one modprobe would load, or one in the usual directories"""
    path = found_by_modprobe(name)
    if os.path.exists(path) and not path.startswith(directory() + "/kernel/"):
        return path
    for place in ("updates", "extra", "weak-updates"):
        for suffix in SUFFIXES:
            found = glob.glob("%s/%s/**/%s.ko%s" % (directory(), place, name, suffix), recursive=True)
            if found:
                return sorted(found)[0]
    return ""


def contents(path):
    """-> the decompressed bytes of a module file, none if that is not possible"""
    opener = {".xz": lzma.open, ".gz": gzip.open, ".ko": open}.get(os.path.splitext(path)[1])
    try:
        if opener:
            with opener(path, "rb") as file:
                return file.read()
        return subprocess.run(("zstd", "-dcq", path), stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
    except (OSError, EOFError, lzma.LZMAError, subprocess.SubprocessError):
        return b""


def is_stale(name):
    """Return true if the loaded module of iptnl is another build than the installed one. Its srcversion does not cover
    headers, but its build ID does."""
    path = our_file(name)
    if owner(name) != OURS or not path:
        return False
    if read("/sys/module/%s/srcversion" % name) != information(path).get("srcversion", ""):
        return True
    try:
        with open(BUILD_ID % name, "rb") as file:
            note = file.read()
    except OSError:
        return False
    data = contents(path)
    return bool(data) and note not in data


def file_of(name, side):
    return our_file(name) if side == OURS else kernels_file(name)


def sequence(names, side):
    """-> the modules in names and their dependencies, in load order"""
    wanted = []
    for name in (n for n in MODULES if n in names):
        for need in NEEDS[side].get(name, ()) + (name,):
            if need not in wanted:
                wanted.append(need)
    return sorted(wanted, key=("tunnel4", "gre", "ip_tunnel", "ip_tunnel_core", "ipip", "ip_gre").index)


def parameters():
    """-> {(module, parameter): value}"""
    found = {}
    for module, names in PARAMETERS.items():
        for name in names:
            value = read("/sys/module/%s/parameters/%s" % (module, name))
            if value:
                found[module, name] = value
    return found


def set_parameters(values):
    for (module, name), value in values.items():
        path = "/sys/module/%s/parameters/%s" % (module, name)
        if os.path.exists(path) and read(path) != value:
            with open(path, "w") as file:
                file.write(value)


def insert(path):
    """Load a file. -> (errno, error message); errno is 0 on success"""
    status, _, said = run_kmod("insmod", path)
    if status == 0:
        return 0, ""
    for number in (errno.EEXIST, errno.EKEYREJECTED, errno.ENOKEY, errno.EPERM, errno.ENOEXEC, errno.ENOENT,
                   errno.EINVAL):
        if said.endswith(os.strerror(number)):
            return number, said
    for number, words in ((errno.EEXIST, "File exists"), (errno.EINVAL, "Invalid parameters"),
                          (errno.ENOENT, "Unknown symbol in module"), (errno.ENOEXEC, "Invalid module format")):
        if words in said:
            return number, said
    return errno.EIO, said or "insmod failed"


def load(path, side):
    name = module_name(path)
    number, said = insert(path)
    if number == errno.EEXIST and owner(name) == side:
        return                                  # autoloaded meanwhile
    if number:
        raise Error("cannot load %s: %s" % (path, said))


def unload(names):
    """Unload modules with a single rmmod, to keep the interruption short."""
    names = [name for name in names if is_loaded(name)]
    if not names:
        return
    status, _, said = run_kmod("rmmod", *names)
    left = [name for name in names if is_loaded(name)]
    if left:
        raise Error("cannot unload %s: %s" % (", ".join(left), said or "exit status %d" % status))


def module_name(path):
    return os.path.basename(path).split(".ko")[0].replace("-", "_")


# ---- whether the kernel would accept a file

def signature_required_by():
    """-> the reason why the kernel requires signed modules, "" if it does not"""
    if read("/sys/module/module/parameters/sig_enforce") == "Y":
        return "module.sig_enforce is on"
    lockdown = read("/sys/kernel/security/lockdown")
    for level in ("integrity", "confidentiality"):
        if "[%s]" % level in lockdown:
            return "kernel lockdown (%s) is on" % level
    return ""


def file_obstacles(name, side):
    """-> reasons why a file cannot be loaded, as far as can be told without trying"""
    path = file_of(name, side)
    if not path:
        if side == OURS:
            return ["module %s of iptnl is not installed for kernel %s; 'dkms status iptnl' names the kernels that "
                    "have it, and the headers it is built with are linux-headers-%s" % (name, release(), release())]
        return ["module %s of the kernel is not in %s/kernel; the kernel's package has it (apt install --reinstall "
                "linux-image-%s)" % (name, directory(), release())]
    about = information(path)
    magic = about.get("vermagic", "").split()
    if not magic:
        return ["%s: not a module" % path]
    if magic[0] != release():
        return ["%s: made for kernel %s, this is %s" % (path, magic[0], release())]
    if side == OURS and not about.get("description", "").startswith("iptnl: "):
        return ["%s: not a module of iptnl" % path]
    required_by = signature_required_by()
    if required_by and not about.get("sig_id"):
        return ["%s: not signed, and %s" % (path, required_by)]
    return []


def try_load(name, side):
    """Try to load a file while a module of the same name is loaded. This always fails, but the kernel checks signature
    and version first. -> error message if it failed for another reason than EEXIST, else "" """
    path = file_of(name, side)
    number, said = insert(path)
    if number == 0:
        raise Error("%s: loaded although %s was" % (path, name))
    return "" if number == errno.EEXIST else said
