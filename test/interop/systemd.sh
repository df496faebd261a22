#!/bin/bash
# The agent as a service under a real systemd, which runs as process 1 of namespaces of its own on an overlay of this machine's
# root: a system unit and a user's unit, enrolled with --install, hardened, restarted, updated, removed. Inside there is
# also the operator, at 127.0.0.1, and an sshd.
set -u
umask 022
HERE=$(cd "$(dirname "$0")" && pwd)
BUILD=$(cd "${BUILD:-$HERE/../../build}" && pwd)
TEST_NAME=systemd
NAMESPACES=
LOGS="*.out"
NEEDS="unshare pivot_root nsenter ssh-keygen ssh-keyscan sshd systemctl loginctl systemd-analyze"
INIT= CGROUP=
more_logs() { inside journalctl --no-pager -n 25 2>/dev/null; }
more_cleanup() {
	[ -z "$INIT" ] || kill -9 "$INIT" 2>/dev/null
	[ -n "$CGROUP" ] || return
	for _ in $(seq 50); do
		find "$CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null
		[ -d "$CGROUP" ] || break
		sleep 0.1
	done
}
. "$HERE/../lib/netns.sh"
[ -x /lib/systemd/systemd ] || skip "systemd is not installed"
for CG2 in /sys/fs/cgroup /sys/fs/cgroup/unified; do [ ! -f $CG2/cgroup.procs ] || [ ! -f $CG2/cgroup.controllers ] || break; done
[ -f $CG2/cgroup.controllers ] || skip "no cgroup2 here"
CGROUP=$CG2/nefia-systemd-$$
mkdir "$CGROUP" 2>/dev/null || { CGROUP=; skip "no cgroup can be made here"; }

# ---- process 1: what it must not touch is covered, what it writes goes to a tmpfs
cat >"$T/init" <<'I'
#!/bin/bash
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
R=$1/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$R"
mount -t proc proc "$R/proc"
mount -t sysfs sysfs "$R/sys"
mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
mount -t tmpfs tmpfs "$R/run"
mount -t tmpfs tmpfs "$R/tmp"
mount -t tmpfs -o mode=755 tmpfs "$R/dev"
for n in null zero full random urandom tty; do : >"$R/dev/$n"; mount --bind "/dev/$n" "$R/dev/$n"; done
mkdir "$R/dev/pts" "$R/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$R/dev/pts"
mount -t tmpfs tmpfs "$R/dev/shm"
ln -s pts/ptmx "$R/dev/ptmx"
ln -s /proc/self/fd "$R/dev/fd"
: >"$R/etc/machine-id"
: >"$R/etc/fstab"
rm -rf "$R"/etc/systemd/system/*.wants "$R"/etc/systemd/system/nefia* "$R/root/.nefia"
# Nor what a login of this machine's root does: there it once waited a minute for a lock that was held as the overlay was made.
rm -f "$R"/root/.bash* "$R"/root/.profile "$R"/root/.ssh/rc
mkdir -p "$R/opt/nefia"
cp "$2/nefia" "$2/nefia-agent" "$R/opt/nefia/"
ip link set lo up
cd "$R"
mkdir old
pivot_root . old # not chroot: units get mounts of their own, which need a real root
umount -l old
exec env -i container=nefia-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system
I
chmod +x "$T/init"
mkdir "$T/overlay"
(echo "$BASHPID" >"$CGROUP/cgroup.procs" && exec unshare --pid --fork --kill-child --mount --cgroup --uts --ipc --net \
	"$T/init" "$T/overlay" "$BUILD") >"$T/boot.out" 2>&1 &
OUTER=$!
child_of_outer() { INIT=$(pgrep -P "$OUTER"); [ -n "$INIT" ]; }
until_true 5 child_of_outer || skip "no namespaces here: $(tail -n 1 "$T/boot.out")"
inside() { nsenter -t "$INIT" -m -u -i -n -p -C -r -w "$@"; }
is_up() { case $(inside systemctl is-system-running) in running | degraded) ;; *) return 1 ;; esac; }
until_true 20 is_up || skip "systemd does not come up in namespaces here: $(tail -n 1 "$T/boot.out")"
ok "systemd $(inside systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p') runs as process 1"

# Some of the system's own may fail in here, as loading modules does.
failed_units() { inside systemctl --failed --no-legend --plain | cut -d' ' -f1 | sort; }
FAILED_AT_BOOT=$(failed_units)

# ---- the operator and an sshd
EP=127.0.0.1:51999
inside bash -e >"$T/setup.out" 2>&1 <<'S' || fail "set-up"
useradd -m -u 64921 -s /bin/bash boss
useradd -m -u 64922 -s /bin/bash joe
mkdir -p -m 755 /run/sshd
ssh-keygen -q -t ed25519 -N '' -f /home/boss/id
cp /home/boss/id.pub /etc/authorized_keys
chown boss:boss /home/boss/id
ssh-keygen -q -t ed25519 -N '' -f /etc/test_host_key
printf '%s\n' "Port 22" "ListenAddress 127.0.0.1" "HostKey /etc/test_host_key" "AuthorizedKeysFile /etc/authorized_keys" \
	"StrictModes no" "UsePAM no" "PidFile none" "PermitRootLogin yes" >/etc/sshd_test
$(command -v sshd) -f /etc/sshd_test
S
op() { inside setpriv --reuid 64921 --regid 64921 --init-groups env -i HOME=/home/boss PATH="$PATH" /opt/nefia/nefia "$@"; }
op init >"$T/op.out" 2>&1 || fail "nefia init"
inside sed -i "s|identities: .*|identities: [\"/home/boss/id\"]|; s/^ssh:/&\n  user: root/; s/^  listen_port:.*/  listen_port: 51999/" \
	/home/boss/.nefia/nefia.yaml
op hub --log-level debug >"$T/hub.out" 2>&1 &
# reaches NAME: a command runs there; what it said otherwise, and how the hub sees the host, is in the logs
reaches() {
	op exec --target "$1" --timeout 15s -- true >"$T/exec.out" 2>&1 && return
	{ echo "exit status $? at $(date +%T.%3N)"; op vpn status; op wg show; } >>"$T/exec.out" 2>&1
	return 1
}
token() { op vpn invite --name "$1" --os linux --endpoint $EP --listen=false --token-out "/home/boss/$1" >"$T/invite.out" 2>&1 &&
	inside cat "/home/boss/$1"; }
until_true 10 inside test -S /home/boss/.nefia/run/hub.sock || fail "the hub does not start"

# ---- the system's unit
token sys >"$T/token" || fail "invite"
inside /opt/nefia/nefia-agent enroll --token-file - --install --listen-port 51001 <"$T/token" >"$T/enroll.out" 2>&1 || fail "enroll --install"
[ "$(tail -n 1 "$T/enroll.out")" = "Service installed." ] || fail "the transcript's last line"
inside systemctl is-active -q nefia-agent || fail "it does not run"
inside systemctl is-enabled -q nefia-agent || fail "it is not enabled: it would not start at boot"
out=$(op exec --target sys -- whoami) && [ "$out" = root ] || fail "exec through the service: $out"
ok "system unit: enrolled, installed, enabled, exec works"
main_pid() { inside systemctl show -p MainPID --value nefia-agent; }
status_of() { inside sed -n "s/^$1:\t*//p" "/proc/$(main_pid)/status"; }
case $(status_of CapEff) in 0000000000000400 | 0000000000000402) ;; *) fail "capabilities of the agent: $(status_of CapEff)" ;; esac
[ "$(status_of NoNewPrivs)" = 1 ] && [ "$(status_of Seccomp)" = 2 ] || fail "no seccomp filter, or new privileges"
# /run stays: there is the socket of wg.
for f in /etc/x /usr/x /var/x /home/x /root/x /opt/nefia/x; do
	inside nsenter -t "$(main_pid)" -m -r touch $f 2>/dev/null && fail "the service can write $f"
done
exposure=$(inside systemd-analyze security --no-pager nefia-agent | sed -n 's/.*exposure level for nefia-agent.service: \([0-9.]*\) .*/\1/p')
[ "${exposure%%.*}" -lt 3 ] || fail "systemd-analyze security: $exposure"
ok "systemd-analyze security: $exposure of 10 (unhardened: 9.6); it can write the folder of its configuration, /run and a /tmp of its own"
inside journalctl -u nefia-agent --no-pager | grep -q 'agent started' || fail "its log is not in the journal"
before=$(main_pid)
inside kill -SEGV "$before"
restarted() { now=$(main_pid); [ "$now" != 0 ] && [ "$now" != "$before" ] && inside systemctl is-active -q nefia-agent; }
begin=$(now_ms)
until_true 15 restarted || fail "not restarted after a crash"
reaches sys || fail "exec after a crash"
ok "after a crash (SIGSEGV): exec again after $(($(now_ms) - begin)) ms"
inside bash -c 'cp /opt/nefia/nefia-agent /opt/nefia/new && mv /opt/nefia/new /opt/nefia/nefia-agent'
before=$(main_pid)
inside /opt/nefia/nefia-agent install-service >"$T/update.out" 2>&1 || fail "install-service after an update"
until_true 5 restarted || fail "the new program does not run"
inode() { inside stat -L -c %i "$1"; }
[ "$(inode "/proc/$(main_pid)/exe")" = "$(inode /opt/nefia/nefia-agent)" ] || fail "an old program runs: $(inside readlink "/proc/$(main_pid)/exe")"
reaches sys || fail "exec after an update"
ok "updated in place: the new program runs, exec works"
inside systemctl reload nefia-agent && sleep 0.2
inside journalctl -u nefia-agent --no-pager | grep -q 'configuration reloaded' || fail "reload"
# A wrong file: install-service says so instead of pretending.
inside bash -c 'cp -a /root/.nefia /root/wrong && echo "nonsense: [" >>/root/wrong/agent.yaml'
inside /opt/nefia/nefia-agent install-service --config /root/wrong/agent.yaml >"$T/wrong.out" 2>&1 && fail "a service that cannot start was installed"
grep -q '^Error: systemd could not start the service' "$T/wrong.out" && grep -q 'journalctl -u nefia-agent' "$T/wrong.out" || fail "what it says"
inside /opt/nefia/nefia-agent install-service >"$T/right.out" 2>&1 || fail "install-service again"
ok "a configuration that does not load: said at once, with the next step"
inside /opt/nefia/nefia-agent uninstall-service </dev/null >"$T/un.out" 2>&1 && fail "removed without being asked"
inside /opt/nefia/nefia-agent uninstall-service --yes >"$T/un.out" 2>&1 || fail "uninstall-service"
inside systemctl is-active -q nefia-agent && fail "it still runs"
inside test -e /etc/systemd/system/nefia-agent.service && fail "the unit is still there"
inside test -f /root/.nefia/agent.yaml || fail "the configuration is gone"
inside /opt/nefia/nefia-agent uninstall-service --yes >"$T/un.out" 2>&1 && fail "removed twice"
[ "$(failed_units)" = "$FAILED_AT_BOOT" ] || fail "something failed: $(failed_units)"
ok "removed: no process, no unit, the configuration stays"

# ---- a user's unit
inside loginctl enable-linger joe
joe() { inside setpriv --reuid 64922 --regid 64922 --init-groups env -i HOME=/home/joe USER=joe PATH="$PATH" XDG_RUNTIME_DIR=/run/user/64922 "$@"; }
user_manager() { joe systemctl --user is-system-running || inside systemctl is-failed -q user@64922; }
until_true 10 user_manager || fail "no user manager"
if inside journalctl -u user@64922 | grep -q 'unable to dlopen(pam_systemd'; then
	echo "user's unit: not tried: no user has a service manager without pam_systemd (libpam-systemd)"
	echo "PASS $TEST_NAME ($N_CHECKS checks)"
	exit 0
fi
token usr >"$T/token" || fail "invite"
joe /opt/nefia/nefia-agent enroll --token-file - --install --listen-port 51002 <"$T/token" >"$T/enroll.out" 2>&1 || fail "enroll --install as a user"
joe systemctl --user is-enabled -q nefia-agent && joe systemctl --user is-active -q nefia-agent || fail "the user's unit"
reaches usr || fail "exec through the user's service"
pid=$(joe systemctl --user show -p MainPID --value nefia-agent)
[ "$(inside stat -c %u "/proc/$pid")" = 64922 ] && [ "$(inside sed -n 's/^Seccomp:\t*//p' "/proc/$pid/status")" = 2 ] || fail "user or seccomp"
joe systemctl --user kill -s SEGV nefia-agent
user_back() { now=$(joe systemctl --user show -p MainPID --value nefia-agent); [ "$now" != 0 ] && [ "$now" != "$pid" ]; }
until_true 15 user_back || fail "the user's service is not restarted"
reaches usr || fail "exec after the crash"
exposure=$(joe systemd-analyze --user security --no-pager nefia-agent 2>/dev/null | sed -n 's/.*exposure level for nefia-agent.service: \([0-9.]*\) .*/\1/p')
joe /opt/nefia/nefia-agent uninstall-service --yes >"$T/un.out" 2>&1 || fail "uninstall-service as a user"
joe systemctl --user is-active -q nefia-agent && fail "the user's service still runs"
ok "user's unit: enrolled, restarted after a crash, removed; systemd-analyze security: ${exposure:-unknown to this version}"
echo "PASS $TEST_NAME ($N_CHECKS checks)"
