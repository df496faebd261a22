#!/bin/bash
# test/long/torture.sh - tunnel/torture_test with shortages that last: about 2 minutes
cd "$(dirname "$0")/../.." || exit 1
LONG=1 exec "${B:-build}/test/unit/tunnel/torture_test"
