ARCHIVES_wg := $(B)/libblake2s.a
CPPFLAGS_wg := -Ithird_party/libb2 -I$(LIBB2_DIR)/src
DEPS_wg := $(LIBB2_STAMP)
LIBS_wg := -lsodium -ldl
