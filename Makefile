# Nefia: one make, no recursion. Each folder has a module.mk; `make help` lists the targets.
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
V ?= 0
Q := $(if $(filter 1,$(V)),,@)
say = @$(if $(filter 1,$(V)),:,printf '  %-7s %s\n' '$(1)' '$(2)')

# Variants beside the plain build: SAN=1 with ASan and UBSan, SAN=thread with TSan.
ifeq ($(SAN),1)
B := build/san
SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all
OPT ?= -O1
else ifeq ($(SAN),thread)
B := build/tsan
SANFLAGS := -fsanitize=thread
OPT ?= -O1
else
B ?= build
SANFLAGS :=
OPT ?= -O2
endif

VERSION := 0.1.0
PREFIX ?= /usr/local

CSTD := -std=gnu11
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-unused-parameter
ifeq ($(findstring clang,$(CC)),)
WARN += -Wno-format-truncation # a message that is too long is cut
endif
WERROR ?= -Werror
# Paths are cut out of the objects, so that two build folders give the same bytes.
REPRO := -ffile-prefix-map=$(CURDIR)=. -ffile-prefix-map=$(CURDIR)/=
# One set of objects for programs and for the shared library: hidden symbols cost nothing in either.
PIC := -fPIC -fvisibility=hidden
HARDEN := -fstack-protector-strong -D_FORTIFY_SOURCE=2 $(PIC)
ifneq ($(SAN),)
HARDEN := $(PIC)
endif
CPPFLAGS := -D_GNU_SOURCE -I. -I$(B)/gen
CFLAGS := $(CSTD) $(OPT) -g $(WARN) $(WERROR) $(REPRO) $(HARDEN) $(SANFLAGS) $(EXTRA_CFLAGS)
LDFLAGS := -pie -Wl,-z,relro,-z,now $(SANFLAGS) $(EXTRA_LDFLAGS)

# All cores, unless the caller says otherwise.
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif

# Other flags build everything anew.
FLAGS_FILE := $(B)/gen/flags
$(shell mkdir -p $(B)/gen; echo '$(CC) $(CFLAGS)' | cmp -s - $(FLAGS_FILE) || echo '$(CC) $(CFLAGS)' >$(FLAGS_FILE))

# Version, commit and build date; rewritten only when they change.
$(shell third_party/version.sh $(B)/gen/nefia_version.h $(VERSION))

PKG_CONFIG ?= pkg-config
pkg = $(shell $(PKG_CONFIG) $(1) $(2) 2>/dev/null)

# Plain make installs nothing: it says what is missing and how to install it.
all:
	@NEFIA_NO_INSTALL=1 NEFIA_QUIET=1 third_party/setup.sh build
	@$(MAKE) --no-print-directory programs

include third_party/module.mk
FOLDERS := base os wg netstack transport enroll tunnel ssh agent operator lib
include $(wildcard $(FOLDERS:%=%/module.mk))

# A folder's library is all of its C files but main.c; CPPFLAGS_<folder> fences foreign headers in.
define folder_rules
SRCS_$(1) := $$(filter-out %/main.c,$$(wildcard $(1)/*.c))
OBJS_$(1) := $$(SRCS_$(1):%.c=$$(B)/obj/%.o)
$$(B)/obj/$(1)/%.o: $(1)/%.c $$(FLAGS_FILE) | $$(DEPS_$(1))
	$$(call say,CC,$$<)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CPPFLAGS) $$(CPPFLAGS_$(1)) $$(CFLAGS) $$(CFLAGS_$(1)) -MMD -MP -c -o $$@ $$<
$$(B)/lib$(1).a: $$(OBJS_$(1))
	$$(call say,AR,$$@)
	@rm -f $$@
	$$(Q)ar rcsD $$@ $$^
endef
$(foreach f,$(FOLDERS),$(eval $(call folder_rules,$(f))))

# Programs. LIBS_<folder> names the foreign libraries of that folder.
# libuv's static archive was libuv_a.a in distributions until 2024, and is libuv.a since.
UV_STATIC = $(if $(filter /%,$(shell $(CC) -print-file-name=libuv_a.a)),-l:libuv_a.a,-luv)
FOREIGN_LIBS = $(patsubst $(if $(PKG_STATIC),-luv),$(UV_STATIC),$(foreach f,$(1),$(LIBS_$(f))))
AGENT_PARTS := agent tunnel transport enroll netstack wg os base
NEFIA_PARTS := operator agent tunnel transport enroll ssh netstack wg os base
programs: $(B)/nefia $(B)/nefia-agent library

define link_program
$(call say,LD,$@)
$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call FOREIGN_LIBS,$(1))
endef
$(B)/nefia-agent: $(B)/obj/agent/main.o $(AGENT_PARTS:%=$(B)/lib%.a) $(ARCHIVES_netstack) $(ARCHIVES_wg)
	$(call link_program,$(AGENT_PARTS))
$(B)/nefia: $(B)/obj/operator/main.o $(NEFIA_PARTS:%=$(B)/lib%.a) $(ARCHIVES_netstack) $(ARCHIVES_wg) $(ARCHIVES_ssh)
	$(call link_program,$(NEFIA_PARTS))

# The same programs on lwIP's TCP as shipped, in build/stock: a baseline, nothing to install.
$(B)/stock/nefia-agent: $(B)/obj/agent/main.o $(filter-out %/libnetstack.a,$(AGENT_PARTS:%=$(B)/lib%.a)) $(B)/stock/libnetstack.a $(ARCHIVES_wg)
	$(call link_program,$(AGENT_PARTS))
$(B)/stock/nefia: $(B)/obj/operator/main.o $(filter-out %/libnetstack.a,$(NEFIA_PARTS:%=$(B)/lib%.a)) $(B)/stock/libnetstack.a $(ARCHIVES_wg) $(ARCHIVES_ssh)
	$(call link_program,$(NEFIA_PARTS))
stock: $(B)/stock/nefia $(B)/stock/nefia-agent

include test/module.mk test/targets.mk
-include bench/module.mk

# A fully static agent, in a variant of its own.
static:
	@third_party/setup.sh build
	$(Q)$(MAKE) --no-print-directory B=build/static-obj EXTRA_LDFLAGS= LDFLAGS='-static -Wl,--gc-sections' EXTRA_CFLAGS=-DNEFIA_STATIC HARDEN='-fstack-protector-strong -D_FORTIFY_SOURCE=2 -ffunction-sections -fdata-sections' \
		PKG_STATIC=1 build/static-obj/nefia-agent
	@mkdir -p build/static
	$(Q)strip -o build/static/nefia-agent build/static-obj/nefia-agent
	@printf '  %-7s %s\n' STATIC "build/static/nefia-agent, $$(stat -c %s build/static/nefia-agent) bytes"

setup:
	@third_party/setup.sh build
setup-test:
	@third_party/setup.sh test

demo:
	@third_party/setup.sh demo
	@$(MAKE) --no-print-directory -s programs
	@BUILD=$(CURDIR)/$(B) test/e2e/drop.sh $(CURDIR)/test/demo.sh

MAN := $(wildcard doc/*.[1357])
# SHELL:FILE below share/, where each shell looks by itself
COMPLETIONS := bash:bash-completion/completions/nefia zsh:zsh/site-functions/_nefia fish:fish/vendor_completions.d/nefia.fish
install_completion = install -d $(dir $(2)) && $(B)/nefia completion $(1) >$(2) && chmod 644 $(2)
install: programs $(B)/libnefia.pc
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(B)/nefia $(B)/nefia-agent $(DESTDIR)$(PREFIX)/bin/
	$(install_library)
	@for m in $(MAN); do install -D -m 644 $$m $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}; done
	@$(foreach c,$(COMPLETIONS),$(call install_completion,$(firstword $(subst :, ,$c)),$(DESTDIR)$(PREFIX)/share/$(lastword $(subst :, ,$c))) &&) :

help:
	@echo 'make              nefia and nefia-agent, in build/ (set-up: make setup)'
	@echo 'make demo         set-up, build, and the whole way on this machine'
	@echo 'make test         set-up, build and every test; SAN=1 make test: under ASan and UBSan'
	@echo 'make library      libnefia, shared and static, and its examples (part of make); SAN=thread make unit-lib: under TSan'
	@echo 'make test-long    the same, and what takes long'
	@echo 'make unit-FOLDER  the unit tests of one folder'
	@echo 'make fuzz         fuzz every decoder with libFuzzer (FUZZ_SECONDS=10 each); make fuzz-yaml: one'
	@echo 'make fuzz-replay  corpora and seeded mutations, without clang'
	@echo 'make bench        measurements'
	@echo 'make lint         the rules between folders; what documents and comments name is there'
	@echo 'make clang-check  the sources under clang, warnings are errors'
	@echo 'make analyze      cppcheck and clang-tidy over the sources, as far as they are quiet'
	@echo 'make check-repro  two builds in two folders give the same bytes'
	@echo 'make stock        both programs on lwIP as shipped, in build/stock: a baseline'
	@echo 'make static       build/static/nefia-agent, fully static'
	@echo 'make install      PREFIX=/usr/local DESTDIR='
	@echo 'make clean        remove build/ (downloads stay in third_party/dl)'

clean:
	rm -rf build

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
.PHONY: all programs stock clean static setup setup-test demo install help
