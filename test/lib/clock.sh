# test/lib/clock.sh - time, for scripts that may have to wait for the machine. Sourced by e2e/lib.sh, netns.sh and wgns.sh.
#
# A test that says "within 2 s" means: of a program that is let run. On a busy machine every step waits for a processor
# first, and a test that counted that would fail by chance. So there are two clocks:
#
#   now_ms   what the wall shows: for least times ("not before a second"), and for telling people
#   calm_ms  stands still while anybody waits for a processor or a disk: for most times ("at once"), and what wait_until
#            counts. A program that sleeps, polls or hangs is seen as before: nobody waits for a processor meanwhile.
#
# The kernel keeps that account (pressure stall information; time stolen from a virtual machine is counted as well).
# Without it both clocks are the same. HANG_S bounds every waiting by the wall.
HANG_S=${HANG_S:-60}

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

calm_ms() {
	local line file stalled=0 stolen
	for file in cpu io; do
		{ read -r line </proc/pressure/$file; } 2>/dev/null || line=total=0
		stalled=$((stalled + ${line##*total=}))
	done
	read -r _ _ _ _ _ _ _ _ stolen _ </proc/stat
	echo $(((${EPOCHREALTIME/[.,]/} - stalled) / 1000 - ${stolen:-0} * 10))
}

# wait_until SECONDS COMMAND... : true as soon as the command is
wait_until() {
	local end=$(($(calm_ms) + $1 * 1000)) hang=$((EPOCHSECONDS + ($1 > HANG_S ? $1 : HANG_S)))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$EPOCHSECONDS" -lt "$hang" ] && [ "$(calm_ms)" -lt "$end" ] || return 1
		sleep 0.05
	done
}
