# lwIP: all its options are compile-time, so no packaged library serves; built from source with
# netstack/lwip/lwipopts.h. Debian's +dfsg1 tarball leaves generated documents out, so the upstream release is
# known by the checksum of the folders that are compiled.
LWIP_VERSION := 2.2.1
LWIP_SHA256 := 83729c274c499d3348e9fbbe043a3113f3fa8953e7efddc7c21c7fcbb1f2b7b1
LWIP_TREE_SHA256 := cd7d21ccc88cdb7ab749d484522d6b3395e361184930ae86aa43cd0baa0a3192
LWIP_TAR := $(DL)/lwip_$(LWIP_VERSION)+dfsg1.orig.tar.xz
LWIP_DIR := $(SRC)/lwip-$(LWIP_VERSION)
LWIP_STAMP := $(LWIP_DIR)/.stamp

LWIP_STOCK_DIR := $(SRC)/lwip-$(LWIP_VERSION)-stock
LWIP_STOCK_STAMP := $(LWIP_STOCK_DIR)/.stamp

lwip_unpack = $(Q)$(FETCH) $(LWIP_TAR) $(LWIP_SHA256) main/l/lwip/$(notdir $(LWIP_TAR)) \
	-u https://github.com/lwip-tcpip/lwip/archive/refs/tags/STABLE-$(subst .,_,$(LWIP_VERSION))_RELEASE.tar.gz \
	-t $(LWIP_TREE_SHA256) 'src/core src/include' && rm -rf $(1) && mkdir -p $(1) && tar -xf $(LWIP_TAR) -C $(1) --strip-components=1

# Our build-time changes fail when their place is not found.
$(LWIP_STAMP): third_party/lwip-edit.sh
	$(call lwip_unpack,$(LWIP_DIR))
	$(Q)third_party/lwip-edit.sh $(LWIP_DIR)
	@touch $@

# As shipped, for netstack/stock/. After the other: one fetches for both.
$(LWIP_STOCK_STAMP): | $(LWIP_STAMP)
	$(call lwip_unpack,$(LWIP_STOCK_DIR))
	@touch $@

LWIP_CORE := init def inet_chksum ip mem memp netif pbuf stats tcp tcp_in tcp_out timeouts udp raw \
	ipv4/icmp ipv4/ip4 ipv4/ip4_addr ipv4/ip4_frag \
	ipv6/icmp6 ipv6/ip6 ipv6/ip6_addr ipv6/ip6_frag ipv6/nd6 ipv6/inet6 ipv6/ethip6 ipv6/dhcp6 ipv6/mld6
LWIP_OBJS := $(LWIP_CORE:%=$(B)/obj/foreign/lwip/%.o)
LWIP_CPPFLAGS := -I$(LWIP_DIR)/src/include -Inetstack/lwip

$(B)/obj/foreign/lwip/%.o: $(FLAGS_FILE) $(LWIP_STAMP) $(wildcard netstack/lwip/*.h netstack/lwip/arch/*.h)
	$(call say,CC,lwip/$*.c)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_FOREIGN) -D_GNU_SOURCE -I. $(LWIP_CPPFLAGS) -c -o $@ $(LWIP_DIR)/src/core/$*.c

$(B)/liblwip.a: $(LWIP_OBJS)
	$(call say,AR,$@)
	@rm -f $@
	$(Q)ar rcsD $@ $^

LWIP_STOCK_OBJS := $(LWIP_CORE:%=$(B)/obj/foreign/lwip-stock/%.o)
LWIP_STOCK_CPPFLAGS := -I$(LWIP_STOCK_DIR)/src/include -Inetstack/stock -Inetstack/lwip

$(B)/obj/foreign/lwip-stock/%.o: $(FLAGS_FILE) $(LWIP_STOCK_STAMP) $(wildcard netstack/stock/*.h netstack/lwip/*.h netstack/lwip/arch/*.h)
	$(call say,CC,lwip-stock/$*.c)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_FOREIGN) -D_GNU_SOURCE -I. $(LWIP_STOCK_CPPFLAGS) -c -o $@ $(LWIP_STOCK_DIR)/src/core/$*.c
