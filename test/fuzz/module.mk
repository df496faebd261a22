# make fuzz-net_input FUZZ_SECONDS=60: a target under ASan and UBSan. Where clang's libFuzzer is installed:
# make fuzz-net_input FUZZ_ENGINE=libfuzzer.
FUZZ_SECONDS ?= 10
FUZZ_ENGINE ?= driver
FUZZ_ARCHIVES := $(ALL_PARTS:%=$(B)/lib%.a) $(ARCHIVES_netstack) $(ARCHIVES_wg) $(ARCHIVES_ssh)
FUZZ_DRIVER := $(if $(filter driver,$(FUZZ_ENGINE)),$(B)/obj/test/fuzz/driver.o)
FUZZ_LD := $(if $(filter driver,$(FUZZ_ENGINE)),,-fsanitize=fuzzer)

$(B)/fuzz/%_fuzz: $(B)/obj/test/fuzz/%_fuzz.o $(FUZZ_DRIVER) $(TEST_LIB_OBJS) $(FUZZ_ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(SANFLAGS) $(FUZZ_LD) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call FOREIGN_LIBS,$(ALL_PARTS)) -lcmocka

fuzz-%:
ifeq ($(FUZZ_ENGINE),driver)
	@$(MAKE) --no-print-directory SAN=1 build/san/fuzz/$*_fuzz
	build/san/fuzz/$*_fuzz $(FUZZ_SECONDS)
else
	@$(MAKE) --no-print-directory CC=clang B=build/fuzz OPT=-O1 HARDEN=-fPIE \
		SANFLAGS="-fsanitize=fuzzer-no-link,address,undefined" build/fuzz/fuzz/$*_fuzz
	@mkdir -p build/fuzz/corpus/$*
	build/fuzz/fuzz/$*_fuzz -max_total_time=$(FUZZ_SECONDS) -max_len=4096 build/fuzz/corpus/$*
endif
