ARCHIVES_netstack := $(B)/liblwip.a
CPPFLAGS_netstack := $(LWIP_CPPFLAGS)
DEPS_netstack := $(LWIP_STAMP)
LIBS_netstack := -lm
