#!/bin/bash
# A hundred agents against one operator, and ten seconds of flood.
LONG=1 exec "$(dirname "$0")/../e2e/drop.sh" "$(cd "$(dirname "$0")/../e2e" && pwd)/enroll_many.sh"
