#!/usr/bin/env bash
# Our TCP and the kernel's dial each other 2,000 times at each point of a grid of loss, duplicates and late packets (of a
# million); every byte is checked at both ends, and every packet watched for the rules of the wire.
set -euo pipefail
cd "$(dirname "$0")/../.."
test=${B:-build}/test/unit/netstack/tun_test
for loss in 0 1000 10000 30000; do
	for dup in 0 20000; do
		for late in 0 30000; do
			echo "loss $loss, duplicates $dup, late $late:"
			TUN_LOSS_PPM=$loss TUN_DUP_PPM=$dup TUN_LATE_PPM=$late "$test" | grep -E "transfers,|FAILED" || {
				rc=${PIPESTATUS[0]}
				[ "$rc" = 77 ] && exit 77
				exit 1
			}
		done
	done
done
