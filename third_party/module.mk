# Libraries that no usable package provides: fetched by pin and checksum, built with our configuration.
# A recipe X.mk sets X_DIR (the unpacked sources), X_STAMP (present when they are) and an archive in $(B).
DL ?= third_party/dl
SRC ?= build/src
FETCH := third_party/fetch.sh
# Foreign code: no warnings of ours, but our sanitizers, paths and hardening.
CFLAGS_FOREIGN := -std=gnu11 -O2 -g -w $(REPRO) $(HARDEN) $(SANFLAGS)

include third_party/libb2.mk
include third_party/lwip.mk
include third_party/libssh2.mk
