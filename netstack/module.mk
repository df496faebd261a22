ARCHIVES_netstack := $(B)/liblwip.a
CPPFLAGS_netstack := $(LWIP_CPPFLAGS)
DEPS_netstack := $(LWIP_STAMP)
LIBS_netstack := -lm

# lwIP's TCP as shipped behind the same net.h (netstack/stock/engine.c): `make stock` links the programs with it, as a baseline.
STOCK_SHARED := net netif tcp room listen share convert filter checksum udp echo held slot
STOCK_OBJS := $(STOCK_SHARED:%=$(B)/obj/stock/netstack/%.o) $(B)/obj/stock/netstack/stock/engine.o
$(STOCK_OBJS): $(B)/obj/stock/%.o: %.c $(FLAGS_FILE) | $(LWIP_STOCK_STAMP)
	$(call say,CC,$< (stock))
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(LWIP_STOCK_CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
$(B)/stock/libnetstack.a: $(STOCK_OBJS) $(LWIP_STOCK_OBJS)
	$(call say,AR,$@)
	@mkdir -p $(@D) && rm -f $@
	$(Q)ar rcsD $@ $^

# Both stacks in one process: every symbol of this one begins with stock_.
$(B)/stock/prefixed.o: $(STOCK_OBJS) $(LWIP_STOCK_OBJS)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(LD) -r -o $@.all $^
	$(Q)nm -g --defined-only $@.all | awk '{ print $$3, "stock_" $$3 }' >$@.names
	$(Q)objcopy --redefine-syms=$@.names $@.all $@
	@rm -f $@.all
