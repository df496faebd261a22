# Fuzzing. A target is test/fuzz/<noun>_fuzz.c with LLVMFuzzerTestOneInput; its seeds, and what once broke it, are in
# test/fuzz/corpus/<noun>/; words of its language in test/fuzz/<noun>.dict.
#   make fuzz FUZZ_SECONDS=60   every target: clang, libFuzzer, ASan and UBSan, in a build of its own
#   make fuzz-yaml              one of them
#   make fuzz-replay            seeds and seeded mutations, with the compiler at hand (part of make test)
FUZZ_SECONDS ?= 10
FUZZ_SRCS := $(wildcard test/fuzz/*_fuzz.c)
FUZZ_NAMES := $(FUZZ_SRCS:test/fuzz/%_fuzz.c=%)
FUZZ_BINS := $(FUZZ_SRCS:test/fuzz/%.c=$(B)/bin/%)
REPLAY_BINS := $(FUZZ_SRCS:test/fuzz/%.c=$(B)/fuzz-replay/%)
FUZZ_ARCHIVES := $(ALL_PARTS:%=$(B)/lib%.a) $(ARCHIVES_netstack) $(ARCHIVES_wg) $(ARCHIVES_ssh)
FUZZ_MAKE = $(MAKE) --no-print-directory B=build/fuzz CC=clang OPT=-O1 HARDEN= EXTRA_CFLAGS='-Wno-missing-field-initializers -Wno-bitwise-instead-of-logical' \
	SANFLAGS='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all'

define link_fuzz
@mkdir -p $(@D)
$(call say,LD,$@)
$(Q)$(CC) $(LDFLAGS) $(1) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call FOREIGN_LIBS,$(ALL_PARTS)) -lcmocka
endef
$(B)/bin/%: $(B)/obj/test/fuzz/%.o $(TEST_LIB) $(FUZZ_ARCHIVES)
	$(call link_fuzz,-fsanitize=fuzzer)
$(B)/fuzz-replay/%: $(B)/obj/test/fuzz/%.o $(B)/obj/test/fuzz/replay_main.o $(TEST_LIB) $(FUZZ_ARCHIVES)
	$(call link_fuzz)

fuzz-bins: $(FUZZ_BINS)
fuzz:
	@third_party/setup.sh fuzz
	@$(FUZZ_MAKE) fuzz-bins
	@test/fuzz/run.sh build/fuzz $(FUZZ_SECONDS) $(FUZZ_NAMES)
$(FUZZ_NAMES:%=fuzz-%): fuzz-%:
	@third_party/setup.sh fuzz
	@$(FUZZ_MAKE) build/fuzz/bin/$*_fuzz
	@test/fuzz/run.sh build/fuzz $(FUZZ_SECONDS) $*
fuzz-replay: $(REPLAY_BINS)
	@set -e; for f in $^; do $$f; done
.PHONY: fuzz fuzz-bins fuzz-replay $(FUZZ_NAMES:%=fuzz-%)
