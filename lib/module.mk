# libnefia: one header; shared, static, a pkg-config file, and examples that are run by the tests.
LIB_PARTS := lib operator agent tunnel transport enroll ssh netstack wg os base
LIB_ARCHIVES := $(LIB_PARTS:%=$(B)/lib%.a)
LIB_SO := libnefia.so.0
LIB_REAL := libnefia.so.$(VERSION)
EXAMPLES := $(patsubst lib/examples/%.c,$(B)/examples/%,$(wildcard lib/examples/*.c))
library: $(B)/libnefia.so $(B)/libnefia.a $(EXAMPLES)

# Only what libnefia.map names is seen; it stays when a program dlclose()s it, for its thread may run.
$(B)/$(LIB_REAL): $(LIB_ARCHIVES) $(ARCHIVES_netstack) $(ARCHIVES_wg) lib/libnefia.map
	$(call say,LD,$@)
	$(Q)$(CC) -shared $(filter-out -pie,$(LDFLAGS)) -Wl,-soname,$(LIB_SO) -Wl,--version-script=lib/libnefia.map -Wl,-z,nodelete \
		-o $@ -Wl,--whole-archive $(B)/liblib.a -Wl,--no-whole-archive -Wl,--start-group $(filter %.a,$^) -Wl,--end-group \
		-Wl,--as-needed $(call FOREIGN_LIBS,$(LIB_PARTS)) -pthread
$(B)/libnefia.so: $(B)/$(LIB_REAL)
	$(Q)ln -sf $(LIB_REAL) $(B)/$(LIB_SO) && ln -sf $(LIB_SO) $@

# One object, whose other names are local: it must not clash with the program's.
$(B)/libnefia.a: $(LIB_ARCHIVES) $(ARCHIVES_netstack) $(ARCHIVES_wg)
	$(call say,AR,$@)
	@mkdir -p $(B)/obj/static
	$(Q)ld -r -o $(B)/obj/static/all.o --whole-archive $(B)/liblib.a --no-whole-archive --start-group $(filter-out %/liblib.a,$^) --end-group
	$(Q)objcopy --wildcard --keep-global-symbol='nefia_*' $(B)/obj/static/all.o $(B)/obj/static/nefia.o
	@rm -f $@
	$(Q)ar rcsD $@ $(B)/obj/static/nefia.o

# As a user of the library builds: its one header, -lnefia.
$(B)/examples/%: lib/examples/%.c lib/nefia.h $(FLAGS_FILE) | $(B)/libnefia.so
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_DEFAULT_SOURCE -Wall -Wextra $(WERROR) -g $(REPRO) $(SANFLAGS) -Ilib -o $@ $< -L$(B) -lnefia -pthread -Wl,-rpath,'$$ORIGIN/..'

$(B)/libnefia.pc: lib/libnefia.pc.in $(FLAGS_FILE) FORCE
	@sed 's,@PREFIX@,$(PREFIX),; s,@VERSION@,$(VERSION),' $< >$@
FORCE:

define install_library
install -d $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/lib/pkgconfig
install -m 644 lib/nefia.h $(DESTDIR)$(PREFIX)/include/
install -m 644 $(B)/libnefia.a $(DESTDIR)$(PREFIX)/lib/
install -m 755 $(B)/$(LIB_REAL) $(DESTDIR)$(PREFIX)/lib/
ln -sf $(LIB_REAL) $(DESTDIR)$(PREFIX)/lib/$(LIB_SO)
ln -sf $(LIB_SO) $(DESTDIR)$(PREFIX)/lib/libnefia.so
install -m 644 $(B)/libnefia.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/
endef
.PHONY: library FORCE
