#!/usr/bin/env python3
"""refuse.py ERRNO SYSCALL[:ARG=VALUE]... -- COMMAND... - run COMMAND where the kernel refuses these calls with ERRNO.

What an older kernel, a container's seccomp profile or gVisor does. A call whose name libseccomp does not know does not exist here
and needs no refusal.
"""
import ctypes
import errno
import os
import sys

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
CMP_EQ = 4


class ArgCmp(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def main():
    split = sys.argv.index("--")
    action = ERRNO | getattr(errno, sys.argv[1])
    lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_init.argtypes = [ctypes.c_uint32]
    lib.seccomp_load.argtypes = [ctypes.c_void_p]
    lib.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
    ctx = lib.seccomp_init(ALLOW)
    for rule in sys.argv[2:split]:
        name, _, compared = rule.partition(":")
        number = lib.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            continue
        n, args = 0, None
        if compared:
            which, value = compared.split("=")
            n, args = 1, ctypes.byref(ArgCmp(int(which), CMP_EQ, int(value, 0), 0))
        if lib.seccomp_rule_add_array(ctx, action, number, n, args) != 0:
            sys.exit("refuse.py: no rule for " + rule)
    if lib.seccomp_load(ctx) != 0:
        sys.exit("refuse.py: the filter cannot be loaded")
    os.execvp(sys.argv[split + 1], sys.argv[split + 1:])


main()
