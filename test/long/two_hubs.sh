#!/bin/bash
# test/long/two_hubs.sh - test/interop/two_hubs.sh with an older hub that nobody uses: about 2 minutes
cd "$(dirname "$0")/../.." || exit 1
LONG=1 exec test/interop/two_hubs.sh
