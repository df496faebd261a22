# The whole test run, and the checks. Unit tests are in test/module.mk, fuzzing in test/fuzz/module.mk.
# Everything a test run needs, after set-up and in one parallel make.
test-bins: programs stock $(UNIT_BINS) $(REPLAY_BINS) $(B)/test/sim
test:
	@third_party/setup.sh test
	@third_party/old-sshd.sh $(B)
	@$(MAKE) --no-print-directory test-bins
	@test/run.sh $(B)
test-long:
	@third_party/setup.sh test
	@$(MAKE) --no-print-directory test-bins
	@test/run.sh $(B) long

lint: $(ALL_PARTS:%=$(B)/lib%.a)
	@B=$(B) test/lint.sh
	@test/doc.sh
check-repro:
	@test/repro.sh

# Under clang without a warning; -fsyntax-only, folder by folder for its own include path.
CLANG_CHECKS := $(FOLDERS:%=clang-check-%)
clang-check: $(CLANG_CHECKS) clang-check-stock
clang-check-%: | $(foreach f,$(FOLDERS),$(DEPS_$(f)))
	$(Q)[ -z "$(wildcard $*/*.c)" ] || clang $(CPPFLAGS) $(CPPFLAGS_$*) $(CSTD) $(filter-out -Wno-format-truncation,$(WARN)) -Wno-missing-field-initializers -Werror -fsyntax-only $(wildcard $*/*.c)
clang-check-stock: | $(LWIP_STOCK_STAMP)
	$(Q)clang $(CPPFLAGS) $(LWIP_STOCK_CPPFLAGS) $(CSTD) $(filter-out -Wno-format-truncation,$(WARN)) -Wno-missing-field-initializers -Werror -fsyntax-only $(STOCK_SHARED:%=netstack/%.c) netstack/stock/engine.c

# Bugs by their shape, in some minutes: by hand, not part of make test.
analyze: | $(foreach f,$(FOLDERS),$(DEPS_$(f)))
	@test/analyze.sh $(CPPFLAGS) $(CPPFLAGS_test) $(CSTD)

.PHONY: test-bins test test-long lint check-repro clang-check analyze
