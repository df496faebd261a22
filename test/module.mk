# Unit tests: test/unit/<folder>/<noun>_test.c is one cmocka program, linked with every library.
UNIT_SRCS := $(wildcard test/unit/*/*_test.c)
UNIT_BINS := $(UNIT_SRCS:test/unit/%.c=$(B)/test/unit/%)
TEST_LIB_SRCS := $(wildcard test/lib/*.c)
TEST_LIB_OBJS := $(TEST_LIB_SRCS:%.c=$(B)/obj/%.o)
# An archive: a test takes what it uses.
TEST_LIB := $(B)/libtest.a
ALL_PARTS := operator agent tunnel transport enroll ssh netstack wg os base
CPPFLAGS_test := $(foreach f,$(FOLDERS),$(CPPFLAGS_$(f)))

$(B)/obj/test/%.o: test/%.c $(FLAGS_FILE) | $(foreach f,$(FOLDERS),$(DEPS_$(f)))
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CPPFLAGS_test) $(CFLAGS) -Wno-missing-prototypes -MMD -MP -c -o $@ $<

$(TEST_LIB): $(TEST_LIB_OBJS)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcD $@ $^

$(B)/test/unit/%: $(B)/obj/test/unit/%.o $(TEST_LIB) $(ALL_PARTS:%=$(B)/lib%.a) $(ARCHIVES_netstack) $(ARCHIVES_wg) $(ARCHIVES_ssh)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call FOREIGN_LIBS,$(ALL_PARTS)) -lcmocka

# Two stacks in one process.
$(B)/test/unit/netstack/oracle_test: $(B)/stock/prefixed.o

# Allocations fail on demand (test/lib/shortage.h); with --wrap under the sanitizers too.
SHORTAGE_WRAP := malloc calloc realloc aligned_alloc free strdup strndup asprintf __asprintf_chk open_memstream \
	net_lwip_malloc net_lwip_calloc pktbuf_alloc wirewatch_packet
$(B)/test/unit/%/torture_test: private LDFLAGS += $(SHORTAGE_WRAP:%=-Wl,--wrap=%)
$(B)/test/unit/ssh/torture_test: private SHORTAGE_WRAP += fs_session_frame fs_session_step sftp_client_input

# Those of the library see what its users see: the shared one and its header.
$(B)/test/unit/lib/%: $(B)/obj/test/unit/lib/%.o $(B)/libnefia.so
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $< -L$(B) -lnefia -Wl,-rpath,'$$ORIGIN/../../..' -lcmocka -lsodium -pthread

unit-bins: $(UNIT_BINS)
# One folder's tests: make unit-wg
unit-%:
	@$(MAKE) --no-print-directory $(patsubst test/unit/%.c,$(B)/test/unit/%,$(wildcard test/unit/$*/*_test.c)) programs
	@set -e; for t in $(patsubst test/unit/%.c,$(B)/test/unit/%,$(wildcard test/unit/$*/*_test.c)); do echo "== $$t"; $$t; done
	@set -e; for t in $(wildcard test/unit/$*/*.sh); do echo "== $$t"; rc=0; B=$(B) BUILD=$(CURDIR)/$(B) $$t || rc=$$?; \
		[ $$rc = 0 ] || [ $$rc = 77 ] || exit 1; done
.PHONY: unit-bins
# Objects of tests are kept. (Not .SECONDARY: without names it holds for all, and a library would do without an object that is missing.)
.PRECIOUS: $(B)/obj/test/%.o

include test/fuzz/module.mk

# The simulator: one program, see doc/simulation.md. It has its own os/, and looks between the parts.
SIM_OBJS := $(patsubst %.c,$(B)/obj/%.o,$(wildcard test/sim/*.c))
SIM_PARTS := tunnel netstack wg base
SIM_WRAP := wg_device_send net_if_input pktpool_new pktpool_free malloc calloc realloc free aligned_alloc
$(B)/test/sim: $(SIM_OBJS) $(TEST_LIB) $(SIM_PARTS:%=$(B)/lib%.a) $(ARCHIVES_netstack) $(ARCHIVES_wg)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $(SIM_WRAP:%=-Wl,--wrap=%) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call FOREIGN_LIBS,$(SIM_PARTS)) -lcmocka
# make sim SEED=30: that run, each step a line
sim: $(B)/test/sim
	$(B)/test/sim $(if $(SEED),--seed $(SEED) --trace)
# Other seeds each time, for so many minutes
SIM_MINUTES ?= 10
sim-long: $(B)/test/sim
	@B=$(B) SIM_MINUTES=$(SIM_MINUTES) test/long/sim.sh
.PHONY: sim sim-long
