# BLAKE2s: one file of the BLAKE2 reference, out of libb2's package. (libsodium has BLAKE2b only; the whole library
# would clash with newer libsodium's symbols in a static program.)
LIBB2_VERSION := 0.98.1
LIBB2_SHA256 := 10053dbc2fa342516b780a6bbf6e7b2a2360b8d49c5ac426936bf3df82526732
LIBB2_TREE_SHA256 := de9e290703309e628a2bada9c784c4ac28dcab935ae900d89fb1e0b1386a7872
LIBB2_TAR := $(DL)/libb2_$(LIBB2_VERSION).orig.tar.gz
LIBB2_DIR := $(SRC)/libb2-$(LIBB2_VERSION)
LIBB2_STAMP := $(LIBB2_DIR)/.stamp

# The three files are the same in the archive's tarball and in the upstream release.
LIBB2_FILES := src/blake2s-ref.c src/blake2.h src/blake2-impl.h

$(LIBB2_STAMP):
	$(Q)$(FETCH) $(LIBB2_TAR) $(LIBB2_SHA256) main/libb/libb2/$(notdir $(LIBB2_TAR)) \
		-u https://github.com/BLAKE2/libb2/releases/download/v$(LIBB2_VERSION)/libb2-$(LIBB2_VERSION).tar.gz \
		-t $(LIBB2_TREE_SHA256) '$(LIBB2_FILES)'
	@rm -rf $(LIBB2_DIR) && mkdir -p $(LIBB2_DIR)
	$(Q)tar -xf $(LIBB2_TAR) -C $(LIBB2_DIR) --strip-components=1
	@touch $@

$(B)/obj/foreign/blake2s-ref.o: $(FLAGS_FILE) $(LIBB2_STAMP)
	$(call say,CC,blake2s-ref.c)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_FOREIGN) -DSUFFIX= -Ithird_party/libb2 -I$(LIBB2_DIR)/src -c -o $@ $(LIBB2_DIR)/src/blake2s-ref.c

$(B)/libblake2s.a: $(B)/obj/foreign/blake2s-ref.o
	@rm -f $@
	$(Q)ar rcsD $@ $^
