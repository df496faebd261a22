#!/usr/bin/env python3
"""libnefia.so from Python: nefia_ctypes.py LIBRARY HOST runs a command there and dials its SSH port."""
import ctypes
import sys
from ctypes import POINTER, Structure, byref, c_char, c_char_p, c_int, c_size_t, c_ssize_t, c_uint, c_void_p, sizeof


class Options(Structure):
    _fields_ = [("size", c_size_t), ("config", c_char_p), ("config_text", c_char_p), ("config_text_len", c_size_t),
                ("home", c_char_p), ("worker", c_char_p), ("flags", c_uint), ("timeout_ms", c_int)]


class ExecOptions(Structure):
    _fields_ = [("size", c_size_t), ("command", c_char_p), ("input", c_void_p), ("input_len", c_size_t),
                ("output_max", c_size_t), ("timeout_ms", c_int)]


class ExecResult(Structure):
    _fields_ = [("size", c_size_t), ("exit_status", c_int), ("exit_signal", c_char * 32), ("out", c_void_p),
                ("err", c_void_p), ("out_len", c_size_t), ("err_len", c_size_t)]


lib = ctypes.CDLL(sys.argv[1])
lib.nefia_strerror.restype = lib.nefia_error_detail.restype = lib.nefia_version.restype = c_char_p
lib.nefia_read.restype = c_ssize_t
lib.nefia_open.argtypes = [POINTER(Options), POINTER(c_void_p)]
lib.nefia_exec.argtypes = [c_void_p, c_char_p, POINTER(ExecOptions), POINTER(ExecResult)]
lib.nefia_exec_free.argtypes = [POINTER(ExecResult)]
lib.nefia_dial.argtypes = [c_void_p, c_char_p, c_uint, c_int, POINTER(c_void_p)]
lib.nefia_read.argtypes = [c_void_p, c_void_p, c_size_t, c_int]
lib.nefia_stream_close.argtypes = lib.nefia_close.argtypes = [c_void_p]


def must(r):
    if r < 0:
        sys.exit(f"{lib.nefia_strerror(r).decode()}: {lib.nefia_error_detail().decode()}")
    return r


host = sys.argv[2].encode()
tunnel, stream = c_void_p(), c_void_p()
must(lib.nefia_open(byref(Options(size=sizeof(Options))), byref(tunnel)))
text = b"from python\n"
options = ExecOptions(size=sizeof(ExecOptions), command=b"cat; exit 5",
                      input=ctypes.cast(c_char_p(text), c_void_p), input_len=len(text))
result = ExecResult(size=sizeof(ExecResult))
must(lib.nefia_exec(tunnel, host, byref(options), byref(result)))
print(f"version {lib.nefia_version().decode()}, status {result.exit_status}, "
      f"out {ctypes.string_at(result.out, result.out_len)}")
lib.nefia_exec_free(byref(result))
must(lib.nefia_dial(tunnel, host, 22, 5000, byref(stream)))
buf = ctypes.create_string_buffer(64)
n = must(lib.nefia_read(stream, buf, 64, 5000))
if not buf.raw[:n].startswith(b"SSH-2.0"):
    sys.exit(f"no banner: {buf.raw[:n]}")
lib.nefia_stream_close(stream)
lib.nefia_close(tunnel)
