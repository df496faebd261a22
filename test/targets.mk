# Fuzzing, the whole test run, and the checks. Unit tests are in test/module.mk.
# Fuzz targets: test/fuzz/<noun>_fuzz.c has LLVMFuzzerTestOneInput; its corpus is test/fuzz/corpus/<noun>/.
FUZZ_SRCS := $(wildcard test/fuzz/*_fuzz.c)
REPLAY_BINS := $(FUZZ_SRCS:test/fuzz/%.c=$(B)/fuzz-replay/%)
$(B)/fuzz-replay/%: $(B)/obj/test/fuzz/%.o $(B)/obj/test/fuzz/replay_main.o $(TEST_LIB_OBJS) $(ALL_PARTS:%=$(B)/lib%.a) \
		$(ARCHIVES_netstack) $(ARCHIVES_wg) $(ARCHIVES_ssh)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call FOREIGN_LIBS,$(ALL_PARTS)) -lcmocka
fuzz-replay: $(REPLAY_BINS)
	@set -e; for f in $^; do $$f; done

# libFuzzer: everything compiled by clang, in a variant of its own.
FUZZ_SECONDS ?= 10
FUZZ_FLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
fuzz:
	@command -v clang >/dev/null || { echo 'make fuzz needs clang'; exit 1; }
	@$(MAKE) --no-print-directory B=build/fuzz CC=clang OPT=-O1 HARDEN= SANFLAGS='$(FUZZ_FLAGS)' fuzz-bins
	@set -e; for f in $(FUZZ_SRCS:test/fuzz/%_fuzz.c=%); do \
		mkdir -p build/fuzz/corpus/$$f; c=test/fuzz/corpus/$$f; [ -d $$c ] || c=; \
		echo "== $$f, $(FUZZ_SECONDS) s"; \
		build/fuzz/bin/$${f}_fuzz -max_total_time=$(FUZZ_SECONDS) -print_final_stats=0 -verbosity=0 build/fuzz/corpus/$$f $$c; done
FUZZ_BINS := $(FUZZ_SRCS:test/fuzz/%.c=$(B)/bin/%)
fuzz-bins: $(FUZZ_BINS)
$(B)/bin/%: $(B)/obj/test/fuzz/%.o $(TEST_LIB_OBJS) $(ALL_PARTS:%=$(B)/lib%.a) $(ARCHIVES_netstack) $(ARCHIVES_wg) $(ARCHIVES_ssh)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group \
		$(call FOREIGN_LIBS,$(ALL_PARTS)) -lcmocka

# Everything a test run needs, after set-up and in one parallel make.
test-bins: programs $(UNIT_BINS) $(REPLAY_BINS) $(B)/test/sim
test:
	@third_party/setup.sh test
	@$(MAKE) --no-print-directory test-bins
	@test/run.sh $(B)
test-long:
	@third_party/setup.sh test
	@$(MAKE) --no-print-directory test-bins
	@test/run.sh $(B) long

lint: $(ALL_PARTS:%=$(B)/lib%.a)
	@B=$(B) test/lint.sh
check-repro:
	@test/repro.sh

# Under clang without a warning; -fsyntax-only, folder by folder for its own include path.
CLANG_CHECKS := $(FOLDERS:%=clang-check-%)
clang-check: $(CLANG_CHECKS)
clang-check-%: | $(foreach f,$(FOLDERS),$(DEPS_$(f)))
	$(Q)[ -z "$(wildcard $*/*.c)" ] || clang $(CPPFLAGS) $(CPPFLAGS_$*) $(CSTD) $(filter-out -Wno-format-truncation,$(WARN)) -Wno-missing-field-initializers -Werror -fsyntax-only $(wildcard $*/*.c)

.PHONY: fuzz fuzz-replay fuzz-bins test-bins test test-long lint check-repro clang-check
