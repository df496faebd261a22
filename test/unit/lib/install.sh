#!/bin/bash
# What `make install` puts is enough to build with: pkg-config, the header alone, shared and static, C and C++. And each shell
# finds the completion where it looks by itself.
# alone: it runs make
cd "$(dirname "$0")/../../.." || exit 1
B=${B:-build}
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
fail() { echo "FAIL: $*"; exit 1; }
command -v pkg-config >/dev/null || { echo "pkg-config is not installed"; exit 77; }

make --no-print-directory ${SAN:+SAN=$SAN} PREFIX="$T/usr" install >"$T/log" 2>&1 || { cat "$T/log"; fail "make install"; }
for f in bin/nefia include/nefia.h lib/libnefia.a lib/libnefia.so.0 lib/libnefia.so lib/pkgconfig/libnefia.pc share/man/man3/nefia.3 \
	share/bash-completion/completions/nefia share/zsh/site-functions/_nefia share/fish/vendor_completions.d/nefia.fish; do
	[ -e "$T/usr/$f" ] || fail "$f was not installed"
done
for shell in bash:bash-completion/completions/nefia zsh:zsh/site-functions/_nefia fish:fish/vendor_completions.d/nefia.fish; do
	command -v "${shell%%:*}" >/dev/null || continue
	"${shell%%:*}" -n "$T/usr/share/${shell#*:}" || fail "the completion for ${shell%%:*}"
done
export PKG_CONFIG_PATH=$T/usr/lib/pkgconfig
[ "$(pkg-config --modversion libnefia)" = "$("$B/nefia" version | sed 's/nefia v\([^ ]*\).*/\1/')" ] || fail "another version"

# The flags of a variant with sanitizers are in its objects; its users need the same.
san=
nm -D "$T/usr/lib/libnefia.so" | grep -q __asan && san=-fsanitize=address,undefined
nm -D "$T/usr/lib/libnefia.so" | grep -q __tsan && san=-fsanitize=thread
for example in run echo many; do
	cc $san lib/examples/$example.c $(pkg-config --cflags --libs libnefia) -pthread -Wl,-rpath,"$T/usr/lib" -o "$T/$example" ||
		fail "$example.c, shared"
	"$T/$example" 2>&1 | grep -q '^usage:' || fail "$example does not start"
done
NEFIA_HOME=$T/none "$T/run" web true 2>&1 | grep -q "$T/none/nefia.yaml" || fail "the shared library does not answer"
libs=$(pkg-config --static --libs libnefia) || fail "what the static library needs is not known"
cc $san lib/examples/run.c $(pkg-config --cflags libnefia) -o "$T/static" -Wl,-Bstatic -lnefia -Wl,-Bdynamic ${libs//-lnefia/} -pthread ||
	fail "run.c, static"
! ldd "$T/static" | grep -q libnefia || fail "it is not static"
NEFIA_HOME=$T/none "$T/static" web true 2>&1 | grep -q "$T/none/nefia.yaml" || fail "the static library does not answer"

# A program's own names do not meet ours.
printf '#include <nefia.h>\nint net_init(void) { return 1; }\nint main(void) { return net_init() - 1 + (nefia_version_number() == 0); }\n' >"$T/own.c"
cc $san "$T/own.c" $(pkg-config --cflags libnefia) -o "$T/own" -Wl,-Bstatic -lnefia -Wl,-Bdynamic ${libs//-lnefia/} -pthread && "$T/own" ||
	fail "a program with a name of ours"
if command -v c++ >/dev/null; then
	printf '#include <nefia.h>\nint main() { nefia_options o = NEFIA_OPTIONS_INIT; return o.size == 0 || *nefia_version() == 0; }\n' >"$T/x.cc"
	c++ $san -Wall -Wextra -Werror "$T/x.cc" $(pkg-config --cflags --libs libnefia) -Wl,-rpath,"$T/usr/lib" -o "$T/x" && "$T/x" ||
		fail "C++"
fi
shown=$(nm -D --defined-only "$T/usr/lib/libnefia.so" | awk '$2 != "A" && $3 !~ /^nefia_/')
[ -z "$shown" ] || fail "more than nefia_* is seen: $shown"
# Each function of the header is there, and each that is there is in the header and the manual page.
for f in $(nm -D --defined-only "$T/usr/lib/libnefia.so" | sed -n 's/.* \(nefia_[a-z_]*\)@.*/\1/p'); do
	grep -q "$f(" lib/nefia.h || fail "$f is not in the header"
	grep -q "Fn $f " doc/nefia.3 || fail "$f is not in the manual page"
done
for f in $(sed -n 's/^NEFIA_API.*[ *]\(nefia_[a-z_]*\)(.*/\1/p' lib/nefia.h); do
	nm -D --defined-only "$T/usr/lib/libnefia.so" | grep -q " $f@" || fail "$f is not in the library"
done
echo "PASS install"
