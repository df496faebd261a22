# Benchmarks: build/bench/load (ordinary TCP, for the way from program to program), build/bench/stack (both ends on net.h, and
# the ceiling of cryptography and UDP alone). bench/run.py runs them, and the rivals that it finds.
BENCH_BINS := $(B)/bench/load $(B)/bench/path $(B)/bench/relay $(B)/bench/stack $(B)/bench/workers $(B)/bench/quick $(B)/bench/handshakes
$(B)/obj/bench/%.o: bench/%.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
$(B)/bench/load $(B)/bench/path $(B)/bench/relay: $(B)/bench/%: $(B)/obj/bench/%.o
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -pthread -o $@ $<
BENCH_PARTS := tunnel transport netstack wg os base
$(B)/bench/stack $(B)/bench/workers: $(B)/bench/%: $(B)/obj/bench/%.o $(BENCH_PARTS:%=$(B)/lib%.a) $(ARCHIVES_netstack) $(ARCHIVES_wg)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call FOREIGN_LIBS,$(BENCH_PARTS))
$(B)/obj/bench/quick.o: CPPFLAGS += $(CPPFLAGS_netstack) $(CPPFLAGS_wg)
$(B)/bench/quick: $(B)/obj/bench/quick.o $(TEST_LIB) $(B)/libnetstack.a $(B)/libwg.a $(B)/libbase.a $(ARCHIVES_netstack) $(ARCHIVES_wg)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call FOREIGN_LIBS,base wg netstack) -lcmocka
$(B)/bench/handshakes: $(B)/obj/bench/handshakes.o $(TEST_LIB) $(B)/libwg.a $(B)/libbase.a $(ARCHIVES_wg)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) $(B)/libnetstack.a $(ARCHIVES_netstack) -Wl,--end-group $(call FOREIGN_LIBS,base wg netstack) -lcmocka
bench-bins: programs stock $(BENCH_BINS)
# Rivals at pinned versions, from the language registries; each that cannot be had is skipped by run.py with its reason.
TAILSCALE_VERSION := v1.102.5
ONETUN_VERSION := 0.3.10
BORINGTUN_VERSION := 0.7.1
RIVALS := $(B)/bench/rivals
bench-rivals:
	@mkdir -p $(RIVALS)
	-cd bench/rivals/netstack && go build -o $(CURDIR)/$(RIVALS)/netstack .
	-cd bench/rivals/tailscale && go build -o $(CURDIR)/$(RIVALS)/tscontrol .
	-GOBIN=$(CURDIR)/$(RIVALS) go install tailscale.com/cmd/tailscaled@$(TAILSCALE_VERSION)
	-GOBIN=$(CURDIR)/$(RIVALS) go install tailscale.com/cmd/tailscale@$(TAILSCALE_VERSION)
	-cargo install --locked --root $(RIVALS)/cargo onetun@$(ONETUN_VERSION) && cp $(RIVALS)/cargo/bin/onetun $(RIVALS)
	-cargo install --locked --root $(RIVALS)/cargo boringtun-cli@$(BORINGTUN_VERSION) && cp $(RIVALS)/cargo/bin/boringtun-cli $(RIVALS)
bench:
	@third_party/setup.sh test
	@$(MAKE) --no-print-directory bench-bins
	@bench/run.py
bench-quick: $(B)/bench/quick
	@bench/quick.py
bench-long:
	@third_party/setup.sh test
	@$(MAKE) --no-print-directory bench-bins
	@bench/run.py --long
.PHONY: bench bench-quick bench-rivals bench-long bench-bins
