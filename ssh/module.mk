ARCHIVES_ssh := $(B)/libssh2.a
CPPFLAGS_ssh := -I$(LIBSSH2_DIR)/include
DEPS_ssh := $(LIBSSH2_STAMP)
LIBS_ssh := -lcrypto
