LIBS_base := -lsodium
