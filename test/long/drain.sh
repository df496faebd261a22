#!/bin/bash
# test/long/drain.sh - the agent's 30 s after SIGTERM, and a silent command whose host is gone for good: about 3 minutes
cd "$(dirname "$0")/../.." || exit 1
DRAIN_LONG=1 exec test/e2e/drop.sh "$PWD/test/e2e/drain.sh"
