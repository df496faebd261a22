#!/bin/bash
# test/long/stream.sh - test/e2e/stream.sh with 10 GB each way: about 2 minutes
cd "$(dirname "$0")/../.." || exit 1
LONG=1 exec test/e2e/drop.sh "$PWD/test/e2e/stream.sh"
