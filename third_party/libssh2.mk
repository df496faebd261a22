# libssh2 with Debian's security patches: the packaged one of Debian 12 knows neither AES-GCM nor strict key exchange.
LIBSSH2_VERSION := 1.11.1
LIBSSH2_SHA256 := d9ec76cbe34db98eec3539fe2c899d26b0c837cb3eb466a56b0f109cabf658f7
LIBSSH2_DEBIAN := 1.11.1-1+deb13u2
LIBSSH2_DEBIAN_SHA256 := ee81e3ea0d65fdbc979c50f1433966d0139e33ac09242d7dc7c83567139126a7
LIBSSH2_TAR := $(DL)/libssh2_$(LIBSSH2_VERSION).orig.tar.gz
LIBSSH2_PATCHES := $(DL)/libssh2_$(LIBSSH2_DEBIAN).debian.tar.xz
LIBSSH2_DIR := $(SRC)/libssh2-$(LIBSSH2_VERSION)
LIBSSH2_STAMP := $(LIBSSH2_DIR)/.stamp-$(LIBSSH2_DEBIAN)

# Our build-time changes fail when their place is not found.
$(LIBSSH2_STAMP): third_party/libssh2-edit.sh
	$(Q)$(FETCH) $(LIBSSH2_TAR) $(LIBSSH2_SHA256) main/libs/libssh2/$(notdir $(LIBSSH2_TAR)) \
		-u https://libssh2.org/download/libssh2-$(LIBSSH2_VERSION).tar.gz
	$(Q)$(FETCH) $(LIBSSH2_PATCHES) $(LIBSSH2_DEBIAN_SHA256) main/libs/libssh2/$(notdir $(LIBSSH2_PATCHES)) \
		-r libssh2 $(LIBSSH2_VERSION)
	@rm -rf $(LIBSSH2_DIR) && mkdir -p $(LIBSSH2_DIR)
	$(Q)tar -xf $(LIBSSH2_TAR) -C $(LIBSSH2_DIR) --strip-components=1
	$(Q)tar -xf $(LIBSSH2_PATCHES) -C $(LIBSSH2_DIR)
	$(Q)cd $(LIBSSH2_DIR) && grep -v '^#' debian/patches/series | while read -r p; do \
		[ -z "$$p" ] || patch -s -p1 -i "debian/patches/$$p" || exit 1; done
	$(Q)third_party/libssh2-edit.sh $(LIBSSH2_DIR)
	@touch $@

# Without its SFTP, SCP, agent, known_hosts and public key subsystem: those are ours, or nobody's.
LIBSSH2_SRC := bcrypt_pbkdf chacha channel cipher-chachapoly comp crypt crypto global hostkey keepalive kex \
	mac misc packet pem poly1305 session transport userauth userauth_kbd_packet version
LIBSSH2_OBJS := $(LIBSSH2_SRC:%=$(B)/obj/foreign/libssh2/%.o)

$(B)/obj/foreign/libssh2/%.o: $(LIBSSH2_STAMP) third_party/libssh2/libssh2_config.h
	$(call say,CC,libssh2/$*.c)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_FOREIGN) -D_GNU_SOURCE -DHAVE_CONFIG_H -Ithird_party/libssh2 -I$(LIBSSH2_DIR)/include \
		-I$(LIBSSH2_DIR)/src -c -o $@ $(LIBSSH2_DIR)/src/$*.c

$(B)/libssh2.a: $(LIBSSH2_OBJS) third_party/libssh2.mk
	$(call say,AR,$@)
	@rm -f $@
	$(Q)ar rcsD $@ $(LIBSSH2_OBJS)
