#!/bin/bash
# A process that invites and enrolls is killed at 1,000 random moments; a thousand agents enroll in forty worlds.
BUILD=${BUILD:-build}
KILLS=1000 "$BUILD/test/unit/operator/enroll_store_test" || exit 1
SEEDS=40 exec "$BUILD/test/unit/enroll/fleet_test"
